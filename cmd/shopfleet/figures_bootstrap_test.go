package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/kvick/shopfleet/internal/d1"
)

// helmFile makes an SQLite file of Helm's schema with this many customers; every customer has a bike, a work order, sales
// and their entries in the log, about 450 bytes and 8 rows together.
func (b *bench) helmFile(name string, customers int) (string, error) {
	files, err := helmFiles()
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.dir, name)
	db, err := d1.Open(path)
	if err != nil {
		return "", err
	}
	ctx := context.Background()
	for _, f := range files {
		if _, err := db.Query(ctx, f.SQL); err != nil {
			return "", errors.Join(fmt.Errorf("%s: %w", f.Name, err), db.Close())
		}
	}
	const rows = "(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < %d) SELECT n FROM c)"
	series := fmt.Sprintf(rows, customers)
	for _, sql := range []string{
		"INSERT INTO customers (id, name, email, phone) SELECT n, 'Customer ' || n, 'customer' || n || '@example.invalid', '555-' || n FROM " + series,
		"INSERT INTO bikes (id, customer_id, make, model, serial_number) SELECT n, n, 'Maker', 'Model ' || n % 50, 'SN' || n FROM " + series,
		"INSERT INTO work_orders (id, customer_id, bike_id, summary) SELECT n, n, n, 'Squeaks when climbing, and the rear brake rubs' FROM " + series,
		"INSERT INTO work_order_items (work_order_id, product_id, unit_price_cents) SELECT n, 1, 8500 FROM " + series,
		"INSERT INTO sales (id, customer_id, work_order_id) SELECT n, n, n FROM " + series,
		"INSERT INTO sale_items (sale_id, product_id, quantity, unit_price_cents) SELECT n, 1, 1, 8500 FROM " + series,
		"INSERT INTO payments (sale_id, method, amount_cents, stripe_id) SELECT n, 'card', 8500, 'pi_' || hex(randomblob(12)) || n FROM " + series,
		"INSERT INTO audit_log (action, subject, detail) SELECT 'sale', 'sale ' || n, 'paid by card at the counter' FROM " + series,
	} {
		if _, err := db.Query(ctx, sql); err != nil {
			return "", errors.Join(err, db.Close())
		}
	}
	return path, db.Close()
}

// bootstrap measures how a 100 MB file gets into a fresh D1: our one command, against wrangler running the files of the
// same dump one after the other, as the product's own document prescribes. wrangler neither makes the dump nor compares
// anything afterwards, so the first figure is that of the parts alone and the second that of the whole command.
func (b *bench) bootstrap() ([]figure, error) {
	file, err := b.helmFile("helm.sqlite", 150_000)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	theirs, err := b.arena([]string{"swicked"})
	if err != nil {
		return nil, err
	}
	defer theirs.close()
	dir := filepath.Join(b.dir, "migration_dumps")
	if _, _, err := b.time(theirs.repo.Dir, theirs.env, b.program, "d1", "dump", "--from", file, "--out", dir); err != nil {
		return nil, err
	}
	if err := theirs.repo.Checkout(context.Background(), "shops/swicked"); err != nil {
		return nil, err
	}
	parts, err := filepath.Glob(filepath.Join(dir, "*.sql"))
	if err != nil {
		return nil, err
	}
	judge, err := filepath.Abs("../../testdata/judge/node_modules")
	if err != nil {
		return nil, err
	}
	var wrangler time.Duration
	for _, part := range parts {
		took, _, err := b.time(theirs.repo.Dir, theirs.env, filepath.Join(judge, ".bin/node"), filepath.Join(judge, "wrangler/bin/wrangler.js"),
			"d1", "execute", "DB", "--remote", "--env", "swicked", "--yes", "--file", part)
		if err != nil {
			return nil, err
		}
		wrangler += took
	}
	ours, err := b.arena([]string{"swicked"})
	if err != nil {
		return nil, err
	}
	defer ours.close()
	var page struct {
		Bootstrap struct {
			Import time.Duration `json:"import_ns"`
		}
	}
	start := time.Now()
	cmd := exec.Command(b.program, "d1", "bootstrap", "swicked", "--from", file, "--json")
	cmd.Dir, cmd.Env = ours.repo.Dir, ours.env
	text, err := cmd.Output()
	took := time.Since(start)
	if err == nil {
		err = json.Unmarshal(text, &page)
	}
	if err != nil {
		return nil, fmt.Errorf("bootstrapping: %w", err)
	}
	fmt.Fprintf(os.Stderr, "bootstrap-100mb: a file of %d MB, %d parts; wrangler %.1f s for the parts alone, ours %.1f s for the parts, %.1f s with dump and comparison\n",
		info.Size()/1e6, len(parts), wrangler.Seconds(), page.Bootstrap.Import.Seconds(), took.Seconds())
	return []figure{
		{"bootstrap-100mb", wrangler.Seconds() / page.Bootstrap.Import.Seconds(), "times wrangler, the same parts", ">= 3"},
		{"bootstrap-100mb-whole", wrangler.Seconds() / took.Seconds(), "times wrangler, with dump and comparison", ">= 1"},
	}, nil
}

// bootstrapMemory measures what a file of more than a million rows costs in memory.
func (b *bench) bootstrapMemory() ([]figure, error) {
	file, err := b.helmFile("million.sqlite", 130_000)
	if err != nil {
		return nil, err
	}
	a, err := b.arena([]string{"swicked"})
	if err != nil {
		return nil, err
	}
	defer a.close()
	peak, err := b.peak(a.repo.Dir, a.env, b.program, "d1", "bootstrap", "swicked", "--from", file)
	if err != nil {
		return nil, err
	}
	exported, err := b.peak(a.repo.Dir, a.env, b.program, "d1", "export", "swicked", "--out", filepath.Join(b.dir, "million.sql"))
	if err != nil {
		return nil, err
	}
	return []figure{
		{"bootstrap-1m-rows-memory", float64(peak) / 1e6, "MB", "<= 256"},
		{"export-1m-rows-memory", float64(exported) / 1e6, "MB", "<= 256"},
	}, nil
}

// peak runs a program and returns its peak memory in bytes. A process in between starts it: Linux counts what a parent
// holds at the fork into its child's peak, and this process holds a whole account.
func (b *bench) peak(dir string, env []string, program string, args ...string) (int64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, append([]string{program}, args...)...)
	cmd.Dir, cmd.Env = dir, append(env[:len(env):len(env)], "SHOPFLEET_FIGURES=child:peak")
	var out, problems strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, problems.String())
	}
	var peak int64
	_, err = fmt.Sscan(out.String(), &peak)
	return peak, err
}

// peakChild is the process in between.
func peakChild(out io.Writer) error {
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	rss := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	if runtime.GOOS != "darwin" {
		rss *= 1024
	}
	_, err := fmt.Fprintln(out, rss)
	return err
}
