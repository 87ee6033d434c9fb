package wrangler_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// question and answer are what testdata/config/oracle.mjs reads and writes.
type question struct {
	Kind              string   `json:"kind"`
	Dir               string   `json:"dir,omitempty"`
	Text              any      `json:"text,omitempty"`
	Env               string   `json:"env,omitempty"`
	Args              []string `json:"args,omitempty"`
	MigrationsDir     *string  `json:"migrationsDir,omitempty"`
	MigrationsPattern *string  `json:"migrationsPattern,omitempty"`
}

type answer struct {
	Config     map[string]json.RawMessage `json:"config"`
	Errors     []string                   `json:"errors"`
	Warnings   []string                   `json:"warnings"`
	Bindings   string                     `json:"bindings"`
	WorkersDev bool                       `json:"workersDev"`
	Routes     []json.RawMessage          `json:"routes"`
	Placement  json.RawMessage            `json:"placement"`
	Tags       []string                   `json:"tags"`
	Names      []string                   `json:"names"`
	Text       string                     `json:"text"`
	Exit       int                        `json:"exit"`
	Output     string                     `json:"output"`
}

// askWrangler puts questions to the real wrangler's functions in one process.
func askWrangler(t *testing.T, questions []question) []answer {
	t.Helper()
	requireJudge(t)
	in, err := json.Marshal(questions)
	if err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs(filepath.Join("testdata", "config", "oracle.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	cli := filepath.Join(judgeModules(t), "wrangler", "wrangler-dist", "cli.js")
	stdout, stderr, exit := runNode(t, t.TempDir(), in, script, cli)
	if exit != 0 {
		t.Fatalf("the oracle exits with %d:\n%s", exit, stderr)
	}
	var answers []answer
	if err := json.Unmarshal([]byte(stdout), &answers); err != nil {
		t.Fatalf("reading the oracle's answers: %v\n%.500s", err, stdout)
	}
	if len(answers) != len(questions) {
		t.Fatalf("%d answers to %d questions", len(answers), len(questions))
	}
	return answers
}

// resolve is Parse and Resolve: the configuration, or the findings of whichever refused it.
func resolve(t *testing.T, dir, text, env string) (*wrangler.Config, wrangler.Findings) {
	t.Helper()
	p, err := wrangler.Parse(dir, "wrangler.jsonc", []byte(text))
	var c *wrangler.Config
	if err == nil {
		c, err = p.Resolve(env)
	}
	if err == nil {
		return c, nil
	}
	var findings wrangler.Findings
	if !errors.As(err, &findings) {
		t.Fatalf("the error is not Findings: %v", err)
	}
	return nil, findings
}

// compareConfig says how our resolution differs from wrangler's, nil when it does not.
func compareConfig(dir string, c *wrangler.Config, findings wrangler.Findings, want answer) []string {
	if len(want.Errors) > 0 || c == nil {
		if len(want.Errors) > 0 && c == nil {
			return nil
		}
		return []string{fmt.Sprintf("errors differ:\n  ours    %v\n  wrangler %q", findings, want.Errors)}
	}
	var diffs []string
	same := func(what string, got any, want any) {
		g, w := compact(got), compact(want)
		if !bytes.Equal(g, w) {
			diffs = append(diffs, fmt.Sprintf("%s: %s, wrangler has %s", what, g, w))
		}
	}
	bindings := []wrangler.Binding{}
	for _, b := range c.Bindings {
		if !b.Complete {
			b = b.Inherit() // what a dry run does with a binding that the account has to complete
		}
		bindings = append(bindings, b)
	}
	var theirs []json.RawMessage
	if err := json.Unmarshal([]byte(want.Bindings), &theirs); err != nil {
		return []string{"wrangler's bindings: " + err.Error()}
	}
	same("number of bindings", len(bindings), len(theirs))
	for i := range min(len(bindings), len(theirs)) {
		same(fmt.Sprintf("binding %d", i), bindings[i], theirs[i])
	}
	same("workers_dev", c.WorkersDev, want.WorkersDev)
	var routes []json.RawMessage
	for _, r := range c.Routes {
		routes = append(routes, r.Raw)
	}
	for i, r := range want.Routes {
		if bytes.HasPrefix(r, []byte(`"`)) {
			want.Routes[i] = json.RawMessage(`{"pattern":` + string(r) + `}`)
		}
	}
	same("routes", orEmpty(routes), orEmpty(want.Routes))
	same("placement", c.Placement, want.Placement)
	same("tags", orEmpty(c.Tags), orEmpty(want.Tags))

	key := func(name string) json.RawMessage { return want.Config[name] }
	str := func(s string) json.RawMessage {
		if s == "" {
			return nil
		}
		return encode(s)
	}
	same("topLevelName", str(c.TopLevelName), emptyIsNone(key("topLevelName")))
	same("account_id", str(c.AccountID), key("account_id"))
	same("name", str(c.Name), emptyIsNone(key("name")))
	same("main", str(c.Main), key("main"))
	same("base_dir", str(c.BaseDir), key("base_dir"))
	if want := emptyIsNone(key("tsconfig")); want != nil || c.TSConfig != "" {
		rel, _ := filepath.Rel(dir, c.TSConfig)
		same("tsconfig", rel, want)
	}
	same("compatibility_date", str(c.CompatibilityDate), key("compatibility_date"))
	same("compatibility_flags", orEmpty(c.CompatibilityFlags), key("compatibility_flags"))
	same("jsx_factory", c.JSXFactory, key("jsx_factory"))
	same("jsx_fragment", c.JSXFragment, key("jsx_fragment"))
	same("define", c.Define, sortedMap(key("define")))
	same("alias", c.Alias, sortedMap(key("alias")))
	same("minify", c.Minify, key("minify"))
	same("keep_names", c.KeepNames, key("keep_names"))
	same("upload_source_maps", c.UploadSourceMaps, key("upload_source_maps"))
	same("find_additional_modules", c.FindAdditionalModules, key("find_additional_modules"))
	same("preserve_file_names", c.PreserveFileNames, orFalse(key("preserve_file_names")))
	same("no_bundle", c.NoBundle, orFalse(key("no_bundle")))
	same("keep_vars", c.KeepVars, orFalse(key("keep_vars")))
	same("logpush", c.Logpush, key("logpush"))
	same("preview_urls", c.PreviewURLs, key("preview_urls"))
	same("workers_dev set", c.WorkersDevSet, key("workers_dev") != nil)
	same("observability", c.Observability, key("observability"))
	same("limits", c.Limits, falsyIsNone(key("limits")))
	same("cache", c.Cache, key("cache"))
	same("tail_consumers", c.TailConsumers, falsyIsNone(key("tail_consumers")))
	same("streaming_tail_consumers", c.StreamingTailConsumers, falsyIsNone(key("streaming_tail_consumers")))

	var triggers struct {
		Crons []string `json:"crons"`
	}
	var assets map[string]json.RawMessage
	var build struct{ Command, Cwd string }
	var rules []map[string]json.RawMessage
	var migrations []map[string]json.RawMessage
	var databases []map[string]string
	var secrets struct {
		Required []string `json:"required"`
	}
	var unsafe struct {
		Metadata json.RawMessage `json:"metadata"`
	}
	for name, into := range map[string]any{
		"triggers": &triggers, "assets": &assets, "build": &build, "rules": &rules, "migrations": &migrations,
		"d1_databases": &databases, "secrets": &secrets, "unsafe": &unsafe,
	} {
		if raw := falsyIsNone(key(name)); raw != nil {
			// A value that does not fit is one that wrangler does not look at; it stays empty.
			if err := json.Unmarshal(raw, into); err != nil && name != "d1_databases" {
				diffs = append(diffs, fmt.Sprintf("%s: %v", name, err))
			}
		}
	}
	same("crons", orEmpty(c.Crons), orEmpty(triggers.Crons))
	same("crons set", c.CronsSet, triggers.Crons != nil)
	same("build", []string{c.Build.Command, c.Build.Cwd}, []string{build.Command, build.Cwd})
	same("required secrets", orEmpty(c.RequiredSecrets), orEmpty(secrets.Required))
	same("unsafe.metadata", c.UnsafeMetadata, unsafe.Metadata)
	same("assets", c.Assets != nil, assets != nil)
	if c.Assets != nil && assets != nil {
		same("assets.binding", str(c.Assets.Binding), emptyIsNone(assets["binding"]))
		same("assets.html_handling", str(c.Assets.HTMLHandling), assets["html_handling"])
		same("assets.not_found_handling", str(c.Assets.NotFoundHandling), assets["not_found_handling"])
		same("assets.base_path", str(c.Assets.BasePath), assets["base_path"])
		same("assets.run_worker_first", c.Assets.RunWorkerFirst, assets["run_worker_first"])
	}
	if len(c.Rules) != len(rules) {
		diffs = append(diffs, fmt.Sprintf("%d rules, wrangler has %d", len(c.Rules), len(rules)))
	} else {
		for i, r := range c.Rules {
			same("rules.type", r.Type, rules[i]["type"])
			same("rules.globs", r.Globs, rules[i]["globs"])
			same("rules.fallthrough", r.Fallthrough, rules[i]["fallthrough"])
		}
	}
	if len(c.DOMigrations) != len(migrations) {
		diffs = append(diffs, fmt.Sprintf("%d migrations, wrangler has %d", len(c.DOMigrations), len(migrations)))
	} else {
		for i, m := range c.DOMigrations {
			same("migrations.tag", m.Tag, migrations[i]["tag"])
			delete(migrations[i], "tag")
			same("migrations.step", sortedMap(m.Step), migrations[i])
		}
	}
	for i, db := range c.D1 {
		want := databases[i]
		for name, got := range map[string]string{
			"binding": db.Binding, "database_name": db.DatabaseName, "database_id": db.DatabaseID,
			"preview_database_id": db.PreviewDatabaseID, "migrations_pattern": db.MigrationsPattern,
		} {
			same("d1_databases."+name, got, want[name])
		}
	}
	if got, rules := warningRules(c.Warnings), wranglerRules(want.Warnings); !maps.Equal(got, rules) {
		diffs = append(diffs, fmt.Sprintf("warnings differ: %v, wrangler has %v\n  ours     %v\n  wrangler %q", got, rules, wrangler.Findings(c.Warnings), want.Warnings))
	}
	return diffs
}

func warningRules(findings []wrangler.Finding) map[string]int {
	out := map[string]int{}
	for _, f := range findings {
		if f.Level == wrangler.LevelWarning {
			out[f.Rule]++
		}
	}
	return out
}

// wranglerWarnings are wrangler's warnings, by what makes them recognisable, and our rules for them.
var wranglerWarnings = []struct {
	text *regexp.Regexp
	rule string
}{
	{regexp.MustCompile(`^"\w+" exists at the top level, but not on "env`), "not-inherited"},
	{regexp.MustCompile(`^There is a \S+ binding with name`), "not-inherited"},
	{regexp.MustCompile(`^The following (vars|bindings|define entries) `), "not-inherited"},
	{regexp.MustCompile(`exists on "env\.[^"]+", but not on the top level`), "define-only-in-env"},
	{regexp.MustCompile(`^Unexpected fields found in`), "unexpected-field"},
	{regexp.MustCompile(`fields are experimental`), "experimental-field"},
	{regexp.MustCompile(`is an empty string and will be ignored`), "config-empty"},
	{regexp.MustCompile(`inherits the top-level .routes. configuration`), "inherited-domains"},
	{regexp.MustCompile(`no live .exports. entry for them`), "no-lifecycle"},
	{regexp.MustCompile(`^No environment found in configuration`), "unknown-env"},
	{regexp.MustCompile(`is directly supported by wrangler`), "unsafe-supported"},
	{regexp.MustCompile(`has a step limit of`), "config-range"},
	{regexp.MustCompile(`has both "dev" and "remote" set`), "config-conflict"},
	{regexp.MustCompile(`deprecated|we're defaulting to "workers-site"`), "deprecated-field"},
}

// wranglerRules counts wrangler's warnings by our rules. Where one of wrangler's lists several things, each of
// ours names one.
func wranglerRules(warnings []string) map[string]int {
	out := map[string]int{}
	for _, w := range warnings {
		rule, n := "unknown: "+w, 1
		for _, known := range wranglerWarnings {
			if known.text.MatchString(w) {
				rule = known.rule
				break
			}
		}
		switch {
		case strings.HasPrefix(w, "The following"):
			n = strings.Count(w, "\n- ")
		case rule == "unexpected-field":
			_, fields, _ := strings.Cut(w, " field: ")
			n = strings.Count(fields, `"`) / 2
		}
		out[rule] += n
	}
	return out
}

func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return []byte(err.Error())
	}
	return bytes.TrimSpace(b.Bytes())
}

// compact is v as JSON without white space; raw JSON of no length is null.
func compact(v any) []byte {
	if raw, ok := v.(json.RawMessage); ok && len(raw) == 0 {
		return []byte("null")
	}
	return encode(v)
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func orFalse(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("false")
	}
	return raw
}

func emptyIsNone(raw json.RawMessage) json.RawMessage {
	if string(raw) == `""` {
		return nil
	}
	return raw
}

func falsyIsNone(raw json.RawMessage) json.RawMessage {
	if slices.Contains([]string{`""`, "false", "0", "null"}, string(raw)) {
		return nil
	}
	return raw
}

func sortedMap(raw json.RawMessage) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &out); err != nil {
			out["error"] = encode(err.Error())
		}
	}
	return out
}

// TestResolveRandom compares Resolve with wrangler's own resolution of random configurations: every field,
// the bindings as they travel, whether it is refused, and the kinds of warnings.
func TestResolveRandom(t *testing.T) {
	requireJudge(t)
	const cases = 1000
	r := rand.New(rand.NewPCG(4, 164))
	dir := t.TempDir()
	var questions []question
	var texts []string
	for range cases {
		text, env := randomConfig(r)
		texts = append(texts, text)
		questions = append(questions, question{Kind: "config", Dir: dir, Text: []byte(text), Env: env})
	}
	refused, warned := 0, 0
	failures := 0
	for i, want := range askWrangler(t, questions) {
		c, findings := resolve(t, dir, texts[i], questions[i].Env)
		checkInside(t, []byte(texts[i]), findings)
		if c == nil {
			refused++
		} else if len(c.Warnings) > 0 {
			checkInside(t, []byte(texts[i]), c.Warnings)
			warned++
		}
		if diffs := compareConfig(dir, c, findings, want); diffs != nil {
			t.Errorf("case %d, env %q:\n%s\n%s", i, questions[i].Env, strings.Join(diffs, "\n"), texts[i])
			if failures++; failures > 5 {
				t.FailNow()
			}
		}
	}
	// The generator is only worth something when it reaches all three outcomes.
	if refused < cases/20 || warned < cases/10 || refused+warned > cases*19/20 {
		t.Errorf("of %d cases %d are refused and %d have warnings: the generator is lopsided", cases, refused, warned)
	}
}

// leaf is a value in a configuration made by randomConfig: what stands after a colon, bracket or comma and
// before the next comma or bracket.
var leaf = regexp.MustCompile(`([:\[,]\s*)("(?:[^"\\]|\\.)*"|true|false|null|-?[0-9][0-9.eE+-]*)(\s*[,\]}])`)

// TestResolveMutated spoils one value of random configurations: what wrangler refuses we refuse too, and what
// both accept comes out the same.
func TestResolveMutated(t *testing.T) {
	requireJudge(t)
	const cases = 1000
	r := rand.New(rand.NewPCG(4, 165))
	dir := t.TempDir()
	var questions []question
	var texts []string
	for len(texts) < cases {
		text, env := randomConfig(r)
		at := leaf.FindAllStringSubmatchIndex(text, -1)
		if len(at) == 0 {
			continue
		}
		m := at[r.IntN(len(at))]
		spoiled := []string{`null`, `5`, `-1.5`, `"spoiled"`, `""`, `[]`, `{}`, `true`, `["spoiled"]`, `{"spoiled": 1}`}[r.IntN(10)]
		text = text[:m[4]] + spoiled + text[m[5]:]
		texts = append(texts, text)
		questions = append(questions, question{Kind: "config", Dir: dir, Text: []byte(text), Env: env})
	}
	failures, stricter, spoiled := 0, 0, 0
	for i, want := range askWrangler(t, questions) {
		c, findings := resolve(t, dir, texts[i], questions[i].Env)
		checkInside(t, []byte(texts[i]), findings)
		if len(want.Errors) > 0 {
			spoiled++
		}
		if c == nil && len(want.Errors) == 0 {
			stricter++
			if testing.Verbose() {
				t.Logf("stricter: %v", wrangler.Findings(findings))
			}
			continue
		}
		if diffs := compareConfig(dir, c, findings, want); diffs != nil {
			t.Errorf("case %d, env %q:\n%s\n%s", i, questions[i].Env, strings.Join(diffs, "\n"), texts[i])
			if failures++; failures > 5 {
				t.FailNow()
			}
		}
	}
	if spoiled < cases/5 {
		t.Errorf("wrangler refuses only %d of %d: the mutations spoil too little", spoiled, cases)
	}
	if stricter > cases/20 {
		t.Errorf("%d of %d are refused by us alone", stricter, cases)
	}
}
