package wrangler

import (
	"os"
	"strings"
	"testing"
)

// What is replaced is replaced, and nothing else moves, whatever the file's quotes, comments and line ends are.
func TestReplace(t *testing.T) {
	helm, err := os.ReadFile("../../testdata/helm.overlays/swicked/wrangler.jsonc")
	if err != nil {
		t.Fatal(err)
	}
	account := Replacement{[]any{"env", "swicked", "account_id"}, "0123456789abcdef0123456789abcdef"}
	pattern := Replacement{[]any{"env", "swicked", "routes", 0, "pattern"}, "a \"b\" \\ c"}
	want := strings.ReplaceAll(string(helm), "7f3a0c5e9b1d4826a0e4c2d8f6b19357", account.Text)
	want = strings.Replace(want, `"pattern": "helm-swicked.kvick.bike"`, `"pattern": "a \"b\" \\ c"`, 1)
	for name, change := range map[string]func(string) string{
		"as it is":               func(s string) string { return s },
		"with Windows' lines":    func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
		"with a byte order mark": func(s string) string { return "\ufeff" + s },
	} {
		p, err := Parse("", "wrangler.jsonc", []byte(change(string(helm))))
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Replace(pattern, account)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != change(want) {
			t.Errorf("%s: the file became\n%s", name, got)
		}
		// A string with escapes in it ends where it ends.
		if p, err = Parse("", "wrangler.jsonc", got); err != nil {
			t.Fatal(err)
		}
		if back, err := p.Replace(Replacement{pattern.Path, "helm-swicked.kvick.bike"}, Replacement{account.Path, "7f3a0c5e9b1d4826a0e4c2d8f6b19357"}); err != nil || string(back) != change(string(helm)) {
			t.Errorf("%s: back again it is not the same: %v", name, err)
		}
	}
	p, err := Parse("", "wrangler.jsonc", helm)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]Replacement{{{[]any{"env", "nobody", "name"}, "x"}}, {{[]any{"env", "swicked", "routes"}, "x"}}, {account, account}} {
		if text, err := p.Replace(bad...); err == nil {
			t.Errorf("replacing %v gave %s", bad, text)
		}
	}
}
