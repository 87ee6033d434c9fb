package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// Verified is what a comparison of a live version with its commit came to.
type Verified struct {
	Shop    string `json:"shop"`
	Worker  string `json:"worker"`
	Version string `json:"version_id"`
	Commit  string `json:"commit"`
	Content string `json:"content"` // the mark that the release says it has
	// Modules counts the modules that were compared byte for byte, Bytes what is in them.
	Modules int `json:"modules"`
	Bytes   int `json:"bytes"`
	// Findings are the differences, and notes of level notice.
	Findings Findings `json:"findings,omitempty"`
}

// NotLiveCodeError says that Cloudflare hands out the code of another version than the live one, so that nothing can be
// compared.
type NotLiveCodeError struct{ Worker, Live, Newest string }

func (e *NotLiveCodeError) Error() string {
	return fmt.Sprintf("Cloudflare hands out the code of the newest version of %s, which is %s; live is %s, with other code", e.Worker, e.Newest, e.Live)
}

// Hint says what can be done.
func (e *NotLiveCodeError) Hint() string {
	return "a failed or unreleased version lies above the live one: deploy, or deploy with --redeploy, and verify again"
}

// Released reads what takes a Worker's traffic and which commit that claims to be; "" when it does not say. A version that
// was released without our message, by a rollback elsewhere, is asked itself. One call, or two.
func (e *Engine) Released(ctx context.Context, worker string) (live Live, commit string, err error) {
	if live, err = e.Live(ctx, worker); err != nil || live.Version == "" {
		return live, "", err
	}
	m, told := parseMemo(live.Message)
	if !told || m.mark != live.Mark {
		v, err := e.CF.Version(ctx, worker, live.Version)
		if err != nil {
			return live, "", fmt.Errorf("reading the live version of %s: %w", worker, err)
		}
		if m, told = parseMemo(v.Annotations[annotationMessage]); !told || m.mark != v.Annotations[annotationTag] {
			return live, "", nil
		}
		live.Mark, live.Message = m.mark, m.String()
	}
	return live, m.commit, nil
}

// Rebuild makes what a deploy of the commit would release. What today's policy says against it does not matter for which
// bytes they are: those findings come back as notices.
func (b *Builder) Rebuild(ctx context.Context, src Source) (*Desired, error) {
	config, err := resolve(src)
	if err != nil {
		return nil, err
	}
	if refused := admitBuildCommand(config, src.NoBuildCommand); refused != nil {
		return nil, refused
	}
	if config, err = src.private(config); err != nil {
		return nil, err
	}
	want := &Desired{Shop: src.Shop, Commit: src.Commit, Main: src.Main, Config: config, BuildInfoURL: src.Policy.BuildInfo.URL, policy: src.Policy}
	for _, f := range admitOffline(want, src) {
		if f.Level == LevelError {
			f.Level = LevelNotice
			f.Message = "a deploy would be refused today: " + f.Message
			want.Findings = append(want.Findings, f)
		}
	}
	return want, b.build(ctx, src, want)
}

// Verify compares what is live with what src's commit is built into: the modules of the script, byte for byte; its
// bindings and compatibility settings; and the mark, which covers the rest of the metadata and the assets. live is what
// Released said. A build_info.json that the code holds differs with every build; its live bytes are taken where they say
// no more than this commit's could. Nothing is written.
func (e *Engine) Verify(ctx context.Context, b *Builder, src Source, live Live) (*Verified, error) {
	out := &Verified{Shop: src.Shop.Slug, Worker: src.Shop.Worker, Version: live.Version, Commit: src.Commit, Content: live.Mark}
	var want *Desired
	var have liveCode
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		have, err = e.readCode(gctx, src.Shop.Worker, live)
		return err
	})
	group.Go(func() error {
		if url := src.Policy.BuildInfo.URL; url != "" {
			info, f := e.liveInfo(gctx, src, live)
			src.buildInfo = info
			out.Findings = append(out.Findings, f...)
		}
		var err error
		want, err = b.Rebuild(gctx, src)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	out.Findings = append(out.Findings, slices.DeleteFunc(slices.Clone(want.Findings), func(f Finding) bool { return f.Level == LevelWarning })...)
	form, err := wrangler.NewForm(want.Config, want.Bundle, wrangler.Upload{DryRun: true})
	if err != nil {
		return nil, asFindings(err)
	}
	upload, err := readForm(form)
	if err != nil {
		return nil, fmt.Errorf("reading what was built: %w", err)
	}
	out.compareModules(upload, have.content)
	out.compareSettings(want, upload, have.version)
	if live.Mark != want.Mark {
		out.differ("content-differs", fmt.Sprintf("the release says content %s, the commit makes %s", live.Mark, want.Mark), want.Mark,
			"assets, crons or settings are others than the commit's, or another version of shopfleet made the mark; deploy with --redeploy")
	}
	if tag := have.version.Annotations[annotationTag]; tag != live.Mark && live.SecretsSince == 0 {
		out.differ("content-differs", fmt.Sprintf("the release says content %s, version %s itself is tagged %q", live.Mark, live.Version, tag), live.Mark,
			"somebody released a version under another one's name")
	}
	return out, nil
}

func (v *Verified) differ(rule, message, expected, hint string) {
	v.Findings = append(v.Findings, Finding{Rule: rule, Level: LevelError, Message: message, Expected: expected, Hint: hint})
}

// Same says that nothing differs.
func (v *Verified) Same() bool { return !v.Findings.Blocking() }

// liveCode is what Cloudflare has of the live version.
type liveCode struct {
	version cloudflare.Version
	content cloudflare.Content // without modules for a Worker of assets alone
}

// readCode reads the live version and its code. The code is that of the newest version, so that has to be the live one, or
// to have the same code; and the live one has to be the same before and after.
func (e *Engine) readCode(ctx context.Context, worker string, live Live) (code liveCode, err error) {
	var versions []cloudflare.Version
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		code.version, err = e.CF.Version(gctx, worker, live.Version)
		return doing(err, "reading the live version of "+worker)
	})
	group.Go(func() (err error) {
		versions, err = e.CF.Versions(gctx, worker)
		return doing(err, "listing the versions of "+worker)
	})
	group.Go(func() (err error) {
		code.content, err = e.CF.WorkerContent(gctx, worker)
		return notFoundIsEmpty(err, "reading the code of "+worker)
	})
	if err := group.Wait(); err != nil {
		return code, err
	}
	newest := code.version
	for _, v := range versions {
		if v.CreatedOn.After(newest.CreatedOn) || v.CreatedOn.Equal(newest.CreatedOn) && v.Number > newest.Number {
			newest = v
		}
	}
	if newest.ID != live.Version {
		full, err := e.CF.Version(ctx, worker, newest.ID)
		if err != nil {
			return code, fmt.Errorf("reading the newest version of %s: %w", worker, err)
		}
		if full.Etag == "" || full.Etag != code.version.Etag {
			return code, &NotLiveCodeError{Worker: worker, Live: live.Version, Newest: newest.ID}
		}
	}
	now, err := e.Live(ctx, worker)
	if err == nil && now.Version != live.Version {
		err = &StaleError{Shop: worker, Live: now.Version}
	}
	return code, err
}

// liveInfo is the build_info.json that the release shows, and what it says against the release. What is not exactly a file
// that a deploy of this commit may have made is not returned: it would be put into the code that is compared.
func (e *Engine) liveInfo(ctx context.Context, src Source, live Live) ([]byte, Findings) {
	at, body, status, err := e.gateOrDefault().get(ctx, src.Shop.Hostname, src.Policy.BuildInfo.URL)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("it answered %d, not 200", status)
	}
	if err != nil {
		return nil, Findings{{Rule: "build-info-unread", Level: LevelNotice, Message: at + ": " + err.Error() + "; what the release says of itself was not compared"}}
	}
	var info BuildInfo
	strict := json.NewDecoder(bytes.NewReader(body))
	strict.DisallowUnknownFields()
	refuse := func(what string) ([]byte, Findings) {
		return nil, Findings{{
			Rule: "build-info-differs", Level: LevelError, Message: at + " " + what, Expected: "commit " + src.Commit + ", content " + live.Mark,
			Hint: "the code that answers there is not the release's; look at the Worker's routes and hostnames",
		}}
	}
	switch {
	case strict.Decode(&info) != nil || !bytes.Equal(info.Bytes(), body):
		return refuse("is not a build_info.json as shopfleet makes it")
	case info.Shop != src.Shop.Slug || info.Branch != src.Shop.Branch:
		return refuse(fmt.Sprintf("says shop %q, branch %q", info.Shop, info.Branch))
	case info.Commit != src.Commit || info.Content != live.Mark:
		return refuse(fmt.Sprintf("says commit %s, content %s", info.Commit, info.Content))
	}
	return body, nil
}

// upload is what a deploy would send.
type upload struct {
	main    string
	script  bool // in service-worker format
	modules []cloudflare.ContentModule
	// bindings by name, as they are sent.
	bindings []cloudflare.Binding
}

// readForm takes a form apart.
func readForm(form *wrangler.Form) (upload, error) {
	var out upload
	var metadata struct {
		Main     string               `json:"main_module"`
		Body     string               `json:"body_part"`
		Bindings []cloudflare.Binding `json:"bindings"`
	}
	if err := json.Unmarshal(form.Metadata, &metadata); err != nil {
		return out, err
	}
	out.main, out.script, out.bindings = metadata.Main+metadata.Body, metadata.Body != "", metadata.Bindings
	_, parameters, err := mime.ParseMediaType(form.ContentType)
	if err != nil {
		return out, err
	}
	for parts := multipart.NewReader(bytes.NewReader(form.Body), parameters["boundary"]); ; {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return out, err
		}
		if part.FileName() != "" { // the metadata has none
			out.modules = append(out.modules, cloudflare.ContentModule{Name: part.FormName(), ContentType: part.Header.Get("Content-Type"), Body: content})
		}
	}
}

const (
	moduleHint = "the live code is not the commit's: deploy with --redeploy, and find out who uploaded it"
	sourceMap  = "application/source-map"
)

// compareModules compares the code itself.
func (v *Verified) compareModules(want upload, have cloudflare.Content) {
	if have.Main != "" && have.Main != want.main {
		v.differ("module-differs", fmt.Sprintf("the live script begins in %q, the commit's in %q", have.Main, want.main), want.main, moduleHint)
	}
	unseen := []string{}
	for _, m := range want.modules {
		i := slices.IndexFunc(have.Modules, func(h cloudflare.ContentModule) bool {
			return h.Name == m.Name || want.script && h.Name == "" && m.Name == want.main // a script comes without its name
		})
		switch {
		case m.ContentType == sourceMap: // for error messages: it never runs, and Cloudflare need not hand it out
			if i >= 0 && !bytes.Equal(m.Body, have.Modules[i].Body) {
				v.Findings = append(v.Findings, Finding{Rule: "source-map-differs", Level: LevelNotice, Message: fmt.Sprintf("source map %q is another than the commit's", m.Name),
					Hint: "it never runs; positions in errors of this release may be wrong"})
			}
		case i >= 0:
			v.compareModule(m, have.Modules[i])
		case want.script && m.Name != want.main:
			unseen = append(unseen, m.Name)
		default:
			v.differ("module-missing", fmt.Sprintf("the live script has no module %q", m.Name), fmt.Sprintf("%d bytes of %s", len(m.Body), m.ContentType), moduleHint)
		}
	}
	for _, h := range have.Modules {
		if !(want.script && h.Name == "") && !slices.ContainsFunc(want.modules, func(m cloudflare.ContentModule) bool { return m.Name == h.Name }) {
			v.differ("module-extra", fmt.Sprintf("the live script has module %q of %d bytes, which the commit does not make", h.Name, len(h.Body)), "no such module", moduleHint)
		}
	}
	if len(unseen) > 0 {
		v.Findings = append(v.Findings, Finding{Rule: "module-unseen", Level: LevelNotice,
			Message: "Cloudflare does not hand out what a script in service-worker format is bound to: " + strings.Join(unseen, ", ") + " could not be compared",
			Hint:    "write the Worker as an ES module"})
	}
}

func (v *Verified) compareModule(want, have cloudflare.ContentModule) {
	if kind := codeKind(have.ContentType); kind != codeKind(want.ContentType) {
		v.differ("module-differs", fmt.Sprintf("module %q is of type %s", want.Name, kind), want.ContentType, moduleHint)
	}
	if !bytes.Equal(want.Body, have.Body) {
		v.differ("module-differs", fmt.Sprintf("module %q differs: %s", want.Name, firstDifference(want.Body, have.Body)), fmt.Sprintf("%d bytes as the commit makes them", len(want.Body)), moduleHint)
		return
	}
	v.Modules++
	v.Bytes += len(want.Body)
}

// codeKind is a content type without parameters, and JavaScript under one of its two names.
func codeKind(contentType string) string {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return contentType
	}
	if rest, ok := strings.CutPrefix(kind, "text/javascript"); ok {
		return "application/javascript" + rest
	}
	return kind
}

// firstDifference says where two contents begin to differ, and what stands there.
func firstDifference(want, have []byte) string {
	at := 0
	for at < len(want) && at < len(have) && want[at] == have[at] {
		at++
	}
	line := 1 + bytes.Count(want[:at], []byte("\n"))
	where := fmt.Sprintf("from byte %d, line %d, on", at, line)
	if !utf8.Valid(want) || !utf8.Valid(have) {
		where = fmt.Sprintf("from byte %d on", at)
	}
	excerpt := func(b []byte) string {
		if at == len(b) {
			return "the end"
		}
		b = b[at:min(len(b), at+30)]
		if i := bytes.IndexByte(b, '\n'); i > 0 {
			b = b[:i]
		}
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%s live is %s, the commit's is %s (%d and %d bytes)", where, excerpt(have), excerpt(want), len(have), len(want))
}

// compareSettings compares what the live version is bound to and runs under with the config.
func (v *Verified) compareSettings(want *Desired, sent upload, have cloudflare.Version) {
	const hint = "somebody changed it in the dashboard or uploaded outside; deploy with --redeploy"
	if have.CompatibilityDate != want.Config.CompatibilityDate || !slices.Equal(sortedCopy(have.CompatibilityFlags), sortedCopy(want.Config.CompatibilityFlags)) {
		v.differ("compatibility-differs", fmt.Sprintf("the live version runs with compatibility date %q and flags %q", have.CompatibilityDate, have.CompatibilityFlags),
			fmt.Sprintf("%q and %q", want.Config.CompatibilityDate, want.Config.CompatibilityFlags), hint)
	}
	live := map[string]cloudflare.Binding{}
	for _, b := range have.Bindings {
		live[b.Name] = b
	}
	for _, b := range sent.bindings {
		h, ok := live[b.Name]
		delete(live, b.Name)
		if !ok {
			v.differ("binding-differs", "the live version has no binding "+b.Name, b.Type, hint)
		} else if said, is := describe(b, v.Worker), describe(h, v.Worker); said != is && !(b.Type == "inherit" && isSecret(h.Type)) {
			v.differ("binding-differs", fmt.Sprintf("binding %s of the live version is %s", b.Name, is), said, hint)
		}
	}
	for _, b := range have.Bindings {
		if _, extra := live[b.Name]; extra && !isSecret(b.Type) { // a secret is the Worker's own, and no part of a commit
			v.differ("binding-differs", fmt.Sprintf("the live version has a binding %s that the config does not have: %s", b.Name, describe(b, v.Worker)), "no such binding", hint)
		}
	}
}

// boundedDigest is as much of a value's digest as tells values apart.
func boundedDigest(text json.RawMessage) string {
	digest := EntryDigest(text)
	return digest[:min(len(digest), 12)]
}

func isSecret(typ string) bool { return typ == "secret_text" || typ == "secret_key" }

// describe is a binding as far as both a config and Cloudflare tell of it: type, what it reaches, and a variable's value.
func describe(b cloudflare.Binding, worker string) string {
	words := []string{b.Type}
	var members struct {
		Text  *string         `json:"text"`
		JSON  json.RawMessage `json:"json"`
		Class string          `json:"class_name"`
	}
	if json.Unmarshal(b.JSON, &members) == nil {
		switch {
		// A variable's value may be a secret that somebody typed into the wrong field.
		case b.Type == "plain_text" && members.Text != nil:
			words = append(words, "of sha256 "+shortSum([]byte(*members.Text)))
		case b.Type == "json":
			words = append(words, "of sha256 "+boundedDigest(members.JSON))
		case members.Class != "":
			words = append(words, "class "+members.Class)
		}
	}
	reach, err := ReachOfLive(b.JSON)
	if err != nil {
		return string(b.JSON)
	}
	for _, r := range reach {
		if r.Free || r.Resource == worker && (r.Type == "service" || r.Type == "durable_object_namespace") && b.Type != "service" {
			continue // Cloudflare names the Worker itself where a config need not
		}
		words = append(words, strings.TrimSpace(r.Resource+" "+r.Jurisdiction))
	}
	return strings.Join(words, " ")
}
