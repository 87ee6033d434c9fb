package github

import (
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzValidRef holds validRef against git: what it lets through, git takes.
func FuzzValidRef(f *testing.F) {
	git, err := exec.LookPath("git")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{
		"refs/heads/main", "refs/heads/shops/acme", "refs/heads/a.lock/b", "refs/heads/a..b", "refs/heads/@", "refs/heads/a@{b", "refs/heads/.a", "refs/heads/a.", "refs/heads/a//b",
		"refs/heads/a b", "refs/heads/a\tb", "refs/heads/a~b", "refs/heads/ä", "refs/heads/-a", "refs/heads/HEAD", "refs/heads/a\\b", "refs/heads/a[b", "refs/tags/v1", "refs/heads/a\x7f", "refs//a", "refs/a/", "/refs/a/b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if strings.ContainsRune(name, 0) {
			if validRef(name) {
				t.Fatalf("%q has a NUL", name)
			}
			return
		}
		fine := exec.Command(git, "check-ref-format", name).Run() == nil
		if valid := validRef(name); valid && !fine {
			t.Errorf("validRef lets %q through, git does not", name)
		} else if !valid && fine && strings.HasPrefix(name, "refs/") && strings.Count(name, "/") > 1 && len(name) <= 255 && utf8.ValidString(name) {
			// Stricter only where GitHub is: branches that read as an option, as HEAD or as a sha.
			branch, isBranch := strings.CutPrefix(name, "refs/heads/")
			if !isBranch || !(branch[0] == '-' || branch == "HEAD" || shaPattern.MatchString(branch)) {
				t.Errorf("validRef refuses %q, git does not", name)
			}
		}
	})
}

func TestFilterPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"shops/*", "shops/acme", true}, {"shops/*", "shops/a/b", false}, {"shops/**", "shops/a/b", true}, {"shops/**", "shops", false}, {"*", "main", true}, {"*", "a/b", false},
		{"**", "a/b", true}, {"v[12].*", "v1.9", true}, {"v[12].*", "v3.9", false}, {"*.jsx?", "page.js", true}, {"*.jsx?", "page.jsx", true}, {"docs/**/*.md", "docs/README.md", true},
		{"docs/**/*.md", "docs/a/b/x.md", true}, {"a.b", "axb", false}, {"(x)", "(x)", true}, {"**/migrate-*.sql", "migrate-1.sql", true}, {"main", "main2", false}, {"[", "[", false},
	} {
		re, err := filterPattern(tt.pattern)
		if got := err == nil && re.MatchString(tt.name); got != tt.want {
			t.Errorf("%s on %s: %v, want %v (%v)", tt.pattern, tt.name, got, tt.want, err)
		}
	}
}
