package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/d1"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/report"
	"github.com/kvick/shopfleet/internal/transfer"
	"github.com/kvick/shopfleet/internal/wrangler"
)

func (d *Door) d1Dump() *cobra.Command {
	var from, out, migrations string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "dump --from FILE --out DIR",
		Short: "Write an SQLite file as SQL that D1 takes",
		Long: `Write an SQLite file as SQL that D1 takes, in parts that are run in the order of
their names: tables after those they refer to, many rows in a statement, none
over D1's limits. The file is only read.

Each part is a transaction and notes itself in the table shopfleet_bootstrap,
which the last one drops, so a part that was run cannot run again:

  for f in migration_dumps/*.sql; do
    wrangler d1 execute DB --remote --env swicked --file "$f"
  done

"shopfleet d1 bootstrap" does the same by itself, and compares both sides.`,
		Example: "  shopfleet d1 dump --from helm.sqlite --out migration_dumps\n  shopfleet d1 dump --from helm.sqlite --out migration_dumps --migrations migrations",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" || out == "" {
				return d.asJSON(asJSON, Usage(errors.New("--from and --out are needed"), "shopfleet d1 dump --from helm.sqlite --out migration_dumps"))
			}
			var files []wrangler.Migration
			if migrations != "" {
				list, err := wrangler.ReadMigrations(d.path(migrations))
				if err != nil {
					return d.asJSON(asJSON, Usage(err, "name the folder that holds the .sql files"))
				}
				files = list
			}
			seeded, err := d.seeds(cmd.Context(), from, defaultLedger, files, "")
			if err != nil {
				return d.asJSON(asJSON, err)
			}
			progress := d.newMeter(filepath.Base(from))
			dump, err := d.dump(cmd.Context(), from, d.path(out), seeded.ledger(defaultLedger), progress.tell)
			progress.finish()
			if err != nil {
				return d.asJSON(asJSON, err)
			}
			if asJSON {
				return report.JSON(d.Stdout, struct {
					Exit   int              `json:"exit_code"`
					Dump   *transfer.Dumped `json:"dump"`
					Ledger []string         `json:"ledger_seeded,omitempty"`
				}{ExitDone, dump, seeded.names()})
			}
			return report.Dump(d.Stdout, d.resultStyle(), dump, seeded.names())
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the SQLite `file`")
	cmd.Flags().StringVar(&out, "out", "", "a new `folder` for the parts")
	cmd.Flags().StringVar(&migrations, "migrations", "", "note the files of this `folder` as applied, as far as the schema has come")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

func (d *Door) d1Bootstrap() *cobra.Command {
	var from, through string
	var policy policyFlags
	var into, asJSON bool
	cmd := &cobra.Command{
		Use:   "bootstrap <shop> --from FILE",
		Short: "Fill a shop's fresh D1 from an SQLite file",
		Long: `Fill a shop's fresh D1 from an SQLite file, and compare all tables on both sides
afterwards: rows, and checksums over their values. The file is only read.

The ledger of migrations is filled too, so that the next deploy knows which files
are in the database already: from the file's own ledger, or else from its schema.

It may be stopped anywhere and run again with the same file: it goes on where it
was. A database that is not empty is refused.

` + sourceHelp,
		Example:           "  shopfleet d1 bootstrap swicked --from helm.sqlite",
		Args:              oneShop,
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			if from == "" {
				return d.asJSON(asJSON, Usage(errors.New("--from is needed"), "shopfleet d1 bootstrap "+args[0]+" --from helm.sqlite"))
			}
			err := d.withDatabase(cmd.Context(), args[0], policy, false, func(ctx context.Context, s shopDatabase) error {
				return d.bootstrap(ctx, s, from, through, into, asJSON)
			})
			return d.asJSON(asJSON, err)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the SQLite `file`")
	cmd.Flags().StringVar(&through, "applied-through", "", "the `name` of the last migration that is in the file, where its schema does not tell")
	cmd.Flags().BoolVar(&into, "into-existing", false, "let the file's tables join others that are in the database")
	policy.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

func (d *Door) d1Export() *cobra.Command {
	var out string
	var policy policyFlags
	var force, asJSON bool
	cmd := &cobra.Command{
		Use:   "export <shop> --out FILE",
		Short: "Write a shop's D1 to a file of SQL",
		Long: `Write a shop's D1 to a file of SQL, full-text tables included. The shop is only
read, a page at a time: D1's own export refuses such databases, and has left some
busy for good.

The file is loaded and compared with the live database before it gets its name.
When the shop writes meanwhile the export begins anew, three times at most.

` + sourceHelp,
		Example:           "  shopfleet d1 export swicked --out swicked.sql",
		Args:              oneShop,
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return d.asJSON(asJSON, Usage(errors.New("--out is needed"), "shopfleet d1 export "+args[0]+" --out "+args[0]+".sql"))
			}
			file := d.path(out)
			if _, err := os.Stat(file); err == nil && !force {
				return d.asJSON(asJSON, Usage(fmt.Errorf("%s exists already", out), "name another file, or overwrite it with --force"))
			}
			err := d.withDatabase(cmd.Context(), args[0], policy, true, func(ctx context.Context, s shopDatabase) error {
				progress := d.newMeter(s.shop)
				done, err := (&transfer.Export{CF: s.engine.CF, Database: s.database(), Progress: progress.tell}).Run(ctx, file)
				progress.finish()
				if err != nil {
					return err
				}
				if asJSON {
					return report.JSON(d.Stdout, struct {
						Exit   int                `json:"exit_code"`
						Export *transfer.Exported `json:"export"`
					}{ExitDone, done})
				}
				return report.Export(d.Stdout, d.resultStyle(), done)
			})
			return d.asJSON(asJSON, err)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the `file` to write")
	cmd.Flags().BoolVar(&force, "force", false, "overwrite the file")
	policy.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

func oneShop(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return Usage(fmt.Errorf("%s takes one shop, got %d", cmd.CommandPath(), len(args)), "run "+cmd.CommandPath()+" --help")
	}
	return nil
}

// path is where a name that was typed lies.
func (d *Door) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(d.Dir, name)
}

// resultStyle is how results look: coloured where the terminal is one.
func (d *Door) resultStyle() report.Style {
	if d.Terminal {
		return d.style()
	}
	return report.Style{}
}

// shopDatabase is a shop's own D1 and the engine of its account.
type shopDatabase struct {
	shop       string
	engine     *deploy.Engine
	config     wrangler.D1Database
	migrations []wrangler.Migration
}

func (s shopDatabase) database() transfer.Database {
	return transfer.Database{ID: s.config.DatabaseID, Name: s.config.DatabaseName}
}

// withDatabase finds a shop's own database by its branch, makes sure that the account agrees, and hands it to f. A client
// that only reads gets no migrations: a shop whose tree cannot be made ready can still be exported.
func (d *Door) withDatabase(ctx context.Context, slug string, policy policyFlags, readOnly bool, f func(context.Context, shopDatabase) error) (err error) {
	c, err := d.open(ctx, policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	s := shopDatabase{shop: slug}
	var src deploy.Source
	if readOnly {
		if src, err = c.configOf(ctx, slug); err == nil {
			s.config, err = deploy.OwnDatabase(src)
		}
	} else {
		sources, problems := c.sources(ctx, []string{slug})
		if src, err = sources[slug], problems[slug]; err == nil {
			s.config, s.migrations, err = deploy.OwnMigrations(src)
		}
	}
	if err != nil {
		return err
	}
	engines, err := d.engines([]fleet.Account{src.Shop.Account}, readOnly, nil)
	if err != nil {
		return err
	}
	s.engine = engines[src.Shop.Account.ID]
	if err := s.engine.AdmitDatabase(ctx, src.Shop, s.config.DatabaseID); err != nil {
		return err
	}
	return f(ctx, s)
}

func (d *Door) bootstrap(ctx context.Context, s shopDatabase, from, through string, into, asJSON bool) (err error) {
	seeded, err := d.seeds(ctx, from, s.config.MigrationsTable, s.migrations, through)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "shopfleet-bootstrap-")
	if err != nil {
		return fmt.Errorf("making room for the bootstrap: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	progress := d.newMeter(s.shop)
	defer progress.finish()
	dump, err := d.dump(ctx, from, filepath.Join(dir, "parts"), seeded.ledger(s.config.MigrationsTable), progress.tell)
	if err != nil {
		return err
	}
	done, err := (&transfer.Bootstrap{CF: s.engine.CF, Database: s.database(), IntoExisting: into, Progress: progress.tell, Now: d.Now}).Run(ctx, dump)
	progress.finish()
	var mismatch *transfer.MismatchError
	if err != nil && !errors.As(err, &mismatch) {
		return err
	}
	code := exitCode(err)
	if done.Already {
		seeded = nil // they were noted before
	}
	if asJSON {
		page := struct {
			Exit      int                    `json:"exit_code"`
			Bootstrap *transfer.Bootstrapped `json:"bootstrap"`
			Ledger    []string               `json:"ledger_seeded,omitempty"`
			Error     string                 `json:"error,omitempty"`
		}{Exit: code, Bootstrap: done, Ledger: seeded.names()}
		if err != nil {
			page.Error = report.Clean(oneLine(err.Error()))
		}
		if err := report.JSON(d.Stdout, page); err != nil {
			return fmt.Errorf("printing the result: %w", err)
		}
		if code != ExitDone {
			return &resultError{code: code}
		}
		return nil
	}
	return errors.Join(report.Bootstrap(d.Stdout, d.resultStyle(), done, seeded.names()), err)
}

// dump writes a file as parts; what D1 would not take comes back as findings.
func (d *Door) dump(ctx context.Context, from, dir string, ledger transfer.Ledger, progress transfer.Progress) (*transfer.Dumped, error) {
	dump, findings, err := transfer.Dump(ctx, d.path(from), dir, ledger, progress)
	var notEmpty *transfer.NotEmptyError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, Usage(fmt.Errorf("there is no file %s", from), "name an SQLite file with --from")
	case errors.As(err, &notEmpty):
		return nil, Usage(err, notEmpty.Hint())
	case err != nil:
		return nil, err
	case len(findings) > 0:
		for i := range findings {
			findings[i].File = filepath.Base(from)
		}
		return nil, findings
	}
	return dump, nil
}

// defaultLedger is wrangler's name for the ledger.
const defaultLedger = "d1_migrations"

// seeds are migrations that a database has come through although it keeps no ledger.
type seeds []wrangler.Migration

func (s seeds) names() []string {
	var out []string
	for _, m := range s {
		out = append(out, m.Name)
	}
	return out
}

// ledger is how the database notes them.
func (s seeds) ledger(table string) transfer.Ledger {
	l := transfer.Ledger{Tables: []string{table, deploy.ChecksumTable}, Own: []string{fleet.IdentityTable}, Applied: s.names()}
	if len(s) > 0 {
		l.SQL = deploy.SeedLedger(table, s)
	}
	return l
}

// seeds finds out which migrations an SQLite file has come through, unless it has a ledger of its own.
func (d *Door) seeds(ctx context.Context, from, table string, files []wrangler.Migration, through string) (seeds, error) {
	if through != "" {
		i := slices.IndexFunc(files, func(m wrangler.Migration) bool { return m.Name == through })
		if i < 0 {
			return nil, Usage(fmt.Errorf("there is no migration %s", through), "--applied-through takes the name of a file of the shop's migrations")
		}
		return files[:i+1], nil
	}
	db, err := d1.OpenReadOnly(d.path(from))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, Usage(fmt.Errorf("there is no file %s", from), "name an SQLite file with --from")
	case errors.Is(err, d1.ErrNotDatabase):
		return nil, Usage(fmt.Errorf("%s is no SQLite database", from), "name an SQLite file with --from")
	case err != nil:
		return nil, err
	}
	defer db.Close()
	objects, err := db.Objects(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", from, err)
	}
	if len(files) == 0 || slices.ContainsFunc(objects, func(o d1.Object) bool { return strings.EqualFold(o.Name, table) }) {
		return nil, nil
	}
	found, err := db.Schema(ctx, table, deploy.ChecksumTable, fleet.IdentityTable)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", from, err)
	}
	list := make([]d1.Migration, len(files))
	for i, f := range files {
		list[i] = d1.Migration{Name: f.Name, Path: f.Name, SQL: f.SQL}
	}
	m, err := d1.MatchFiles(ctx, found, list)
	if err != nil {
		return nil, err
	}
	if m.Applied < 0 {
		nearest := "an empty database"
		if m.Nearest > 0 {
			nearest = "what the migrations up to " + files[m.Nearest-1].Name + " make"
		}
		return nil, deploy.Findings{{
			Rule: "ledger-unknown", Level: deploy.LevelError, File: filepath.Base(from),
			Message:  fmt.Sprintf("the file has no ledger (%s), and its schema is not one that the migrations make; nearest is %s: %s", table, nearest, strings.Join(m.Differences, "; ")),
			Expected: "a ledger, or a schema that tells which files are in it",
			Hint:     "change the file, or name the last migration that is in it with --applied-through",
		}}
	}
	return files[:m.Applied], nil
}

// meter is progress of one long piece of work, on standard error: a bar on a terminal, a plain line now and then elsewhere.
type meter struct {
	door  *Door
	name  string
	start time.Time

	mu      sync.Mutex
	shown   time.Time
	last    string
	drawn   bool
	stopped bool
}

func (d *Door) newMeter(name string) *meter {
	return &meter{door: d, name: report.Clean(name), start: d.Now()}
}

const barWidth = 24

// tell is a transfer.Progress.
func (m *meter) tell(doing string, done, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.door.Now()
	pause := 5 * time.Second
	if m.door.Terminal {
		pause = 100 * time.Millisecond
	}
	if m.stopped || doing == m.last && now.Sub(m.shown) < pause {
		return
	}
	m.last, m.shown = doing, now
	line := report.Clean(doing)
	if total > 0 {
		part := float64(done) / float64(total)
		if m.door.Terminal {
			full := int(part * barWidth)
			line = fmt.Sprintf("[%s%s] %3.0f %%  %s", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), part*100, line)
		} else {
			line += fmt.Sprintf(" (%.0f %%)", part*100)
		}
	} else if done > 0 {
		line += fmt.Sprintf(" (%d)", done)
	}
	if !m.door.Terminal {
		fmt.Fprintf(m.door.Stderr, "%s: %s\n", m.name, line)
		return
	}
	fmt.Fprintf(m.door.Stderr, "\r\x1b[K%s  %s  %s", now.Sub(m.start).Round(time.Second), m.name, line)
	m.drawn = true
}

// finish clears the line so that results begin on an empty one. It may be called twice.
func (m *meter) finish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.drawn && !m.stopped {
		io.WriteString(m.door.Stderr, "\r\x1b[K")
	}
	m.stopped = true
}
