package wrangler

import (
	"compress/gzip"
	"fmt"
	"unicode/utf8"
)

// Limits that Cloudflare enforces on an upload, on the Workers paid plan. The numbers are those of the page
// workers/platform/limits, but for the last one.
const (
	maxVariables    = 128      // variables and secrets together
	maxVariableSize = 5 << 10  // bytes of one value
	maxMetadataSize = 1 << 20  // bytes (a footnote of d1/platform/limits: about 5,000 bindings)
	maxCodeSize     = 64 << 20 // bytes of all modules, what wrangler 4.164.0 measures uploads against too
	// Copies of that page from before 2026-05 have this limit instead, on the compressed code.
	oldMaxCompressedSize = 10 << 20
	// From the API's naming rules for scripts; a Worker's name is also a DNS label on workers.dev.
	maxNameLength = 63
)

func (f *formBuilder) checkName() {
	if n := utf8.RuneCountInString(f.config.Name); n > maxNameLength {
		f.report(LevelError, "worker-name-length", fmt.Sprintf("the Worker's name has %d characters; Cloudflare takes %d", n, maxNameLength),
			fmt.Sprintf("at most %d characters", maxNameLength), "choose a shorter name", "name")
	}
}

// checkSizes reports what is too large. It never shows a value.
func (f *formBuilder) checkSizes() {
	variables := 0
	for _, b := range f.bindings {
		var size int
		switch {
		case b.isSecret:
			size = len(b.secret)
		case b.Type == "plain_text":
			size = len(b.Field("text"))
		case b.Type == "json":
			size = len(b.Raw("json"))
		case b.Type != "inherit" || b.Path() != nil:
			continue
		}
		variables++
		if size > maxVariableSize {
			kind := "variable"
			if b.isSecret {
				kind = "secret"
			}
			f.report(LevelError, "variable-size", fmt.Sprintf("the %s %s has %d bytes; Cloudflare takes %d", kind, b.Name, size, maxVariableSize),
				fmt.Sprintf("at most %d bytes", maxVariableSize), "keep large values in KV or R2", b.Path()...)
		}
	}
	if variables > maxVariables {
		f.report(LevelError, "variable-count", fmt.Sprintf("the Worker has %d variables and secrets; Cloudflare takes %d", variables, maxVariables),
			fmt.Sprintf("at most %d", maxVariables), "put several values into one JSON variable", "vars")
	}
	if n := len(f.metadata(reveal)); n > maxMetadataSize {
		f.report(LevelError, "metadata-size", fmt.Sprintf("the upload's metadata has %d bytes; Cloudflare takes %d", n, maxMetadataSize),
			fmt.Sprintf("at most %d bytes", maxMetadataSize), "remove bindings or shorten variables")
	}
	f.checkCodeSize()
}

func (f *formBuilder) checkCodeSize() {
	size := len(f.bundle.Main.Content)
	for _, m := range f.bundle.Modules {
		size += len(m.Content)
	}
	const expected, hint = "less code", "look for large dependencies; keep data in KV, R2 or static assets"
	if size > maxCodeSize {
		f.report(LevelError, "code-size", fmt.Sprintf("the code has %d bytes; Cloudflare takes %d", size, maxCodeSize), expected, hint)
		return
	}
	if size <= oldMaxCompressedSize {
		return // compressed it is no larger, to speak of
	}
	var compressed byteCount
	z := gzip.NewWriter(&compressed)
	z.Write(f.bundle.Main.Content)
	for _, m := range f.bundle.Modules {
		z.Write(m.Content)
	}
	z.Close()
	if compressed > oldMaxCompressedSize {
		f.report(LevelWarning, "code-size",
			fmt.Sprintf("the code has %d bytes compressed; accounts with the older limit take %d", compressed, oldMaxCompressedSize), expected, hint)
	}
}

// byteCount counts what is written to it.
type byteCount int64

func (c *byteCount) Write(p []byte) (int, error) {
	*c += byteCount(len(p))
	return len(p), nil
}
