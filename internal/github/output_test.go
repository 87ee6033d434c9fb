package github_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// fileCommands reads a file of outputs as the runner does (wire.md §2g; actions/runner, FileCommandManager.cs): lines end
// with LF; what comes first in a line, = or <<, decides; a delimiter that never comes fails the step.
func fileCommands(text string) (map[string]string, error) {
	out := map[string]string{}
	next := func() (line string, ended, ok bool) {
		if text == "" {
			return "", false, false
		}
		line, rest, ended := strings.Cut(text, "\n")
		text = rest
		return line, ended, true
	}
	for {
		line, _, ok := next()
		if !ok {
			return out, nil
		}
		if line == "" {
			continue
		}
		equals, heredoc := strings.Index(line, "="), strings.Index(line, "<<")
		switch {
		case heredoc >= 0 && (equals < 0 || heredoc < equals):
			name, delimiter, _ := strings.Cut(line, "<<")
			if name == "" || delimiter == "" {
				return nil, fmt.Errorf("invalid format %q", line)
			}
			var lines []string
			for {
				line, ended, ok := next()
				if !ok {
					return nil, fmt.Errorf("matching delimiter not found %q", delimiter)
				}
				if line == delimiter {
					break
				}
				if !ended {
					return nil, fmt.Errorf("the end of the value misses a new line")
				}
				lines = append(lines, line)
			}
			out[name] = strings.Join(lines, "\n")
		case equals > 0:
			name, value, _ := strings.Cut(line, "=")
			out[name] = value
		default:
			return nil, fmt.Errorf("invalid format %q", line)
		}
	}
}

func TestSetOutput(t *testing.T) {
	name := file(t, "earlier=1") // without a new line
	s := newStep("GITHUB_OUTPUT", name)
	values := map[string]string{
		"status":      "released",
		"empty":       "",
		"plan-digest": "a=b<<c",
		"lines":       "\n\na\nb\n",
		"old_command": "::set-output name=status::pwned",
		"fixed":       "x\n_GitHubActionsFileCommandDelimeter_\nstatus<<_GitHubActionsFileCommandDelimeter_\npwned\n_GitHubActionsFileCommandDelimeter_\n",
		"guess":       "x\nshopfleet_00000000000000000000000000000000\nstatus=pwned",
		"eof":         "EOF\nstatus=pwned\n",
		"crlf":        "a\r\nb\r",
	}
	for name, value := range values {
		if err := s.SetOutput(name, value); err != nil {
			t.Fatal(err)
		}
	}
	// An output read back by a value of a later one does not end it.
	if err := s.SetOutput("echo", read(t, name)); err != nil {
		t.Fatal(err)
	}
	got, err := fileCommands(read(t, name))
	if err != nil {
		t.Fatal(err)
	}
	values["earlier"] = "1"
	for name, value := range values {
		if got[name] != value {
			t.Errorf("%s is %q; want %q", name, got[name], value)
		}
	}
	if len(got) != len(values)+1 || s.log.Len() != 0 {
		t.Errorf("got %q, log %q", got, s.log.String())
	}
	if err := s.SetOutput("odd", "a\x00b\xffc"); err != nil {
		t.Fatal(err)
	}
	if got, err := fileCommands(read(t, name)); err != nil || got["odd"] != "a\ufffdb\ufffdc" {
		t.Errorf("got %q, %v", got["odd"], err)
	}
	before := read(t, name)
	for _, bad := range []string{"", "a b", "a\nb", "a=b", "a<<b", "1", "é", strings.Repeat("a", 101)} {
		if err := s.SetOutput(bad, "x"); err == nil {
			t.Errorf("the name %q is taken", bad)
		}
	}
	if err := s.SetOutput("large", strings.Repeat("x", 1<<20)); err == nil {
		t.Error("a mebibyte is taken")
	}
	if read(t, name) != before {
		t.Error("what was refused was written")
	}
}

func FuzzSetOutput(f *testing.F) {
	f.Add("", "value", "next")
	f.Add("a=b\n", "x\nshopfleet_\nstatus=1", "<<")
	f.Add("", "\r\n\x00\xff", "_GitHubActionsFileCommandDelimeter_\n")
	f.Fuzz(func(t *testing.T, before, one, two string) {
		if _, err := fileCommands(before); err != nil {
			return
		}
		name := file(t, before)
		s := newStep("GITHUB_OUTPUT", name)
		for k, v := range map[string]string{"one": one, "two": two} {
			if err := s.SetOutput(k, v); err != nil {
				t.Fatal(err)
			}
		}
		got, err := fileCommands(read(t, name))
		clean := func(s string) string { return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd") }
		if err != nil || got["one"] != clean(one) || got["two"] != clean(two) {
			t.Errorf("got %q, %v", got, err)
		}
		was, _ := fileCommands(before)
		for k, v := range was {
			if k != "one" && k != "two" && got[k] != v {
				t.Errorf("%s was %q and is %q", k, v, got[k])
			}
		}
		if len(got) > len(was)+2 {
			t.Errorf("outputs were injected: %q", got)
		}
	})
}

func TestFilesThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	gone := filepath.Join(dir, "gone")
	for _, name := range []string{"", gone, dir, os.DevNull} {
		s := newStep("GITHUB_OUTPUT", name, "GITHUB_STEP_SUMMARY", name)
		if err := s.SetOutput("a", "x"); err == nil {
			t.Errorf("%q: an output is set", name)
		}
		if err := s.WriteSummary([]string{"x"}, ""); err == nil {
			t.Errorf("%q: a summary is written", name)
		}
	}
	if _, err := os.Stat(gone); !os.IsNotExist(err) {
		t.Error("a file was made that nobody reads")
	}
}

func TestWriteSummary(t *testing.T) {
	section := func(c string, kib int) string { return strings.Repeat(c, kib<<10) }
	for _, test := range []struct {
		name     string
		before   string
		sections []string
		kept     int
		pointer  bool
	}{
		{"small", "", []string{"# Plan", "two\n\n\n"}, 2, false},
		{"after another's", "no new line", []string{"# Plan"}, 1, false},
		{"too many", "", []string{section("a", 500), section("b", 500), section("c", 500)}, 2, true},
		{"the last one too large", "", []string{section("a", 10), section("b", 1100)}, 1, true},
		{"the first one too large", "", []string{section("a", 1100), "b"}, 0, true},
		{"just fits", "", []string{section("a", 1023) + strings.Repeat("a", 1020)}, 1, false},
		{"just not", "", []string{section("a", 1023) + strings.Repeat("a", 1021)}, 0, true},
		{"full already", section("x", 1023), []string{section("a", 2)}, 0, true},
		{"more than full", section("x", 2000), []string{"a"}, 0, false},
		{"characters", "", []string{section("é", 300), section("é", 300)}, 1, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := file(t, test.before)
			s := newStep("GITHUB_STEP_SUMMARY", name)
			if err := s.WriteSummary(test.sections, "The rest is in the log."); err != nil {
				t.Fatal(err)
			}
			got := read(t, name)
			if len(got) >= 1<<20 && len(got) != len(test.before) || !utf8.ValidString(got) {
				t.Errorf("it has %d bytes", len(got))
			}
			added, ok := strings.CutPrefix(got, test.before)
			want := ""
			if test.before != "" && len(got) > len(test.before) && !strings.HasSuffix(test.before, "\n") {
				want = "\n"
			}
			for _, s := range test.sections[:test.kept] {
				want += strings.TrimRight(s, "\n") + "\n\n"
			}
			if test.pointer {
				want += "The rest is in the log.\n\n"
			}
			if !ok || added != want {
				t.Errorf("added %d bytes ending %q; want %d ending %q", len(added), added[max(0, len(added)-40):], len(want), want[max(0, len(want)-40):])
			}
		})
	}
}
