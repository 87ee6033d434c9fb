package deploy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/d1"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// Rehearsals rehearses migrations, once for all shops that have the same schema and the same files before them. Its zero
// value is ready; one value serves the shops of a whole fleet, and it is safe for concurrent use.
type Rehearsals struct {
	pending shared[*d1.Rehearsal]
	applied shared[*d1.Schema]
	live    shared[*d1.Schema]
}

// Distinct says how many different pairs of a schema and pending files were rehearsed.
func (r *Rehearsals) Distinct() int {
	r.pending.mu.Lock()
	defer r.pending.mu.Unlock()
	return len(r.pending.work)
}

// ledgers are the tables that are no part of what migrations make: wrangler's and ours.
func ledgers(db wrangler.D1Database) []string {
	return []string{db.MigrationsTable, ChecksumTable, fleet.IdentityTable}
}

// files are a shop's migrations with the names that findings give them.
func (want *Desired) files() []d1.Migration {
	out := make([]d1.Migration, len(want.Migrations))
	for i, m := range want.Migrations {
		out[i] = d1.Migration{Name: m.Name, Path: want.shown(m), SQL: m.SQL}
	}
	return out
}

// Lint rehearses the shop's migrations without its database, each on what the ones before it make. Files that known says
// are known already, by their paths from the top, and those before them, are taken as they are. What other branches claim
// too is refused, since no account says whose it is.
func (want *Desired) Lint(ctx context.Context, known func(path string) bool) (Findings, error) {
	files, after := want.files(), ""
	for _, f := range files {
		if known(f.Path) {
			after = f.Name
		}
	}
	found, err := d1.Lint(ctx, files, after, want.DenyColumns)
	if err != nil {
		return nil, fmt.Errorf("rehearsing the migrations of %s: %w", want.Shop.Slug, err)
	}
	list := make(Findings, len(found))
	for i, f := range found {
		list[i] = Finding(f)
	}
	a := &admission{want: want}
	a.contested(nil)
	return append(list, a.found...), nil
}

// shown is a migration's path as its author knows it.
func (want *Desired) shown(m wrangler.Migration) string {
	if rel, err := filepath.Rel(want.Config.Dir, m.Path); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return m.Name
}

// pending are the files that a database has not got, in order. Names that the ledger has and the tree has not are left
// alone, as wrangler leaves them (wire.md §7.2).
func pending(files []d1.Migration, ledger []string) []d1.Migration {
	applied := make(map[string]bool, len(ledger))
	for _, name := range ledger {
		applied[name] = true
	}
	var out []d1.Migration
	for _, f := range files {
		if !applied[f.Name] {
			out = append(out, f)
		}
	}
	return out
}

// rehearse runs the pending files on a copy of the shop's schema and asks the live database what only its rows know.
func (e *Engine) rehearse(ctx context.Context, want *Desired, have *State) (err error) {
	files := pending(want.files(), have.Database.Ledger)
	if have.Drift, have.DriftUnknown, err = e.rehearsals().drift(ctx, want, have.Database); err != nil {
		return err
	}
	if len(files) == 0 {
		return nil
	}
	c := d1.Case{
		Schema: have.Database.Objects, Pending: files, Running: have.Live.Version != "",
		DenyColumns: want.DenyColumns, LeaveOut: ledgers(want.Database),
	}
	if have.Rehearsal, err = e.rehearsals().run(ctx, c); err != nil {
		return err
	}
	have.Answers, err = ask(ctx, e.CF, want.Database, have.Rehearsal.Questions())
	return err
}

func (e *Engine) rehearsals() *Rehearsals {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.Rehearsals == nil {
		e.Rehearsals = &Rehearsals{}
	}
	return e.Rehearsals
}

func (r *Rehearsals) run(ctx context.Context, c d1.Case) (*d1.Rehearsal, error) {
	return r.pending.do(ctx, keyOf(c), func() (*d1.Rehearsal, error) { return d1.Rehearse(ctx, c) })
}

// drift compares a live schema with what the applied files make of an empty database. unknown says why nothing can be told.
func (r *Rehearsals) drift(ctx context.Context, want *Desired, db Database) (differences []string, unknown string, err error) {
	var applied []d1.Migration
	files := want.files()
	for _, name := range db.Ledger {
		i := slices.IndexFunc(files, func(m d1.Migration) bool { return m.Name == name })
		if i < 0 {
			return nil, name + " is applied and not in the commit", nil
		}
		if sum, ok := db.Checksums[name]; ok && sum != d1.Checksum(files[i].SQL) {
			return nil, name + " is another file by now", nil
		}
		applied = append(applied, files[i])
	}
	if len(applied) == 0 {
		return nil, "", nil
	}
	expected, err := r.applied.do(ctx, keyOf(d1.Case{Pending: applied, LeaveOut: ledgers(want.Database)}), func() (*d1.Schema, error) {
		s, err := d1.Replay(ctx, applied, ledgers(want.Database)...)
		if errors.Is(err, d1.ErrRefused) {
			return nil, nil // files that need what a database had before the first of them; there is nothing to compare with
		}
		return s, err
	})
	if err != nil {
		return nil, "", err
	}
	if expected == nil {
		return nil, "the files do not go through on an empty database", nil
	}
	live, err := r.schema(ctx, want.Database, db.Objects)
	if err != nil {
		return nil, "", err
	}
	return d1.Compare(expected, live), "", nil
}

// schema reads a catalogue.
func (r *Rehearsals) schema(ctx context.Context, db wrangler.D1Database, objects []d1.Object) (*d1.Schema, error) {
	c := d1.Case{Schema: objects, LeaveOut: ledgers(db)}
	return r.live.do(ctx, keyOf(c), func() (*d1.Schema, error) { return d1.SchemaOf(ctx, c.Schema, c.LeaveOut...) })
}

// keyOf identifies a case.
func keyOf(c d1.Case) string {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode(c); err != nil {
		// A Case is strings and booleans; there is no way to fail.
		panic("deploy: encoding a case: " + err.Error())
	}
	return hex.EncodeToString(h.Sum(nil))
}

// maxQuestions is how many counts one call asks for, and maxQuestionBytes how long they may be together; D1 takes 100
// columns of a result and 100,000 bytes of a statement.
const (
	maxQuestions     = 50
	maxQuestionBytes = 80_000
)

// ask lets the live database answer the questions of a rehearsal, nearly always in one call.
func ask(ctx context.Context, cf *cloudflare.Client, db wrangler.D1Database, questions []string) ([]int64, error) {
	answers := make([]int64, len(questions))
	var parts [][]int
	size := 0
	for i, q := range questions {
		if last := len(parts) - 1; last < 0 || len(parts[last]) == maxQuestions || size+len(q) > maxQuestionBytes {
			parts, size = append(parts, nil), 0
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], i)
		size += len(q)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range parts {
		group.Go(func() error { return askSome(ctx, cf, db, questions, part, answers) })
	}
	return answers, group.Wait()
}

func askSome(ctx context.Context, cf *cloudflare.Client, db wrangler.D1Database, questions []string, part []int, answers []int64) error {
	columns := make([]string, len(part))
	for i, q := range part {
		columns[i] = fmt.Sprintf("(%s) AS q%d", questions[q], q)
	}
	rows, err := cf.D1Read(ctx, db.DatabaseID, "SELECT "+strings.Join(columns, ", "))
	switch {
	case err == nil:
	case len(part) > 1 && notUnderstood(err):
		// One of them cannot be asked; the others can.
		for _, q := range part {
			if err := askSome(ctx, cf, db, questions, []int{q}, answers); err != nil {
				return err
			}
		}
		return nil
	case notUnderstood(err):
		answers[part[0]] = d1.Unknown
		return nil
	default:
		return fmt.Errorf("counting rows of %s: %w", db.DatabaseName, err)
	}
	var list []map[string]float64
	if err := rows.Decode(&list); err != nil || len(list) != 1 {
		return fmt.Errorf("counting rows of %s: an answer of %d rows: %w", db.DatabaseName, len(list), errors.Join(err, cloudflare.ErrMalformed))
	}
	for _, q := range part {
		n, ok := list[0][fmt.Sprintf("q%d", q)]
		if answers[q] = int64(n); !ok {
			answers[q] = d1.Unknown
		}
	}
	return nil
}

// notUnderstood says whether it is the SQL of a question that was refused, here or by D1 (code 7500, wire.md §2).
func notUnderstood(err error) bool {
	var api *cloudflare.Error
	return errors.Is(err, cloudflare.ErrReadOnly) || errors.As(err, &api) && api.Outcome == cloudflare.Refused && api.Code == 7500
}

// migrationFindings are all that is to be said about a shop's migrations.
func migrationFindings(want *Desired, have *State) []Finding {
	var out []Finding
	files := want.files()
	if strings.EqualFold(want.Database.MigrationsTable, ChecksumTable) {
		f := Finding{Rule: "migrations-table", Level: LevelError, Message: "migrations_table is " + ChecksumTable + ", which shopfleet keeps checksums in",
			Expected: "another name, such as d1_migrations", Hint: "leave migrations_table out"}
		want.locate(&f, "env", want.Config.Env, "d1_databases")
		out = append(out, f)
	}
	for _, f := range d1.Numbers(files, have.Database.Ledger) {
		out = append(out, Finding(f))
	}
	for _, f := range files {
		if sum, ok := have.Database.Checksums[f.Name]; ok && sum != d1.Checksum(f.SQL) {
			out = append(out, Finding{Rule: "migration-changed", Level: LevelWarning, File: f.Path,
				Message:  f.Name + " was applied to " + want.Database.DatabaseName + " and is another file by now; what changed in it is not applied",
				Expected: "an applied file that stays as it is, comments aside",
				Hint:     "put the change into a new file, and the old file back to what was applied"})
		}
	}
	if len(have.Drift) > 0 {
		out = append(out, Finding{Rule: "schema-drift", Level: LevelWarning,
			Message:  fmt.Sprintf("the schema of %s is not what its migrations make: %s", want.Database.DatabaseName, strings.Join(have.Drift, "; ")),
			Expected: "a schema that only migrations change",
			Hint:     "bring the difference into a migration, or take it back"})
	}
	if have.DriftUnknown != "" {
		out = append(out, Finding{Rule: "schema-drift-unknown", Level: LevelNotice,
			Message: fmt.Sprintf("whether the schema of %s is what its migrations make cannot be told: %s", want.Database.DatabaseName, have.DriftUnknown)})
	}
	if have.Rehearsal == nil {
		return out
	}
	for _, f := range have.Rehearsal.Findings(have.Answers, want.AllowDestructive) {
		out = append(out, Finding(f))
	}
	return append(out, stillNamed(want, have.Rehearsal)...)
}

// stillNamed looks in the code that is about to be released for what the migrations take away.
func stillNamed(want *Desired, r *d1.Rehearsal) []Finding {
	if want.Bundle == nil {
		return nil
	}
	file := ""
	if rel, err := filepath.Rel(want.Config.Dir, want.Config.Main); err == nil && filepath.IsLocal(rel) {
		file = filepath.ToSlash(rel)
	}
	var out []Finding
	for _, d := range r.Dropped {
		name, label := d.Table, "table "+d.Table
		if d.Column != "" {
			name, label = d.Column, "column "+d.Table+"."+d.Column
		}
		if !d.Gone || !mentions(want.Bundle, name) {
			continue
		}
		out = append(out, Finding{Rule: "migration-breaks-release", Level: LevelWarning, File: file,
			Message:  fmt.Sprintf("the code of this commit still names %s, and the migrations take %s away", name, label),
			Expected: "code that does without it",
			Hint:     "release the code that no longer needs it first, and drop it with the release after"})
	}
	return out
}

// mentions says whether a word stands in the text of a bundle.
func mentions(b *wrangler.Bundle, word string) bool {
	for _, m := range append([]wrangler.Module{b.Main}, b.Modules...) {
		for rest := m.Content; ; {
			i := bytes.Index(rest, []byte(word))
			if i < 0 {
				break
			}
			end := i + len(word)
			if (i == 0 || !identifierByte(rest[i-1])) && (end == len(rest) || !identifierByte(rest[end])) {
				return true
			}
			rest = rest[end:]
		}
	}
	return false
}

func identifierByte(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
