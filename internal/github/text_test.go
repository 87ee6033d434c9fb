package github

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCutLines(t *testing.T) {
	const pointer = "; see the log"
	for _, test := range []struct {
		name, in string
		n        int
		want     string
	}{
		{"short", "a\nb\n", 100, "a\nb\n"},
		{"exact", "0123456789\n", 11, "0123456789\n"},
		{"lines", strings.Repeat("0123456789\n", 20), 70, "0123456789\n0123456789\n\n*18 lines are cut off here; see the log*\n"},
		{"one line", strings.Repeat("x", 200), 60, "xxxxxxxxxxxxxxxxxxxxx\n*1 line is cut off here; see the log*\n"},
		{"a fence", "```sql\n" + strings.Repeat("0123456789\n", 20), 80, "```sql\n0123456789\n0123456789\n```\n\n*18 lines are cut off here; see the log*\n"},
		{"no room", strings.Repeat("é", 50), 11, "ééééé"},
	} {
		if got := cutLines(test.in, test.n, pointer); got != test.want || len(got) > test.n {
			t.Errorf("%s: got %q (%d bytes); want %q", test.name, got, len(got), test.want)
		}
	}
}

func FuzzCutLines(f *testing.F) {
	f.Add("# x\n```\na\nb\n~~~\n```\n", 40, "p")
	f.Add(strings.Repeat("ü\n", 100), 99, "")
	f.Add("````\n```\n````\n``", 10, "x")
	f.Fuzz(func(t *testing.T, s string, n int, pointer string) {
		if n < 0 || n > 1<<20 {
			return
		}
		s, pointer = validText(s), validText(pointer)
		got := cutLines(s, n, pointer)
		if len(got) > n {
			t.Errorf("%d bytes; want at most %d", len(got), n)
		}
		if !utf8.ValidString(got) {
			t.Errorf("%q has half a character", got)
		}
		if len(s) <= n && got != s {
			t.Errorf("%q was cut to %q", s, got)
		}
		for _, short := range []string{cut(s, n+3), cutRunes(s, n+1)} {
			if !utf8.ValidString(short) || utf8.RuneCountInString(short) > n+3 {
				t.Errorf("%q", short)
			}
		}
	})
}
