package command

// What a new shop's database begins with: the schema that its migrations make, and what --seed brings.

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/kvick/shopfleet/internal/d1"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/transfer"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// fill brings the schema, and what the database begins with, into a database that is new. fresh says that this run made it.
// What an earlier run made is brought further by the deploy, which applies the files that it lacks; a seed goes on where it
// stopped.
func (o *onboarding) fill(ctx context.Context, fresh bool) error {
	config, files, err := deploy.OwnMigrations(o.source)
	if err != nil {
		return err
	}
	if o.flags.seed != "" {
		filled, err := o.filled(ctx, config)
		if filled {
			o.page.Baseline = "there already; the seed was left aside"
		}
		if err != nil || filled {
			return err
		}
		return o.seed(ctx, config, files)
	}
	if !fresh {
		o.page.Baseline = "as the deploy finds it"
		return nil
	}
	list := make([]d1.Migration, len(files))
	for i, f := range files {
		list[i] = d1.Migration{Name: f.Name, Path: f.Name, SQL: f.SQL}
	}
	snapshot, why, err := transfer.Baseline(ctx, list, seeds(files).ledger(config.MigrationsTable))
	if err != nil {
		return err
	}
	if snapshot == nil {
		o.page.Baseline = "file by file: " + why
		return nil
	}
	done, _, err := snapshot.Run(ctx, o.client, transfer.Database{ID: config.DatabaseID, Name: config.DatabaseName})
	switch {
	case err != nil:
		return err
	case !done:
		o.page.Baseline = "there already"
	default:
		o.page.Baseline = fmt.Sprintf("one snapshot instead of %s, proved equal to them", counted(len(files), "migration"))
	}
	return nil
}

// filled says whether the database's ledger has rows.
func (o *onboarding) filled(ctx context.Context, config wrangler.D1Database) (bool, error) {
	result, err := o.client.D1Read(ctx, config.DatabaseID, "SELECT name FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(?)", config.MigrationsTable)
	if err != nil {
		return false, fmt.Errorf("looking into %s: %w", config.DatabaseName, err)
	}
	var tables []struct{ Name string }
	if err := result.Decode(&tables); err != nil || len(tables) == 0 {
		return false, err
	}
	result, err = o.client.D1Read(ctx, config.DatabaseID, `SELECT count(*) AS n FROM "`+strings.ReplaceAll(config.MigrationsTable, `"`, `""`)+`"`)
	if err != nil {
		return false, fmt.Errorf("looking into %s: %w", config.DatabaseName, err)
	}
	var rows []struct{ N json.Number }
	err = result.Decode(&rows)
	return len(rows) == 1 && rows[0].N != "0", err
}

// maxSeed bounds a seed of SQL, which is read into memory.
const maxSeed = 256 << 20

// sqliteHeader is what an SQLite database begins with (sqlite.org/fileformat2.html).
const sqliteHeader = "SQLite format 3\x00"

// seed fills the database from a file: an SQLite database as it is, or SQL on top of what the migrations make. It can be
// stopped anywhere and run again.
func (o *onboarding) seed(ctx context.Context, config wrangler.D1Database, files []wrangler.Migration) (err error) {
	d := o.door
	dir, err := os.MkdirTemp("", "shopfleet-onboard-")
	if err != nil {
		return fmt.Errorf("making room for the seed: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file, through, err := o.seedDatabase(ctx, dir, files)
	if err != nil {
		return err
	}
	seeded, err := d.seeds(ctx, file, config.MigrationsTable, files, through)
	if err != nil {
		return err
	}
	progress := d.newMeter(o.slug)
	defer progress.finish()
	dump, err := d.dump(ctx, file, filepath.Join(dir, "parts"), seeded.ledger(config.MigrationsTable), progress.tell)
	if err != nil {
		return err
	}
	done, err := (&transfer.Bootstrap{
		CF: o.client, Database: transfer.Database{ID: config.DatabaseID, Name: config.DatabaseName}, Progress: progress.tell, Now: d.Now,
	}).Run(ctx, dump)
	if err != nil {
		return err
	}
	var rows int64
	for _, t := range done.Tables {
		rows += t.LiveRows
	}
	o.page.Baseline = fmt.Sprintf("from %s: %d rows, compared", filepath.Base(o.flags.seed), rows)
	return nil
}

// checkSeed loads the seed before anything is made, on top of the migrations that main has.
func (o *onboarding) checkSeed(ctx context.Context) (err error) {
	if o.flags.seed == "" {
		return nil
	}
	configs, err := o.others(ctx)
	if err != nil {
		return err
	}
	trees, err := o.c.repo.Trees(ctx, o.c.base)
	if err != nil {
		return err
	}
	main, err := o.c.extract(ctx, withoutBundle(o.c.policy, trees[0]))
	if err != nil {
		return fmt.Errorf("extracting main: %w", err)
	}
	like := alike(configs)
	files, err := wrangler.ReadMigrations(filepath.Join(main, filepath.FromSlash(cmp.Or(like.MigrationsDir, "migrations"))))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "shopfleet-onboard-")
	if err != nil {
		return fmt.Errorf("making room for the seed: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file, through, err := o.seedDatabase(ctx, dir, files)
	if err != nil {
		return err
	}
	_, err = o.door.seeds(ctx, file, cmp.Or(like.Table, defaultLedger), files, through)
	return err
}

// seedDatabase is the seed as an SQLite database. through is the last migration that is in it, where that is certain.
func (o *onboarding) seedDatabase(ctx context.Context, dir string, files []wrangler.Migration) (file, through string, err error) {
	name := o.door.path(o.flags.seed)
	in, err := os.Open(name)
	if err != nil {
		return "", "", Usage(fmt.Errorf("reading the seed: %w", err), "name a file with --seed")
	}
	defer in.Close()
	head := make([]byte, len(sqliteHeader))
	if n, _ := io.ReadFull(in, head); string(head[:n]) == sqliteHeader {
		return name, "", nil
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return "", "", fmt.Errorf("reading the seed: %w", err)
	}
	sql, err := io.ReadAll(io.LimitReader(in, maxSeed+1))
	if err != nil {
		return "", "", fmt.Errorf("reading the seed: %w", err)
	}
	if len(sql) > maxSeed {
		return "", "", Usage(fmt.Errorf("the seed has more than %d MB of SQL", maxSeed>>20), "give an SQLite database instead")
	}
	file = filepath.Join(dir, "seed.sqlite")
	db, err := d1.Open(file)
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, m := range files {
		if _, err := db.Import(ctx, strings.NewReader(m.SQL)); err != nil {
			return "", "", fmt.Errorf("replaying %s: %w", m.Name, err)
		}
		through = m.Name
	}
	if _, err := db.Import(ctx, bytes.NewReader(sql)); err != nil {
		return "", "", deploy.Findings{{
			Rule: "seed-refused", Level: deploy.LevelError, File: filepath.Base(o.flags.seed),
			Message: "the seed cannot be loaded on top of the migrations: " + err.Error(), Hint: "try it with sqlite3 on a database that the migrations made",
		}}
	}
	return file, through, nil
}
