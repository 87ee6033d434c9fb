package wrangler

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
)

const (
	defaultMigrationsDir   = "migrations"
	defaultMigrationsTable = "d1_migrations"
)

// Migration is one D1 migration file.
type Migration struct {
	Name string // as the ledger knows it: the path relative to the migrations directory, slash separated
	Path string // absolute
	SQL  string // the file's text, verbatim
}

// Migrations reads the migration files of db in the order in which wrangler applies them (wire.md §7.2): by
// the number that a name begins with, names without one last, then by name; hidden files and links are left
// out. The error is Findings when the configuration of the migrations is wrong or their folder is missing.
//
// A database without migrations_dir, in a project without a migrations folder, has no migrations: that is no
// error, unlike for "wrangler d1 migrations apply", because a deploy asks for every database.
func (c *Config) Migrations(db D1Database) ([]Migration, error) {
	dir := normalizeSlashes(db.MigrationsDir)
	dirAt := append(slices.Clone(db.path), "migrations_dir")
	patternAt := append(slices.Clone(db.path), "migrations_pattern")
	if !filepath.IsLocal(filepath.FromSlash(dir)) {
		return nil, Findings{c.At(Finding{
			Rule: "migrations-dir", Level: LevelError,
			Message:  fmt.Sprintf("the migrations of %s are in %q, outside the project", db.Binding, dir),
			Expected: "a folder below " + path.Dir(path.Join("./", c.File)),
		}, dirAt...)}
	}
	pattern := dir + "/*.sql"
	if db.MigrationsPattern != "" {
		pattern = normalizeSlashes(db.MigrationsPattern)
		if !db.hasDir {
			return nil, Findings{c.At(Finding{
				Rule: "migrations-pattern", Level: LevelError,
				Message:  fmt.Sprintf("the database %s has migrations_pattern without migrations_dir", db.Binding),
				Expected: "migrations_dir beside it, with which the pattern begins",
			}, patternAt...)}
		}
	}
	rest, inside := pattern, true
	if dir != "." {
		rest, inside = strings.CutPrefix(pattern, dir+"/")
	}
	if !inside {
		return nil, Findings{c.At(Finding{
			Rule: "migrations-pattern", Level: LevelError,
			Message:  fmt.Sprintf("the migrations_pattern %q of %s does not begin with its migrations_dir", db.MigrationsPattern, db.Binding),
			Expected: fmt.Sprintf("%s/…, for example %s/*.sql", dir, dir),
		}, patternAt...)}
	}
	match, err := compilePattern(rest)
	if err != nil {
		return nil, Findings{c.At(Finding{
			Rule: "migrations-pattern", Level: LevelError,
			Message:  fmt.Sprintf("the migrations_pattern %q of %s %v", db.MigrationsPattern, db.Binding, err),
			Expected: "names with *, **, ?, [a-z] and {a,b}",
		}, patternAt...)}
	}
	root := filepath.Join(c.Dir, filepath.FromSlash(dir))
	info, err := os.Stat(root)
	if err != nil || !info.IsDir() {
		if errors.Is(err, fs.ErrNotExist) && !db.hasDir {
			return nil, nil
		}
		return nil, Findings{c.At(Finding{
			Rule: "migrations-dir", Level: LevelError,
			Message:  fmt.Sprintf("the migrations folder %q of %s is missing", dir, db.Binding),
			Expected: "a folder with .sql files",
			Hint:     "create it, or set migrations_dir to where the migrations are",
		}, dirAt...)}
	}
	return readMigrations(root, match)
}

// ReadMigrations reads the .sql files of a folder, in the order in which wrangler applies them; see Config.Migrations.
func ReadMigrations(dir string) ([]Migration, error) {
	match, err := compilePattern("*.sql")
	if err != nil {
		return nil, err
	}
	root, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the migrations in %s: %w", dir, err)
	}
	return readMigrations(root, match)
}

func readMigrations(root string, match func(name string) bool) ([]Migration, error) {
	var out []Migration
	err := filepath.WalkDir(root, func(p string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		if name := filepath.ToSlash(rel); match(name) {
			sql, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			out = append(out, Migration{Name: name, Path: p, SQL: string(sql)})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the migrations in %s: %w", root, err)
	}
	sort.Slice(out, func(i, j int) bool { return compareMigrations(out[i].Name, out[j].Name) < 0 })
	return out, nil
}

// normalizeSlashes is wrangler's idea of a relative path: slashes only, no "." and "..", none at the end.
func normalizeSlashes(p string) string {
	return path.Clean(strings.ReplaceAll(p, `\`, "/"))
}

// compareMigrations orders two names, segment by segment.
func compareMigrations(a, b string) int {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	for i := range min(len(as), len(bs)) {
		if d := compareSegments(as[i], bs[i]); d != 0 {
			return d
		}
	}
	return len(as) - len(bs)
}

func compareSegments(a, b string) int {
	x, xok := leadingNumber(a)
	y, yok := leadingNumber(b)
	switch {
	case xok && yok && x != y:
		return cmp.Compare(x, y)
	case xok && !yok:
		return -1
	case yok && !xok:
		return 1
	}
	// JavaScript compares UTF-16 code units, which differs from bytes beyond the basic plane.
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

// leadingNumber is what JavaScript's parseInt makes of the part before the first "_": "0001_init.sql" is 1,
// "3-x.sql" is 3, "init.sql" is none.
func leadingNumber(segment string) (float64, bool) {
	s, _, _ := strings.Cut(segment, "_")
	s = strings.TrimLeftFunc(s, unicode.IsSpace)
	sign := 1.0
	if rest, ok := strings.CutPrefix(s, "-"); ok {
		s, sign = rest, -1
	} else {
		s = strings.TrimPrefix(s, "+")
	}
	end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(s)
	}
	n, err := strconv.ParseFloat(s[:end], 64)
	return sign * n, err == nil
}
