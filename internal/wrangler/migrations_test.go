package wrangler_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// database resolves a configuration with one database of the given members in dir.
func database(t *testing.T, dir, members string) (*wrangler.Config, wrangler.D1Database) {
	t.Helper()
	c, findings := resolve(t, dir, "{\"d1_databases\": [\n{\"binding\": \"DB\""+members+"}]}", "")
	if c == nil {
		t.Fatal(findings)
	}
	return c, c.D1[0]
}

func names(migrations []wrangler.Migration) []string {
	var out []string
	for _, m := range migrations {
		out = append(out, m.Name)
	}
	return out
}

// TestMigrationsSamples reads the migrations of every sample as wrangler does, in its order.
func TestMigrationsSamples(t *testing.T) {
	requireJudge(t)
	sample := filepath.Join(repoRoot(t), "testdata", "wrangler-sample")
	files, err := filepath.Glob(filepath.Join(sample, "wrangler*.jsonc"))
	if err != nil {
		t.Fatal(err)
	}
	var questions []question
	var got [][]string
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := wrangler.Parse(sample, filepath.Base(file), src)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Envs()) == 0 {
			continue
		}
		c, err := p.Resolve("swicked")
		if err != nil {
			t.Fatal(err)
		}
		for _, db := range c.D1 {
			migrations, err := c.Migrations(db)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			for _, m := range migrations {
				want, err := os.ReadFile(filepath.Join(sample, db.MigrationsDir, filepath.FromSlash(m.Name)))
				if err != nil || m.SQL != string(want) || !filepath.IsAbs(m.Path) {
					t.Errorf("%s: %s at %s is not verbatim (%v)", file, m.Name, m.Path, err)
				}
			}
			got = append(got, names(migrations))
			q := question{Kind: "migrations", Dir: sample, MigrationsDir: &db.MigrationsDir}
			if db.MigrationsPattern != "" {
				q.MigrationsPattern = &db.MigrationsPattern
			}
			questions = append(questions, q)
		}
	}
	total := 0
	for i, want := range askWrangler(t, questions) {
		if !slices.Equal(got[i], want.Names) {
			t.Errorf("%s: got %q, wrangler has %q", *questions[i].MigrationsDir, got[i], want.Names)
		}
		total += len(want.Names)
	}
	if total < 50 {
		t.Errorf("the samples have only %d migrations", total)
	}
}

// TestMigrationsRandom compares order and selection for awkward names and patterns.
func TestMigrationsRandom(t *testing.T) {
	requireJudge(t)
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(7, 2))
	pieces := []string{"0001", "1", "10", "2", "-3", "+4", " 5", "_", "-", ".", "a", "é", "😀", "B", "\uffee", "x", "9999999999999999999999", "sql", ".sql", ".sql", ".SQL", "[1]", "{a,b}", "!"}
	add := func(name string) {
		// Some names are already a file where this one wants a folder, or too strange for the file system.
		file := filepath.Join(dir, "m", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err == nil {
			_ = os.WriteFile(file, nil, 0o644)
		}
	}
	for range 300 {
		var segments []string
		for range 1 + r.IntN(3) {
			var b strings.Builder
			for range 1 + r.IntN(4) {
				b.WriteString(pieces[r.IntN(len(pieces))])
			}
			if s := b.String(); s != "." && s != ".." {
				segments = append(segments, s)
			}
		}
		if len(segments) == 0 {
			continue
		}
		segments[len(segments)-1] += ".sql"
		add(strings.Join(segments, "/"))
		add(segments[len(segments)-1])
	}

	patternPieces := []string{"*", "**", "?", "*.sql", "/", "/", "a", "0001", "[0-9]", "[!a]", "[^.]", "[a-z]", "[]a]", "{a,0001}", "{a,b{1,2}}", "{1..3}", "{a}", ".", ".*", "f", "**/", "é", "+(a)", "@", "!", "#", "[", "]", "}", ",", "-", " "}
	var questions []question
	for len(questions) < 800 {
		var b strings.Builder
		for range 1 + r.IntN(5) {
			b.WriteString(patternPieces[r.IntN(len(patternPieces))])
		}
		mdir, pattern := "m", "m/"+b.String()
		if r.IntN(2) == 0 {
			pattern += "*.sql"
		}
		questions = append(questions, question{Kind: "migrations", Dir: dir, MigrationsDir: &mdir, MigrationsPattern: &pattern})
	}
	refused, matching := 0, 0
	for i, want := range askWrangler(t, questions) {
		pattern := *questions[i].MigrationsPattern
		c, db := database(t, dir, fmt.Sprintf(", \"migrations_dir\": \"m\", \"migrations_pattern\": %s", encode(pattern)))
		migrations, err := c.Migrations(db)
		if err != nil {
			var findings wrangler.Findings
			if !errors.As(err, &findings) || findings[0].Rule != "migrations-pattern" || findings[0].Line != 2 {
				t.Fatalf("%s: %v", pattern, err)
			}
			refused++
			continue
		}
		if got := names(migrations); !slices.Equal(got, want.Names) {
			only := func(a, b []string) []string {
				return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
			}
			t.Errorf("%s: we alone have %q, wrangler alone %q (%q), or the order differs", pattern, only(got, want.Names), only(want.Names, got), want.Errors)
		}
		if len(want.Names) > 0 {
			matching++
		}
	}
	if matching < 80 || refused > 600 {
		t.Errorf("%d of 800 patterns match something, %d are refused", matching, refused)
	}
}

func TestMigrationsFindings(t *testing.T) {
	tests := []struct {
		name, members string
		files         map[string]string
		rule          string
		column        int
		want          []string
	}{
		{name: "nothing configured, nothing there"},
		{name: "nothing configured, the default folder", files: map[string]string{"migrations/1.sql": "x"}, want: []string{"1.sql"}},
		{name: "folder missing", members: `, "migrations_dir": "db"`, rule: "migrations-dir", column: 19},
		{name: "folder is a file", members: `, "migrations_dir": "db"`, files: map[string]string{"db": "x"}, rule: "migrations-dir", column: 19},
		{name: "default folder is a file", files: map[string]string{"migrations": "x"}, rule: "migrations-dir", column: 1},
		{name: "outside", members: `, "migrations_dir": "../db"`, rule: "migrations-dir", column: 19},
		{name: "absolute", members: `, "migrations_dir": "/etc"`, rule: "migrations-dir", column: 19},
		{name: "pattern alone", members: `, "migrations_pattern": "migrations/**/*.sql"`, rule: "migrations-pattern", column: 19},
		{name: "pattern elsewhere", members: `, "migrations_dir": "db", "migrations_pattern": "other/*.sql"`, rule: "migrations-pattern", column: 43},
		{name: "pattern climbs out", members: `, "migrations_dir": "db", "migrations_pattern": "db/../../x/*.sql"`, rule: "migrations-pattern", column: 43},
		{name: "extended pattern", members: `, "migrations_dir": "db", "migrations_pattern": "db/+(a|b).sql"`, rule: "migrations-pattern", column: 43},
		{name: "project folder", members: `, "migrations_dir": ".", "migrations_pattern": "*/up.sql"`, files: map[string]string{"2_b/up.sql": "x", "10_a/up.sql": "x", ".x/up.sql": "x", "up.sql": "x"}, want: []string{"2_b/up.sql", "10_a/up.sql"}},
		{name: "backslashes", members: `, "migrations_dir": ".\\db\\"`, files: map[string]string{"db/1.sql": "x", "db/sub/2.sql": "x", "db/.3.sql": "x", "db/4.txt": "x"}, want: []string{"1.sql"}},
		{name: "empty folder", members: `, "migrations_dir": "db"`, files: map[string]string{"db/README.md": "x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFiles(t, dir, tt.files)
			c, db := database(t, dir, tt.members)
			migrations, err := c.Migrations(db)
			if tt.rule == "" {
				if err != nil || !slices.Equal(names(migrations), tt.want) {
					t.Errorf("got %q, %v; want %q", names(migrations), err, tt.want)
				}
				return
			}
			var findings wrangler.Findings
			if !errors.As(err, &findings) || len(findings) != 1 {
				t.Fatalf("got %v, want one finding", err)
			}
			if f := findings[0]; f.Rule != tt.rule || f.Line != 2 || f.Column != tt.column || f.Expected == "" {
				t.Errorf("got %s at %d:%d (%s), want %s at 2:%d", f.Rule, f.Line, f.Column, f.Message, tt.rule, tt.column)
			}
		})
	}
}

// A link is no migration: wrangler passes it by.
func TestMigrationsLinks(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"migrations/1.sql": "x", "secret.sql": "s"})
	if err := os.Symlink(filepath.Join(dir, "secret.sql"), filepath.Join(dir, "migrations", "2.sql")); err != nil {
		t.Skipf("no links here: %v", err)
	}
	c, db := database(t, dir, "")
	migrations, err := c.Migrations(db)
	if err != nil || !slices.Equal(names(migrations), []string{"1.sql"}) {
		t.Errorf("got %q, %v", names(migrations), err)
	}
}
