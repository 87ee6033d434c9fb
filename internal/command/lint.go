package command

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/d1"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/report"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// defaultDenied is the column that no shop's table may have, where no fleet.yml says more.
const defaultDenied = "tenant_id"

func (d *Door) lint() *cobra.Command {
	var asJSON, strict bool
	var sarif, after string
	cmd := &cobra.Command{
		Use:   "lint [dir]",
		Short: "Say what migrations would do, without any account",
		Long: `Say what the migrations in a folder (by default migrations) would do. Each file
is run on a real SQLite with D1's limits, on what the files before it made, as
if a release ran there: what D1 refuses, what loses data, what depends on rows,
what would break the running release. Columns that fleet.yml denies are refused.

In GitHub Actions the findings are annotations too; --sarif writes a log for
code scanning.`,
		Example: "  shopfleet lint\n  shopfleet lint migrations/ --sarif lint.sarif\n  shopfleet lint --after 016_screen_permissions.sql --strict",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return Usage(fmt.Errorf("lint takes one folder, got %d", len(args)), "run "+cmd.CommandPath()+" --help")
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "migrations"
			if len(args) == 1 {
				dir = args[0]
			}
			files, err := d.migrationFiles(dir)
			if err != nil {
				return d.asJSON(asJSON, err)
			}
			deny, err := d.deniedColumns(dir)
			if err != nil {
				return d.asJSON(asJSON, err)
			}
			if after != "" && !slices.ContainsFunc(files, func(m d1.Migration) bool { return m.Name == after }) {
				return d.asJSON(asJSON, Usage(fmt.Errorf("%s holds no %s", dir, after), "--after names the last file that is in the shops already"))
			}
			found, err := d1.Lint(cmd.Context(), files, after, deny)
			if err != nil {
				return d.asJSON(asJSON, err)
			}
			list := make([]deploy.Finding, len(found))
			for i, f := range found {
				list[i] = deploy.Finding(f)
			}
			return d.printLint(list, len(files), asJSON, strict, sarif)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	cmd.Flags().BoolVar(&strict, "strict", false, "warnings fail too")
	cmd.Flags().StringVar(&after, "after", "", "judge only the files behind this `name`; those before it are applied as they are")
	cmd.Flags().StringVar(&sarif, "sarif", "", "write a SARIF log to this `file`")
	return cmd
}

// migrationFiles reads a folder, with paths as the caller typed them.
func (d *Door) migrationFiles(dir string) ([]d1.Migration, error) {
	at := dir
	if !filepath.IsAbs(at) {
		at = filepath.Join(d.Dir, at)
	}
	list, err := wrangler.ReadMigrations(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Usage(fmt.Errorf("there is no folder %s", dir), "name the folder that holds the .sql files")
	} else if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, Usage(fmt.Errorf("%s holds no .sql files", dir), "name the folder that holds the .sql files")
	}
	files := make([]d1.Migration, len(list))
	for i, m := range list {
		files[i] = d1.Migration{Name: m.Name, Path: path.Join(filepath.ToSlash(dir), m.Name), SQL: m.SQL}
	}
	return files, nil
}

// deniedColumns takes the columns that no table may have from the fleet.yml above a folder.
func (d *Door) deniedColumns(dir string) ([]string, error) {
	at := dir
	if !filepath.IsAbs(at) {
		at = filepath.Join(d.Dir, at)
	}
	for {
		src, err := os.ReadFile(filepath.Join(at, policyFile))
		if err == nil {
			policy, err := fleet.Parse(policyFile, src)
			if err != nil {
				return nil, err
			}
			return policy.Migrations.DenyColumns, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading %s: %w", policyFile, err)
		}
		up := filepath.Dir(at)
		if up == at {
			return []string{defaultDenied}, nil
		}
		at = up
	}
}

func (d *Door) printLint(list []deploy.Finding, files int, asJSON, strict bool, sarif string) error {
	if d.workflow != nil {
		d.workflow.loose = append(d.workflow.loose, list...)
	}
	code, counts := ExitDone, map[string]int{}
	for _, f := range list {
		counts[f.Level]++
		if f.Level == deploy.LevelError || strict && f.Level == deploy.LevelWarning {
			code = ExitFindings
		}
	}
	if sarif != "" {
		if err := d.writeSARIF(sarif, list); err != nil {
			return err
		}
	}
	if asJSON {
		if list == nil {
			list = []deploy.Finding{}
		}
		page := struct {
			Exit     int              `json:"exit_code"`
			Files    int              `json:"files"`
			Findings []deploy.Finding `json:"findings"`
		}{code, files, list}
		if err := report.JSON(d.Stdout, page); err != nil {
			return fmt.Errorf("printing the result: %w", err)
		}
	} else {
		style := report.Style{}
		if d.Terminal {
			style = d.style()
		}
		var err error
		if d.workflow != nil { // which tells of them when it ends
			err = report.Findings(d.Stdout, style, list)
		} else {
			runner := github.NewRunner(d.Getenv, d.Stdout)
			err = errors.Join(report.Findings(runner.Log(), style, list), runner.Annotate(annotationsOf(list)...))
		}
		_, last := fmt.Fprintf(d.Stdout, "%s: %s\n", counted(files, "file"), strings.Join([]string{
			counted(counts[deploy.LevelError], "error"), counted(counts[deploy.LevelWarning], "warning"), counted(counts[deploy.LevelNotice], "notice"),
		}, ", "))
		if err := errors.Join(err, last); err != nil {
			return fmt.Errorf("printing the result: %w", err)
		}
	}
	if code != ExitDone {
		return &resultError{code: code}
	}
	return nil
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (d *Door) writeSARIF(name string, list []deploy.Finding) error {
	var b bytes.Buffer
	if err := report.SARIF(&b, d.Version, list); err != nil {
		return fmt.Errorf("writing the SARIF log: %w", err)
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(d.Dir, name)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		return Usage(fmt.Errorf("writing the SARIF log: %w", err), "name a file in a folder that exists")
	}
	return nil
}
