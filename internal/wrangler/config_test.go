package wrangler_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/kvick/shopfleet/internal/wrangler"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// project is one txtar of testdata/config/projects: the files of a project and what we have to say about it.
// The head names the environment ("env: …"); a line "ours alone: why" says that wrangler does not refuse it
// where we do. The files "findings" and "bindings" are golden.
type project struct {
	name      string
	file      string
	archive   *txtar.Archive
	env       string
	oursAlone bool
}

func readProjects(t *testing.T) []project {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "config", "projects", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no projects: %v", err)
	}
	var out []project
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p := project{name: strings.TrimSuffix(filepath.Base(file), ".txtar"), file: file, archive: a}
		for _, line := range strings.Split(string(a.Comment), "\n") {
			if env, ok := strings.CutPrefix(line, "env:"); ok {
				p.env = strings.TrimSpace(env)
			}
			p.oursAlone = p.oursAlone || strings.HasPrefix(line, "ours alone:")
		}
		out = append(out, p)
	}
	return out
}

func (p project) golden(name string) string {
	for _, f := range p.archive.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// write puts the project's files into a fresh directory.
func (p project) write(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range p.archive.Files {
		if f.Name != "findings" && f.Name != "bindings" {
			files[f.Name] = string(f.Data)
		}
	}
	writeFiles(t, dir, files)
	return dir
}

// judge reads, resolves and checks the project in dir.
func (p project) judge(t *testing.T, dir string) (*wrangler.Config, wrangler.Findings) {
	t.Helper()
	loaded, err := wrangler.Load(dir)
	var c *wrangler.Config
	if err == nil {
		c, err = loaded.Resolve(p.env)
	}
	if err == nil {
		warnings, checkErr := c.Check()
		if checkErr == nil {
			return c, append(slices.Clone(c.Warnings), warnings...)
		}
		err = checkErr
	}
	var findings wrangler.Findings
	if !errors.As(err, &findings) {
		t.Fatalf("the error is not Findings: %v", err)
	}
	return nil, findings
}

func TestProjects(t *testing.T) {
	for _, p := range readProjects(t) {
		t.Run(p.name, func(t *testing.T) {
			dir := p.write(t)
			c, findings := p.judge(t, dir)
			got := map[string]string{"findings": render(findings), "bindings": ""}
			if c != nil {
				for _, b := range c.Bindings {
					got["bindings"] += string(encode(b)) + "\n"
				}
			}
			if strings.Contains(got["findings"], dir) {
				t.Errorf("a finding has a path of this machine:\n%s", got["findings"])
			}
			if *update {
				p.update(t, got)
				return
			}
			for _, name := range []string{"findings", "bindings"} {
				if got[name] != p.golden(name) {
					t.Errorf("%s:\n%s\nwant:\n%s", name, got[name], p.golden(name))
				}
			}
		})
	}
}

func (p project) update(t *testing.T, golden map[string]string) {
	t.Helper()
	p.archive.Files = slices.DeleteFunc(p.archive.Files, func(f txtar.File) bool { return f.Name == "findings" || f.Name == "bindings" })
	for _, name := range []string{"findings", "bindings"} {
		if golden[name] != "" {
			p.archive.Files = append(p.archive.Files, txtar.File{Name: name, Data: []byte(golden[name])})
		}
	}
	if err := os.WriteFile(p.file, txtar.Format(p.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// render prints findings with everything that is in them, the position as a caret below the source line.
func render(findings wrangler.Findings) string {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "%s: %s\n", f.Level, f)
		for _, part := range []struct{ label, text string }{{"expected", f.Expected}, {"hint", f.Hint}} {
			if part.text != "" {
				fmt.Fprintf(&b, "    %s: %s\n", part.label, part.text)
			}
		}
		if f.Source != "" {
			fmt.Fprintf(&b, "    | %s\n    | %s^\n", f.Source, strings.Repeat(" ", len([]rune(f.Source[:f.Column-1]))))
		}
	}
	return b.String()
}

func TestParsePositions(t *testing.T) {
	tests := []struct {
		name, src            string
		rule                 string
		line, column         int
		source, wantExpected string
	}{
		{"empty", "", "config-syntax", 1, 1, "", "an object: { … }"},
		{"blank", "\n\n  \n", "config-syntax", 1, 1, "", "an object: { … }"},
		{"only a comment", "// nothing\n", "config-syntax", 1, 11, "// nothing", "a closing quote, bracket, brace or */"},
		{"array", "\n [1]", "config-syntax", 2, 2, " [1]", "an object: { … }"},
		{"string", `"x"`, "config-syntax", 1, 1, `"x"`, "an object: { … }"},
		{"unclosed object", "{\n  \"a\": 1\n", "config-syntax", 2, 9, `  "a": 1`, "a closing quote, bracket, brace or */"},
		{"unclosed comment", "{ /* x", "config-syntax", 1, 7, "{ /* x", "a closing quote, bracket, brace or */"},
		{"single quotes", "{\n  'a': 1\n}", "config-syntax", 2, 3, `  'a': 1`, "a string in double quotes, a number, true, false, null, [ or {"},
		{"bare key", "{\r\n\ta: 1\r\n}", "config-syntax", 2, 2, "\ta: 1", ""},
		{"no colon", `{"a" 1}`, "config-syntax", 1, 6, `{"a" 1}`, "a colon"},
		{"no comma", "{\"a\": 1\n \"b\": 2}", "config-syntax", 2, 2, ` "b": 2}`, "a comma or the closing bracket"},
		{"two values", "{}\n{}", "config-syntax", 2, 1, "{}", "the end of the file"},
		{"line break in a string", "{\"a\": \"b\nc\"}", "config-syntax", 1, 7, `{"a": "b`, ""},
		{"bad number", `{"a": 01}`, "config-syntax", 1, 7, `{"a": 01}`, ""},
		{"byte order mark", "\ufeff{\"a\": 01}", "config-syntax", 1, 10, `{"a": 01}`, ""},
		{"UTF-16", "\xff\xfe{\x00}\x00", "config-encoding", 1, 1, "", "UTF-8"},
		{"UTF-32", "\x00\x00\xfe\xff\x00\x00\x00{", "config-encoding", 1, 1, "", "UTF-8"},
		{"Latin-1", "{\n \"a\": \"caf\xe9\"}", "config-encoding", 2, 11, " \"a\": \"caf\xe9\"}", "UTF-8"},
		{"twice", "{\n  \"a\": 1,\n  \"b\": {},\n  \"a\": 2\n}", "duplicate-key", 4, 3, `  "a": 2`, ""},
		{"twice by escape", `{"env": {"x": {"a": 1, "\u0061": 2}}}`, "duplicate-key", 1, 24, `{"env": {"x": {"a": 1, "\u0061": 2}}}`, ""},
		{"too deep", strings.Repeat("[", 501), "config-syntax", 1, 501, strings.Repeat("[", 501), ""},
		{"deep and hostile", strings.Repeat(`{"a":[`, 1<<20), "config-syntax", 1, 1501, "", ""},
		{"old line ends", "// x\r{\r\"a\": 01}", "config-syntax", 3, 6, `"a": 01}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := wrangler.Parse(t.TempDir(), "wrangler.jsonc", []byte(tt.src))
			var findings wrangler.Findings
			if !errors.As(err, &findings) || len(findings) != 1 {
				t.Fatalf("got %v, want one finding", err)
			}
			f := findings[0]
			if f.Rule != tt.rule || f.Line != tt.line || f.Column != tt.column {
				t.Errorf("got %s at %d:%d, want %s at %d:%d (%s)", f.Rule, f.Line, f.Column, tt.rule, tt.line, tt.column, f.Message)
			}
			if f.File != "wrangler.jsonc" || f.Level != wrangler.LevelError {
				t.Errorf("got file %q, level %q", f.File, f.Level)
			}
			if tt.source != "" && f.Source != tt.source {
				t.Errorf("got source %q, want %q", f.Source, tt.source)
			}
			if tt.wantExpected != "" && f.Expected != tt.wantExpected {
				t.Errorf("got expected %q, want %q", f.Expected, tt.wantExpected)
			}
		})
	}
}

func TestParseAccepts(t *testing.T) {
	tests := map[string]string{
		"byte order mark":                "\ufeff{\"name\": \"helm\"}",
		"comments":                       "// a\n/* b */ {\"name\": /* c */ \"helm\" // d\n} // e",
		"trailing commas":                `{"name": "helm", "compatibility_flags": ["a",], }`,
		"carriage returns":               "{\r\n\"name\": \"helm\"\r\n}\r\n",
		"carriage returns alone":         "// x\r{\r\"name\": \"helm\"\r}",
		"comment at the end, no newline": `{"name": "helm"} // x`,
		"escapes":                        `{"\u006eame": "h\u0065lm"}`,
	}
	for name, src := range tests {
		t.Run(name, func(t *testing.T) {
			c, findings := resolve(t, t.TempDir(), src, "")
			if c == nil {
				t.Fatal(findings)
			}
			if c.Name != "helm" || c.TopLevelName != "helm" {
				t.Errorf("got the name %q", c.Name)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	const config = `{"name": "helm", "main": "src/index.js"}`
	tests := []struct {
		name    string
		files   map[string]string
		rule    string // of the error
		file    string // that was read
		notices []string
	}{
		{name: "jsonc", files: map[string]string{"wrangler.jsonc": config}, file: "wrangler.jsonc"},
		{name: "json", files: map[string]string{"wrangler.json": config}, file: "wrangler.json"},
		{name: "json first", files: map[string]string{"wrangler.json": config, "wrangler.jsonc": `{`}, file: "wrangler.json", notices: []string{"config-shadowed"}},
		{name: "json before toml", files: map[string]string{"wrangler.jsonc": config, "wrangler.toml": "x"}, file: "wrangler.jsonc", notices: []string{"config-shadowed"}},
		{name: "none", files: map[string]string{"package.json": "{}"}, rule: "config-missing"},
		{name: "toml", files: map[string]string{"wrangler.toml": "name = \"helm\"\n"}, rule: "toml-config"},
		{
			name:    "redirect",
			files:   map[string]string{"wrangler.jsonc": config, ".wrangler/deploy/config.json": `{"configPath": "../../elsewhere.json"}`, "elsewhere.json": `{"name": "other"}`},
			file:    "wrangler.jsonc",
			notices: []string{"config-redirect"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFiles(t, dir, tt.files)
			p, err := wrangler.Load(dir)
			if tt.rule != "" {
				var findings wrangler.Findings
				if !errors.As(err, &findings) || findings[0].Rule != tt.rule || findings[0].Hint == "" {
					t.Fatalf("got %v, want %s with a hint", err, tt.rule)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			c, err := p.Resolve("")
			if err != nil {
				t.Fatal(err)
			}
			if p.File != tt.file || p.Dir != dir || c.Name != "helm" || c.Main != filepath.Join(dir, "src", "index.js") {
				t.Errorf("got file %q, dir %q, name %q, main %q", p.File, p.Dir, c.Name, c.Main)
			}
			var notices []string
			for _, f := range c.Warnings {
				if f.Level == wrangler.LevelNotice {
					notices = append(notices, f.Rule)
				}
			}
			if !slices.Equal(notices, tt.notices) {
				t.Errorf("got the notices %q, want %q", notices, tt.notices)
			}
		})
	}
}

// A configuration in a folder has its paths relative to that folder, like wrangler's.
func TestParseInFolder(t *testing.T) {
	dir := t.TempDir()
	p, err := wrangler.Parse(dir, "apps/pos/wrangler.jsonc", []byte(`{"name": "helm", "main": "../index.js", "tsconfig": "t.json", "nmae": 1}`))
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Resolve("")
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "apps", "index.js"); c.Main != want {
		t.Errorf("got main %q, want %q", c.Main, want)
	}
	if want := filepath.Join(dir, "apps", "pos", "t.json"); c.TSConfig != want {
		t.Errorf("got tsconfig %q, want %q", c.TSConfig, want)
	}
	if len(c.Warnings) != 1 || c.Warnings[0].File != "apps/pos/wrangler.jsonc" {
		t.Errorf("got the warnings %v", c.Warnings)
	}
}

func TestPosition(t *testing.T) {
	src := `{
  "name": "helm",
  "routes": ["a/*"],
  "d1_databases": [{ "binding": "TOP" }],
  "env": {
    "swicked": {
      "d1_databases": [
        { "binding": "A" },
        { "binding": "B", "database_id": "d" }
      ]
    }
  }
}`
	c, findings := resolve(t, t.TempDir(), src, "swicked")
	if c == nil {
		t.Fatal(findings)
	}
	tests := []struct {
		path         []any
		line, column int
	}{
		{nil, 1, 1},
		{[]any{"name"}, 2, 3},
		{[]any{"routes", 0}, 3, 14},
		{[]any{"env", "swicked", "d1_databases", 1, "database_id"}, 9, 27},
		{[]any{"d1_databases", 1, "database_id"}, 9, 27}, // the environment's
		{[]any{"d1_databases", 0}, 8, 9},
		{[]any{"d1_databases", 0, "database_id"}, 8, 9}, // absent: where it would be
		{[]any{"d1_databases", 7}, 7, 7},
		{[]any{"env", "other"}, 5, 3},
		{[]any{"vars", "X"}, 1, 1},
		{[]any{"name", 0, "x"}, 2, 3},
		{[]any{3.5}, 1, 1},
	}
	for _, tt := range tests {
		if line, column := c.Position(tt.path...); line != tt.line || column != tt.column {
			t.Errorf("%v is at %d:%d, want %d:%d", tt.path, line, column, tt.line, tt.column)
		}
	}
	got := c.At(wrangler.Finding{Rule: "d1-missing", Message: "m"}, append(c.D1[1].Path(), "database_id")...)
	want := wrangler.Finding{Rule: "d1-missing", Message: "m", File: "wrangler.jsonc", Line: 9, Column: 27, Source: `        { "binding": "B", "database_id": "d" }`}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestBinding(t *testing.T) {
	src := `{"name": "helm", "d1_databases": [{"binding": "DB", "database_internal_env": "e"}, {"binding": "DB2", "database_id": "d<2>"}]}`
	c, findings := resolve(t, t.TempDir(), src, "")
	if c == nil {
		t.Fatal(findings)
	}
	db, db2 := c.Bindings[0], c.Bindings[1]
	if db.Complete || !db2.Complete {
		t.Errorf("complete: %v and %v", db.Complete, db2.Complete)
	}
	for name, tt := range map[string]struct {
		b    wrangler.Binding
		want string
	}{
		"as configured":   {db2, `{"name":"DB2","type":"d1","id":"d<2>"}`},
		"inherited":       {db.Inherit(), `{"name":"DB","type":"inherit"}`},
		"completed":       {db.With("id", "found"), `{"name":"DB","type":"d1","id":"found","internalEnv":"e"}`},
		"another id":      {db2.With("id", "other"), `{"name":"DB2","type":"d1","id":"other"}`},
		"something added": {db2.With("raw", "x"), `{"name":"DB2","type":"d1","id":"d<2>","raw":"x"}`},
		"a secret":        {wrangler.NewBinding("KEY", "secret_text", "text", "s"), `{"name":"KEY","type":"secret_text","text":"s"}`},
	} {
		if got := string(encode(tt.b)); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
	if !db.With("id", "found").Complete || db.Field("id") != "" || db2.Field("id") != "d<2>" || db.Raw("nothing") != nil {
		t.Error("With changes its receiver, or Field and Raw are wrong")
	}
}

// Numbers and strings travel as JavaScript prints them.
func TestJSONLikeJavaScript(t *testing.T) {
	texts := []string{
		"0", "-0", "1.0", "1.50", "1e3", "1E+3", "1e21", "1e-6", "1e-7", "123456789012345678901234567890", "0.1", "1e400", "-1e400", "5e-324",
		"9007199254740993", "1.7976931348623157e308", `"\u0000\u001f\u007f\u2028\u2029<>&\/\"\\"`, `"é😀\ud83d\ude00"`, `{"b":1,"2":2,"a":3,"1":4,"-1":5,"01":6,"4294967295":7,"4294967294":8}`,
	}
	var questions []question
	for _, text := range texts {
		questions = append(questions, question{Kind: "number", Text: text})
	}
	for i, want := range askWrangler(t, questions) {
		c, findings := resolve(t, t.TempDir(), `{"vars": {"X": [`+texts[i]+`]}}`, "")
		if c == nil {
			t.Fatal(findings)
		}
		if got := string(c.Bindings[0].Raw("json")); got != "["+want.Text+"]" {
			t.Errorf("%s is printed as %s, by JavaScript as [%s]", texts[i], got, want.Text)
		}
	}
}

func FuzzResolve(f *testing.F) {
	files, err := filepath.Glob(filepath.Join(repoRoot(f), "testdata", "wrangler-sample", "*.jsonc"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src, "swicked")
	}
	for _, seed := range parseSeeds {
		f.Add([]byte(seed), "")
	}
	f.Add([]byte("{\"env\": {\"a\": 5}, \"name\": []}"), "a")
	f.Add([]byte("\xff"), "x")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, src []byte, env string) {
		checkFindings := func(err error) {
			var findings wrangler.Findings
			if !errors.As(err, &findings) || len(findings) == 0 {
				t.Fatalf("the error is no findings: %v", err)
			}
			checkInside(t, src, findings)
		}
		p, err := wrangler.Parse(dir, "wrangler.jsonc", src)
		if err != nil {
			checkFindings(err)
			return
		}
		c, err := p.Resolve(env)
		if err != nil {
			checkFindings(err)
			return
		}
		checkInside(t, src, c.Warnings)
		if warnings, err := c.Check(); err != nil {
			checkFindings(err)
		} else {
			checkInside(t, src, warnings)
		}
		for _, b := range c.Bindings {
			if raw, err := json.Marshal(b); err != nil {
				t.Errorf("binding %s: %v (%s)", b.Name, err, raw)
			}
		}
		for _, db := range c.D1 {
			if _, err := c.Migrations(db); err != nil {
				checkFindings(err)
			}
		}
	})
}

// checkInside wants every finding to stand in the file, with its line as source.
func checkInside(t *testing.T, src []byte, findings []wrangler.Finding) {
	t.Helper()
	lines := strings.Split(strings.ReplaceAll(strings.ReplaceAll(string(src), "\r\n", "\n"), "\r", "\n"), "\n")
	withoutMark := slices.Clone(lines)
	withoutMark[0] = strings.TrimPrefix(lines[0], "\ufeff")
	for _, f := range findings {
		if f.Rule == "" || f.Message == "" || f.File == "" {
			t.Errorf("a finding lacks its rule, message or file: %+v", f)
		}
		if f.Line < 1 || f.Line > len(lines) || f.Column < 1 || f.Column > len(lines[f.Line-1])+1 {
			t.Errorf("%+v stands outside of the %d lines", f, len(lines))
			continue
		}
		if want := withoutMark[f.Line-1]; len(f.Source) != len(want) && f.Rule != "config-encoding" {
			t.Errorf("%+v: the source line is %q", f, want)
		}
		if shown := f.String() + f.Expected + f.Hint + f.Source; strings.ContainsFunc(shown, func(r rune) bool { return r != '\t' && unicode.IsControl(r) }) {
			t.Errorf("a terminal would act on %q", shown)
		}
	}
}

// TestRulesDocumented holds the list of rules in findings.go to those that the code uses.
func TestRulesDocumented(t *testing.T) {
	read := func(file string) string {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(src)
	}
	used := map[string]bool{}
	files := []string{"parse.go", "parse_value.go", "cron.go", "migrations.go"}
	for _, pattern := range []string{"validate*.go", "resolve*.go"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	for _, file := range files {
		src := read(file)
		for _, m := range regexp.MustCompile(`Rule:\s*"([a-z0-9-]+)"`).FindAllStringSubmatch(src, -1) {
			used[m[1]] = true
		}
		// k.fail(node, rule, …) and k.warn(node, rule, …), where node may be a call.
		for _, m := range regexp.MustCompile(`k\.(?:fail|warn)\((?:[^()"]|"[^"]*"|\((?:[^()]|\([^()]*\))*\))*?,\s*"([a-z0-9-]+)",\s`).FindAllStringSubmatch(src, -1) {
			used[m[1]] = true
		}
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^//\t([a-z0-9-]+) {2,}\S`).FindAllStringSubmatch(read("findings.go"), -1) {
		documented[m[1]] = true
	}
	if len(used) < 30 {
		t.Fatalf("only %d rules found in the code", len(used))
	}
	for rule := range used {
		if !documented[rule] {
			t.Errorf("the rule %q is not documented in findings.go", rule)
		}
	}
	for rule := range documented {
		if !used[rule] {
			t.Errorf("the rule %q is documented but not used", rule)
		}
	}
}
