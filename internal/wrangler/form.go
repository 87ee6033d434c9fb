package wrangler

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
)

// Upload is what an upload needs to know beyond the configuration and the code. The zero value uploads a version of a
// Worker that exists, keeping its secrets.
type Upload struct {
	// Put says that the form is for PUT …/workers/scripts/{name}, which deploys what it uploads, rather than for
	// POST …/versions. It is needed for the first upload of a Worker and for what versions cannot carry: pending
	// Durable Object migrations, Durable Objects in exports, containers, code in service-worker format (wire.md §3.1).
	Put bool

	// New says that the Worker does not exist yet. Then nothing can be inherited: every binding must name its resource
	// and every required secret must be in Secrets.
	New bool

	// VersionOnly leaves out what is not part of a version (logpush, observability, streaming tail consumers), as
	// "wrangler versions upload" does; "wrangler deploy" sends these even with a version.
	VersionOnly bool

	// DryRun makes what "wrangler deploy --dry-run" makes: no assets and no Durable Object migrations, and whether the
	// Worker exists and Put do not matter.
	DryRun bool

	// MigrationTag is the Worker's tag of Durable Object migrations, "" when it has none.
	MigrationTag string

	// Assets are the static assets, and AssetsJWT the completion token of their upload (wire.md §5). A form without
	// Assets is for a Worker without assets, or serves as a description of one.
	Assets    *AssetSet
	AssetsJWT Secret

	// Secrets are uploaded with the code, by name. Secrets that are not here keep their values, whether the
	// configuration knows of them or not.
	Secrets map[string]Secret

	// Keep names the secrets that stay besides; those that are neither here nor in Secrets are no part of the version. nil
	// keeps all. A PUT cannot do without any (wire.md §3.2, keep_bindings).
	Keep []string

	// Resources names the resource (an id, or what the binding type has instead) of bindings whose configuration leaves
	// it to the account, by binding name. Bindings that are neither here nor complete are inherited.
	Resources map[string]string

	// Annotations of the version. Empty ones are left out.
	Message string // the API cuts it off at 1,000 bytes
	Tag     string // at most 100 bytes
	Alias   string // of the preview URL

	// PackageDependencies adds the npm packages of the project's package.json. wrangler sends these unless it is told
	// not to; what a shop is built from is nobody else's business unless asked for.
	PackageDependencies bool

	// Boundary separates the parts. Leave it empty: one is drawn for each form that nobody can foresee. Tests set it.
	Boundary string
}

// Form is the multipart body of an upload. Body holds the values of secrets, so a Form prints as a summary.
type Form struct {
	ContentType string // with the boundary
	Body        []byte `json:"-"`

	// Metadata is the metadata part with the values of secrets and the assets' token masked: safe to show, and the same
	// for equal uploads.
	Metadata json.RawMessage

	// APIDate goes into the header Cloudflare-Workers-Script-Api-Date unless it is empty. Workflows in exports need it.
	APIDate string

	// Warnings do not stop the upload.
	Warnings []Finding

	parts int
}

// Format prints a summary under every verb.
func (f *Form) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "upload form: %d parts, %d bytes", f.parts, len(f.Body))
}

// LogValue is the same summary.
func (f *Form) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(f)) }

// maxTagLength is in bytes (Cloudflare's API description of the annotation workers/tag).
const maxTagLength = 100

// NewForm builds the form that uploads b, the code of c's Worker. For a Worker of assets only b may be nil. The form is
// wrangler's but for what is stated here: package_dependencies only when asked for, a boundary that cannot be foreseen,
// an order that does not depend on chance, and an unsafe.metadata that cannot replace what the form is about (see
// checkUnsafe). Secrets of the Worker are always kept, as wrangler keeps them.
//
// What Cloudflare would refuse for its size or its name, and what wrangler would refuse, comes back as Findings before
// anything is sent. Other errors are mistakes of the caller or failures to read a file. No error contains the value of a
// secret.
func NewForm(c *Config, b *Bundle, u Upload) (*Form, error) {
	if b != nil && b.Main.Name == "" {
		b = nil // assets only
	}
	if b == nil && c.Main != "" {
		return nil, errors.New("building the upload form: the configuration has a main module, but there is no bundle")
	}
	if u.Assets != nil && u.AssetsJWT == "" && !u.DryRun {
		return nil, errors.New("building the upload form: there are assets, but not the token of their upload")
	}
	if len(u.Tag) > maxTagLength {
		return nil, fmt.Errorf("building the upload form: the version tag is longer than %d bytes", maxTagLength)
	}
	f := &formBuilder{config: c, bundle: b, upload: u, named: map[string]part{}}
	if err := f.build(); err != nil {
		return nil, fmt.Errorf("building the upload form: %w", err)
	}
	findings := f.findings.sorted()
	if len(findings.errors()) > 0 {
		return nil, findings
	}
	metadata := f.metadata(reveal)
	contentType, body, err := encodeForm(f.formParts(metadata), u.Boundary)
	if err != nil {
		return nil, fmt.Errorf("building the upload form: %w", err)
	}
	return &Form{
		ContentType: contentType,
		Body:        body,
		Metadata:    f.metadata(Secret.String),
		APIDate:     f.apiDate,
		Warnings:    findings,
		parts:       1 + len(f.before) + len(f.after),
	}, nil
}

func reveal(s Secret) string { return string(s) }

// formBuilder collects what goes into a form.
type formBuilder struct {
	config *Config
	bundle *Bundle
	upload Upload

	bindings []formBinding
	before   []part          // parts ahead of the metadata: files of the service-worker format
	after    []part          // the code
	named    map[string]part // both, by name
	apiDate  string

	containers json.RawMessage
	migrations json.RawMessage
	strategy   json.RawMessage
	packages   json.RawMessage

	findings Findings
}

// formBinding is a binding of the upload. A secret's value is kept apart from the rest of it.
type formBinding struct {
	Binding
	secret   Secret
	isSecret bool
}

func (f *formBuilder) build() error {
	f.checkName()
	f.checkUnsafe()
	if f.config.CompatibilityDate == "" {
		f.report(LevelError, "config-required", "there is no compatibility_date", `a date such as "compatibility_date": "2026-06-01"`, "",
			"compatibility_date")
	}
	if f.bundle == nil {
		return nil
	}
	if err := f.addBindings(); err != nil {
		return err
	}
	f.addParts()
	if err := f.addLifecycle(); err != nil {
		return err
	}
	if f.upload.PackageDependencies && (f.config.PackageDependencies == nil || *f.config.PackageDependencies) {
		f.packages = packageDependencies(f.config.Dir, f.config.PackageDependenciesExclude)
	}
	f.checkSizes()
	return nil
}

func (f *formBuilder) report(level, rule, message, expected, hint string, path ...any) {
	finding := Finding{Rule: rule, Level: level, Message: message, Expected: expected, Hint: hint}
	if len(path) > 0 {
		finding = f.config.At(finding, path...)
	}
	f.findings = append(f.findings, finding)
}

// formParts puts the parts into wrangler's order: files of the service-worker format, metadata, the code.
func (f *formBuilder) formParts(metadata json.RawMessage) []part {
	parts := make([]part, 0, len(f.before)+1+len(f.after))
	parts = append(parts, f.before...)
	parts = append(parts, part{name: metadataPart, content: metadata})
	return append(parts, f.after...)
}
