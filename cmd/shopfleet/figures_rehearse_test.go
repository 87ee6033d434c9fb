package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/d1"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
)

// rehearsedShops is how many shops the fleet rehearsal is measured with, driftedShops which of them somebody changed by hand.
const rehearsedShops = 500

var driftedShops = []string{"shop-017", "shop-250", "shop-499"}

// rehearse measures one rehearsal of Helm's sixteen migrations on an empty database, in process.
func (b *bench) rehearse() ([]figure, error) {
	files, err := helmFiles()
	if err != nil {
		return nil, err
	}
	var took []float64
	for range 31 {
		start := time.Now()
		r, err := d1.Rehearse(context.Background(), d1.Case{Pending: files})
		if err != nil || len(r.Files) != len(files) {
			return nil, fmt.Errorf("rehearsing Helm's migrations: %d files: %w", len(files), err)
		}
		took = append(took, time.Since(start).Seconds()*1000)
	}
	return []figure{{"rehearse-helm", median(took), "ms", "<= 10"}}, nil
}

func helmFiles() ([]d1.Migration, error) {
	main, err := tree(helmMain + "/migrations")
	if err != nil {
		return nil, err
	}
	var files []d1.Migration
	for name, sql := range main {
		files = append(files, d1.Migration{Name: name, Path: name, SQL: string(sql)})
	}
	slices.SortFunc(files, func(a, b d1.Migration) int { return strings.Compare(a.Name, b.Name) })
	return files, nil
}

// fleetRehearsal measures the plans of many shops whose databases are four migrations behind: the account is in this
// process, the plans are made in another, whose time and memory count.
func (b *bench) fleetRehearsal() ([]figure, error) {
	slugs := make([]string, rehearsedShops)
	for i := range slugs {
		slugs[i] = fmt.Sprintf("shop-%03d", i)
	}
	a, err := b.arena(slugs)
	if err != nil {
		return nil, err
	}
	defer a.close()
	if err := a.migrate(slugs, 12); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(slices.Clone(a.env), "SHOPFLEET_FIGURES=child:rehearse", "GOMAXPROCS="+fmt.Sprint(runtime.GOMAXPROCS(0)))
	var out, problems strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("planning %d shops: %w\n%s", len(slugs), err, problems.String())
	}
	var seconds float64
	var distinct int
	var peak int64
	var drifted string
	if _, err := fmt.Sscan(out.String(), &seconds, &distinct, &peak, &drifted); err != nil {
		return nil, fmt.Errorf("reading %q: %w", out.String(), err)
	}
	if want := strings.Join(driftedShops, ","); drifted != want {
		return nil, fmt.Errorf("drifted shops %s, want %s", drifted, want)
	}
	return []figure{
		{"fleet-rehearsal-500", seconds, "s", "<= 3"},
		{"fleet-rehearsal-500-distinct", float64(distinct), "rehearsals", "<= 4"},
		{"fleet-rehearsal-500-memory", float64(peak) / 1e6, "MB", "<= 150"},
	}, nil
}

// migrate brings the shops' databases to the first migrations, and lets somebody change three of them by hand.
func (a *arena) migrate(slugs []string, count int) error {
	files, err := helmFiles()
	if err != nil {
		return err
	}
	var sql strings.Builder
	sql.WriteString("CREATE TABLE d1_migrations(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL);\n" +
		"CREATE TABLE shopfleet_migrations (name TEXT PRIMARY KEY, checksum TEXT NOT NULL) WITHOUT ROWID;\n")
	for _, f := range files[:count] {
		fmt.Fprintf(&sql, "%s\nINSERT INTO d1_migrations (name) VALUES ('%s');\n", f.SQL, f.Name)
	}
	cf := a.unlimited()
	ctx := context.Background()
	list, err := cf.D1Databases(ctx, "")
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(4)
	for _, db := range list {
		slug := strings.TrimSuffix(strings.TrimPrefix(db.Name, "helm-"), "-db")
		if !slices.Contains(slugs, slug) {
			continue
		}
		text := sql.String()
		if i := slices.Index(driftedShops, slug); i >= 0 {
			text += []string{"DROP INDEX customers_name;", "ALTER TABLE bikes ADD COLUMN frame TEXT;", "CREATE TABLE by_hand (id INTEGER PRIMARY KEY);"}[i]
		}
		group.Go(func() error {
			_, err := cf.D1Exec(ctx, db.ID, text)
			return err
		})
	}
	return group.Wait()
}

// unlimited is a client that the API's limits do not hold back: what is measured is our own work.
func (a *arena) unlimited() *cloudflare.Client {
	env := map[string]string{}
	for _, e := range a.env {
		k, v, _ := strings.Cut(e, "=")
		env[k] = v
	}
	return unlimitedClient(func(name string) string { return env[name] })
}

func unlimitedClient(getenv func(string) string) *cloudflare.Client {
	return &cloudflare.Client{
		BaseURL: getenv("CLOUDFLARE_API_BASE_URL"), AccountID: getenv("CLOUDFLARE_ACCOUNT_ID"), Token: cloudflare.Secret(getenv("CLOUDFLARE_API_TOKEN")),
		Budget: &cloudflare.Budget{Limit: 1e6, PerSecond: 1e6},
	}
}

// peakMemory is the largest resident size of this process so far, in bytes. Linux counts into the ru_maxrss of a process
// what its parent held when it was forked, so the figure comes from /proc where there is one.
func peakMemory() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		var usage syscall.Rusage
		err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
		return usage.Maxrss, err
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	_, err = fmt.Sscan(rest, &kib)
	return kib << 10, err
}

// rehearseChild is the other process: it plans every shop and prints seconds, distinct rehearsals, peak memory and drifted
// shops.
func rehearseChild(out io.Writer) (err error) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "shopfleet-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	main, err := tree(helmMain)
	if err != nil {
		return err
	}
	overlay, err := tree(helmOverlays + "/swicked")
	if err != nil {
		return err
	}
	base := main["wrangler.jsonc"]
	delete(main, "wrangler.jsonc")
	for name, content := range main {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, content, 0o644)); err != nil {
			return err
		}
	}
	policy, err := fleet.Parse("fleet.yml", main["fleet.yml"])
	if err != nil {
		return err
	}
	engine := &deploy.Engine{CF: unlimitedClient(os.Getenv), Rehearsals: &deploy.Rehearsals{}}
	var builder deploy.Builder
	drifted := make([]string, rehearsedShops)
	start := time.Now()
	var group errgroup.Group
	group.SetLimit(16)
	for i := range rehearsedShops {
		slug := fmt.Sprintf("shop-%03d", i)
		group.Go(func() error {
			shop, err := policy.Shop(slug)
			if err != nil {
				return err
			}
			want, err := builder.Prepare(ctx, deploy.Source{
				Policy: policy, Shop: shop, Commit: strings.Repeat("a", 40), Main: strings.Repeat("b", 40), Dir: dir, Tree: "helm",
				ConfigName: "wrangler.jsonc", Config: shopConfig(overlay["wrangler.jsonc"], slug, i),
				Base: deploy.Base{Config: base},
			})
			if err != nil {
				return err
			}
			have, err := engine.Observe(ctx, want)
			if err != nil {
				return err
			}
			plan := deploy.Diff(want, have)
			if len(plan.Migrations) != 4 {
				return fmt.Errorf("%s has %d pending migrations, want 4", slug, len(plan.Migrations))
			}
			if slices.ContainsFunc(plan.Findings, func(f deploy.Finding) bool { return f.Rule == "schema-drift" }) {
				drifted[i] = slug
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	took := time.Since(start)
	peak, err := peakMemory()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, took.Seconds(), engine.Rehearsals.Distinct(), peak, strings.Join(slices.DeleteFunc(drifted, func(s string) bool { return s == "" }), ","))
	return err
}
