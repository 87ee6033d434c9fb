package github_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/kvick/shopfleet/internal/github"
)

// step is a step of Actions: its environment and its log.
type step struct {
	env map[string]string
	log bytes.Buffer
	*github.Runner
}

func newStep(env ...string) *step {
	s := &step{env: map[string]string{"GITHUB_ACTIONS": "true"}}
	for i := 0; i+1 < len(env); i += 2 {
		s.env[env[i]] = env[i+1]
	}
	s.Runner = github.NewRunner(func(name string) string { return s.env[name] }, &s.log)
	return s
}

func TestInput(t *testing.T) {
	s := newStep("INPUT_CLOUDFLARE-API-TOKEN", " abc\n", "INPUT_TWO_WORDS", "x")
	if got := s.Input("cloudflare-api-token"); got != "abc" {
		t.Errorf("got %q", got)
	}
	if s.Input("two words") != "x" || s.Input("none") != "" {
		t.Error("inputs with spaces, or none")
	}
}

func TestAnnotate(t *testing.T) {
	s := newStep()
	err := s.Annotate(
		github.Annotation{Level: github.LevelFailure, Path: "migrations/a,b::error::c\n%.sql", StartLine: 2, StartColumn: 3, Title: "migration-failed", Message: "first\r\n::set-output name=x::y 100 %\nhint: mend it"},
		github.Annotation{Level: github.LevelFailure, Path: "wrangler.jsonc", StartLine: 12, StartColumn: 7, EndColumn: 9, Title: "binding", Message: "names \x1b[31mbucket\u202e"},
		github.Annotation{Level: github.LevelWarning, Path: "a", StartLine: 3, EndLine: 5, StartColumn: 4, EndColumn: 9, Message: "lines"},
		github.Annotation{Level: github.LevelNotice, StartColumn: 4, Message: "no file"},
		github.Annotation{Level: "odd"},
	)
	if err != nil {
		t.Fatal(err)
	}
	const want = `::error col=3,file=migrations/a%2Cb%3A%3Aerror%3A%3Ac%25.sql,line=2,title=migration-failed::first%0A::set-output name=x::y 100 %25%0Ahint: mend it
::error col=7,endColumn=9,file=wrangler.jsonc,line=12,title=binding::names [31mbucket
::warning endLine=5,file=a,line=3::lines
::notice::no file
::notice::
`
	if got := s.log.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestLeft(t *testing.T) {
	s := newStep()
	for i := range 25 {
		for _, level := range []string{github.LevelFailure, github.LevelWarning, github.LevelNotice} {
			if i < 11 || level == github.LevelFailure {
				if err := s.Annotate(github.Annotation{Level: level, Message: fmt.Sprint(i)}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	count := map[string]int{}
	for _, a := range s.Left() {
		count[a.Level]++
	}
	if count[github.LevelFailure] != 15 || count[github.LevelWarning] != 1 || count[github.LevelNotice] != 1 {
		t.Errorf("left are %v", count)
	}
	if n := strings.Count(s.log.String(), "\n"); n != 47 {
		t.Errorf("the log has %d; want all 47", n)
	}
}

// Whatever an annotation holds, it is one workflow command with the properties that were meant.
func FuzzAnnotate(f *testing.F) {
	f.Add("migrations/1.sql", "rule", "message", 1, 2)
	f.Add("a,b\n::error::x", "t=1,file=x", "m\r\n::add-mask::y\u2028", 9, 9)
	f.Add("%0A::", "%25", "##[error]\x00\xff\u202e", 0, -1)
	command := regexp.MustCompile(`^::error( (([A-Za-z]+=[^,:]*)(,[A-Za-z]+=[^,:]*)*))?::[^\n\r]*\n$`)
	f.Fuzz(func(t *testing.T, path, title, message string, line, column int) {
		s := newStep()
		if err := s.Annotate(github.Annotation{Level: github.LevelFailure, Path: path, Title: title, Message: message, StartLine: line, StartColumn: column}); err != nil {
			t.Fatal(err)
		}
		text := s.log.String()
		if !command.MatchString(text) {
			t.Errorf("not one command: %q", text)
		}
		properties, _, _ := strings.Cut(strings.TrimPrefix(text, "::error"), "::")
		for _, name := range []string{"file=", "title=", "line=", "col="} {
			if n := strings.Count(","+strings.TrimPrefix(properties, " "), ","+name); n > 1 {
				t.Errorf("properties were forged: %q", text)
			}
		}
		for _, r := range strings.TrimSuffix(text, "\n") {
			if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
				t.Errorf("%q holds %U", text, r)
			}
		}
	})
}

func TestMask(t *testing.T) {
	s := newStep()
	if err := s.Mask("s3cr3t%\r\n  line two  \nx\n}\n"); err != nil {
		t.Fatal(err)
	}
	if err := s.Mask("s3cr3t%\r\n  line two  \nx\n}\n"); err != nil { // once is enough
		t.Fatal(err)
	}
	const want = "::add-mask::s3cr3t%25%0D%0A  line two  %0Ax%0A}%0A\n::add-mask::s3cr3t%25%0D%0A  line two  %0Ax%0A}\n" +
		"::add-mask::s3cr3t%25\n::add-mask::  line two  \n::add-mask::line two\n"
	if got := s.log.String(); got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	if err := s.Mask("abc"); err == nil || strings.Contains(err.Error(), "abc") {
		t.Errorf("a short one: %v", err)
	}
	if err := s.Mask(" \n"); err != nil {
		t.Errorf("an empty one: %v", err)
	}

	out, summary := file(t, ""), file(t, "")
	s.env["GITHUB_OUTPUT"], s.env["GITHUB_STEP_SUMMARY"] = out, summary
	s.log.Reset()
	err := errors.Join(s.SetOutput("a", "x line two y"), s.WriteSummary([]string{"got s3cr3t%"}, ""), s.Group("line two"), s.Annotate(github.Annotation{Title: "line two", Message: "s3cr3t%"}))
	if err != nil {
		t.Fatal(err)
	}
	all := s.log.String() + read(t, out) + read(t, summary)
	for _, secret := range []string{"line two", "s3cr3t"} {
		if strings.Contains(all, secret) {
			t.Errorf("%q is in %q", secret, all)
		}
		hidden(t, s.Runner, secret)
		hidden(t, *s.Runner, secret)
	}

	laptop := newStep()
	laptop.env["GITHUB_ACTIONS"] = ""
	if err := errors.Join(laptop.Mask("a secret"), laptop.Group("x"), laptop.EndGroup(), laptop.Annotate(github.Annotation{Message: "x"})); err != nil || laptop.log.Len() > 0 {
		t.Errorf("outside of Actions: %v, %q", err, laptop.log.String())
	}
}

func TestGroup(t *testing.T) {
	s := newStep()
	fmt.Fprint(s.Log(), "not ended")
	if err := errors.Join(s.Group("shop\nswicked\x1b 100%"), s.EndGroup()); err != nil {
		t.Fatal(err)
	}
	if want := "not ended\n::group::shopswicked 100%25\n::endgroup::\n"; s.log.String() != want {
		t.Errorf("got %q; want %q", s.log.String(), want)
	}
}

func TestLog(t *testing.T) {
	for in, want := range map[string]string{
		"a :: b\n":                    "a :: b\n",
		"::set-output name=x::y\n":    ": :set-output name=x::y\n",
		"ok\n \t::error::x":           "ok\n \t: :error::x",
		"ok\r::error::x":              "ok\r: :error::x",
		"\u00a0\u2003::error::x":      "\u00a0\u2003: :error::x",
		"see ##[set-output name=x;]y": "see ## [set-output name=x;]y",
		"####[warning]":               "#### [warning]",
		":::::":                       ": ::::",
		"# [x] ##x[":                  "# [x] ##x[",
	} {
		for size := 1; size <= len(in); size++ { // however it is written
			s := newStep()
			for rest := in; rest != ""; {
				n := min(size, len(rest))
				if got, err := s.Log().Write([]byte(rest[:n])); err != nil || got != n {
					t.Fatal(got, err)
				}
				rest = rest[n:]
			}
			if s.log.String() != want {
				t.Errorf("%q in pieces of %d became %q; want %q", in, size, s.log.String(), want)
			}
		}
	}
	laptop := newStep()
	laptop.env["GITHUB_ACTIONS"] = ""
	if fmt.Fprint(laptop.Log(), "::x"); laptop.log.String() != "::x" {
		t.Errorf("outside of Actions the log became %q", laptop.log.String())
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestBrokenLog(t *testing.T) {
	r := github.NewRunner(func(string) string { return "true" }, brokenPipe{})
	for _, err := range []error{r.Annotate(github.Annotation{}), r.Mask("a secret"), r.Group("x"), r.EndGroup()} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("got %v", err)
		}
		hidden(t, err, "a secret")
	}
}

func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A secret that begins like another one does not keep its end.
func TestMaskOfPrefix(t *testing.T) {
	s := newStep()
	for _, secret := range []github.Secret{"hunter2", "hunter2-and-the-rest"} {
		if err := s.Mask(secret); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Hide("x hunter2-and-the-rest y hunter2"); got != "x *** y ***" {
		t.Errorf("got %q", got)
	}
}

// A command begins a line of its own whatever was printed before, or it is none and what it masks is printed.
func TestCommandAfterText(t *testing.T) {
	for _, before := range []string{"é", "✅ ", "日本", "\x7f", " ", "a", "a\r"} {
		s := newStep()
		if _, err := io.WriteString(s.Log(), before); err != nil {
			t.Fatal(err)
		}
		if err := s.Mask("hunter22-secret"); err != nil {
			t.Fatal(err)
		}
		if got := s.log.String(); got != before+"\n::add-mask::hunter22-secret\n" {
			t.Errorf("after %q: %q", before, got)
		}
	}
}
