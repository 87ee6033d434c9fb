package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/d1"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// maxBatch is how much SQL shopfleet puts into one call when several files
// share it. D1 refuses a statement over 100,000 bytes (feasibility.md §5); a
// batch well below that is accepted whatever the limit is counted over.
const maxBatch = 90_000

// migrations applies files to one database.
type migrations struct {
	cf       *cloudflare.Client
	db       wrangler.D1Database
	files    []wrangler.Migration // those the plan named, in order
	shown    func(wrangler.Migration) string
	count    func() // called before each call that writes
	progress func(applied int)
}

// migrated is what became of the files.
type migrated struct {
	applied   []string // by this run
	elsewhere []string // by another run in the meantime
	after     Database // what the database says of itself afterwards
}

// batch is one atomic call: the SQL of some files, each followed by its row in
// the ledger. D1 carries out a call whole or not at all.
type batch struct {
	files []wrangler.Migration
	sql   string
}

// batches groups files into calls in their order, or gives each its own. The
// first batch also makes the ledger, and every one ends with a look at the
// database. A file whose last statement lacks its semicolon gets one: with
// wrangler it would swallow the ledger's INSERT (wire.md §7.2).
func batches(table string, files []wrangler.Migration, single bool) ([]batch, error) {
	var out []batch
	for i, f := range files {
		sql, err := terminated(f)
		if err != nil {
			return nil, err
		}
		sql += "\n" + ledgerRows(table, f)
		if i == 0 {
			sql = ledgerTables(table) + "\n" + sql
		}
		if last := len(out) - 1; last >= 0 && !single && len(out[last].sql)+1+len(sql) <= maxBatch {
			out[last].files = append(out[last].files, f)
			out[last].sql += "\n" + sql
			continue
		}
		out = append(out, batch{files: []wrangler.Migration{f}, sql: sql})
	}
	for i := range out {
		out[i].sql += "\n" + databaseQuery(table) + ";"
	}
	return out, nil
}

// terminated is a file's SQL ending in a complete statement.
func terminated(f wrangler.Migration) (string, error) {
	statements, err := d1.Split(f.SQL)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", f.Name, err) // the rehearsal has refused it
	}
	sql := strings.TrimPrefix(f.SQL, "\ufeff")
	if n := len(statements); n > 0 && !statements[n-1].Complete {
		// On a line of its own, so that a comment at the end does not hide it.
		sql += "\n;"
	}
	return sql, nil
}

// apply brings the ledger to hold every file. With an error migrated says how
// far it came: a database is always at "these files are applied, and its
// ledger says so".
func (m *migrations) apply(ctx context.Context) (done migrated, err error) {
	remaining, single, looked := m.files, false, false
	// Each round applies at least one file or fails, except after an unknown
	// outcome, which is looked up in the ledger and repeated at most twice.
	for doubts := 0; len(remaining) > 0; {
		groups, err := batches(m.db.MigrationsTable, remaining, single)
		if err != nil {
			return done, err
		}
		next := groups[0]
		m.count()
		results, err := m.cf.D1Exec(ctx, m.db.DatabaseID, next.sql)
		switch {
		case err == nil:
			done.applied = append(done.applied, names(next.files)...)
			remaining = remaining[len(next.files):]
			done.after, err = decodeDatabase(results[len(results)-1])
			looked = err == nil
			// The call succeeded, and still only the ledger says that it did what it was sent for.
			if looked && !slices.Contains(done.after.Ledger, next.files[len(next.files)-1].Name) {
				return done, fmt.Errorf("applying %s: D1 accepted the call, and its ledger does not have the file", next.files[len(next.files)-1].Name)
			}
			m.progress(len(done.applied))
			continue
		case ctx.Err() != nil:
			return done, fmt.Errorf("applying %s: %w", strings.Join(names(next.files), ", "), err)
		}
		// Something went wrong; only the ledger knows how far it got. It also
		// knows what another run did in the meantime: a duplicate name is refused
		// by the table itself.
		now, lookErr := lookAtDatabase(ctx, m.cf, m.db)
		if lookErr != nil {
			return done, fmt.Errorf("applying %s: %w", strings.Join(names(next.files), ", "), errors.Join(err, lookErr))
		}
		done.after, looked = now, true
		before := len(remaining)
		var api *cloudflare.Error
		// A statement that reports a failure inside a successful answer has failed, once the ledger agrees.
		unknown := errors.Is(err, cloudflare.ErrUnknownOutcome) && !(errors.As(err, &api) && api.Statement > 0)
		remaining = slices.DeleteFunc(slices.Clone(remaining), func(f wrangler.Migration) bool {
			is := slices.Contains(now.Ledger, f.Name)
			// What is there after an answer that was lost is ours, as far as anybody can tell.
			if is && unknown && slices.ContainsFunc(next.files, func(n wrangler.Migration) bool { return n.Name == f.Name }) {
				done.applied = append(done.applied, f.Name)
			} else if is {
				done.elsewhere = append(done.elsewhere, f.Name)
			}
			return is
		})
		switch {
		case len(remaining) < before:
			m.progress(len(done.applied))
		case unknown && doubts < 2:
			doubts++
		case unknown:
			return done, fmt.Errorf("applying %s: %w", strings.Join(names(next.files), ", "), err)
		case len(next.files) > 1:
			single = true // one by one it shows which of them D1 refuses; those before it are fine
		default:
			return done, m.refused(next.files[0], err)
		}
	}
	if !looked {
		done.after, err = lookAtDatabase(ctx, m.cf, m.db)
	}
	return done, err
}

// refused is the finding for a file that D1 refuses although the rehearsal
// did not mind: its rows, or another hand, are why.
func (m *migrations) refused(f wrangler.Migration, refusal error) error {
	var api *cloudflare.Error
	if !errors.As(refusal, &api) || api.Code != 7500 && api.Statement == 0 {
		return fmt.Errorf("applying %s: %w", f.Name, refusal)
	}
	return Findings{{
		Rule: "migration-failed", Level: LevelError, File: m.shown(f),
		Message: "D1 refused " + f.Name + ": " + refusalText(refusal),
		Hint:    "the rows of this shop do not fit it: mend the file, or the rows in a file before it, and run the same command again; nothing of this file was applied",
	}}
}

// refusalText is what Cloudflare said, without our own words around it.
func refusalText(err error) string {
	var api *cloudflare.Error
	if errors.As(err, &api) && api.Message != "" {
		return api.Message
	}
	return err.Error()
}

func names(files []wrangler.Migration) []string {
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = f.Name
	}
	return out
}

// SchemaError says that a database is not what the rehearsal of its migrations
// came to: something else changed it meanwhile. The migrations are applied.
type SchemaError struct {
	Database    string
	Differences []string
}

func (e *SchemaError) Error() string {
	return fmt.Sprintf("after the migrations the schema of %s is not what they made of its copy: %s", e.Database, strings.Join(e.Differences, "; "))
}

// Hint says what to do.
func (e *SchemaError) Hint() string {
	return "find out who changed the schema at the same time, then run shopfleet plan: it names what differs"
}

// migrate applies the files that the plan's step names, in its order, and
// compares the schema with the rehearsal's.
func (a *applying) migrate(ctx context.Context, action Action) error {
	return a.step(ctx, action, "applying migrations", func(s Step) error {
		m := &migrations{cf: a.cf, db: a.want.Database, shown: a.want.shown, count: a.write, progress: func(n int) {
			a.tell(Event{Action: action, Text: fmt.Sprintf("applied %d of %d migrations", n, len(s.After))})
		}}
		for _, name := range s.After {
			for _, f := range a.want.Migrations {
				if f.Name == name {
					m.files = append(m.files, f)
				}
			}
		}
		done, err := m.apply(ctx)
		a.out.Migrations = append(a.out.Migrations, done.applied...)
		a.out.MigrationsElsewhere = append(a.out.MigrationsElsewhere, done.elsewhere...)
		if err != nil {
			return err
		}
		return a.verify(ctx, s, done.after)
	})
}

// verify holds the database after a step against what the rehearsal came to.
func (a *applying) verify(ctx context.Context, s Step, after Database) error {
	for _, name := range after.Ledger {
		if !slices.Contains(a.have.Database.Ledger, name) && !slices.Contains(a.out.Migrations, name) && !slices.Contains(a.out.MigrationsElsewhere, name) {
			return &SchemaError{Database: s.Target, Differences: []string{"another run applied " + name + ", which is not in this plan"}}
		}
	}
	live, err := a.e.rehearsals().schema(ctx, a.want.Database, after.Objects)
	if err != nil {
		return fmt.Errorf("reading the schema after the migrations: %w", err)
	}
	a.out.SchemaBefore, a.out.SchemaAfter = a.have.Rehearsal.Before, live.Fingerprint()
	if a.have.Rehearsal.After == live.Fingerprint() {
		return nil
	}
	// Half of the files, or somebody else's hand: the files of this plan that are applied by now are the measure.
	var applied []d1.Migration
	for _, f := range a.want.files() {
		if slices.Contains(after.Ledger, f.Name) && !slices.Contains(a.have.Database.Ledger, f.Name) {
			applied = append(applied, f)
		}
	}
	expected, err := d1.SchemaAfter(ctx, a.have.Database.Objects, applied, ledgers(a.want.Database)...)
	if err != nil {
		return fmt.Errorf("comparing the schema after the migrations: %w", err)
	}
	if differences := d1.Compare(expected, live); len(differences) > 0 {
		return &SchemaError{Database: s.Target, Differences: differences}
	}
	return nil
}
