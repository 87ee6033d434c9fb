package main

import (
	"bytes"
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

	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/sim"
)

// figure is one line of `make bench`.
type figure struct {
	name  string
	value float64
	unit  string
	goal  string // such as ">= 20" or "<= 7"
}

// String is name, value, unit, goal and pass or short, separated by tabs.
func (f figure) String() string {
	var op string
	var limit float64
	if _, err := fmt.Sscanf(f.goal, "%s %g", &op, &limit); err != nil {
		panic("figures: reading the goal of " + f.name + ": " + err.Error())
	}
	verdict := "short"
	if op == ">=" && f.value >= limit || op == "<=" && f.value <= limit {
		verdict = "pass"
	}
	return fmt.Sprintf("%s\t%.4g\t%s\t%s\t%s", f.name, f.value, f.unit, f.goal, verdict)
}

// measures are groups of figures that one run yields. A group runs when one of
// its names contains the word of ONLY.
var measures = []struct {
	names []string
	run   func(b *bench) ([]figure, error)
}{
	{[]string{"deploy-binary-size", "deploy-version-start"}, (*bench).binary},
	{[]string{"deploy-first-0ms", "deploy-redeploy-0ms"}, func(b *bench) ([]figure, error) { return b.single(0, 20) }},
	{[]string{"deploy-first-100ms", "deploy-redeploy-100ms", "deploy-first-rounds", "deploy-redeploy-rounds", "deploy-noop-rounds", "deploy-noop-writes"},
		func(b *bench) ([]figure, error) { return b.single(100*time.Millisecond, 5) }},
	{[]string{"fleet-50-shops", "fleet-50-calls", "fleet-50-memory"}, (*bench).fleet},
	{[]string{"action-first-call", "action-github-calls-first", "action-github-calls-change", "action-github-calls-noop"}, (*bench).action},
	{[]string{"audit-500"}, (*bench).audit},
	{[]string{"status-500", "status-500-memory"}, (*bench).status},
	{[]string{"cost-500"}, (*bench).costs},
	{[]string{"rollback-release-100ms", "rollback-rounds", "rollback-whole-100ms", "rollback-ratio-100ms"}, (*bench).rollback},
	{[]string{"onboard-100ms", "onboard-rounds", "onboard-calls"}, (*bench).onboard},
	{[]string{"onboard-50", "onboard-50-calls", "onboard-50-most-calls"}, (*bench).onboardMany},
	{[]string{"rebase-500", "rebase-500-time", "rebase-500-memory", "rebase-500-linear-time", "rebase-500-linear-memory"}, (*bench).rebase},
	{[]string{"rehearse-helm"}, (*bench).rehearse},
	{[]string{"fleet-rehearsal-500", "fleet-rehearsal-500-distinct", "fleet-rehearsal-500-memory"}, (*bench).fleetRehearsal},
	{[]string{"bootstrap-100mb", "bootstrap-100mb-whole"}, (*bench).bootstrap},
	{[]string{"bootstrap-1m-rows-memory", "export-1m-rows-memory"}, (*bench).bootstrapMemory},
}

// figures measures whole processes, ours and wrangler's in turn against worlds
// of their own, and prints medians as ratios: figures of one run compare, those
// of two machines do not.
func figures(only string, out io.Writer) error {
	dir, err := os.MkdirTemp("", "shopfleet-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir}
	if err := b.build(); err != nil {
		return err
	}
	for _, m := range measures {
		if !slices.ContainsFunc(m.names, func(n string) bool { return strings.Contains(n, only) }) {
			continue
		}
		list, err := m.run(b)
		if err != nil {
			return fmt.Errorf("measuring %s: %w", m.names[0], err)
		}
		for _, f := range list {
			if strings.Contains(f.name, only) {
				fmt.Fprintln(out, f)
			}
		}
	}
	return nil
}

type bench struct {
	dir, program string
	count        int
}

// build makes the binary that is released: static and stripped.
func (b *bench) build() error {
	b.program = filepath.Join(b.dir, "shopfleet")
	flags, err := os.ReadFile("../../scripts/build-flags")
	if err != nil {
		return fmt.Errorf("building shopfleet: %w", err)
	}
	args := append([]string{"build", "-trimpath", "-ldflags", "-s -w -X main.version=bench", "-o", b.program}, strings.Fields(string(flags))...)
	cmd := exec.Command("go", append(args, ".")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building shopfleet: %w\n%s", err, text)
	}
	return nil
}

func (b *bench) binary() ([]figure, error) {
	info, err := os.Stat(b.program)
	if err != nil {
		return nil, err
	}
	var walls []float64
	for range 21 {
		took, _, err := b.time(b.dir, nil, b.program, "version")
		if err != nil {
			return nil, err
		}
		walls = append(walls, took.Seconds()*1000)
	}
	return []figure{
		{"deploy-binary-size", float64(info.Size()) / 1e6, "MB", "<= 30"},
		{"deploy-version-start", median(walls[1:]), "ms", "<= 30"},
	}, nil
}

const runs = 3

// single measures one shop with four pending migrations.
func (b *bench) single(latency time.Duration, goal float64) ([]figure, error) {
	var first, redeploy []float64
	var rounds [3]int
	var noopWrites int
	for range runs {
		theirs, err := b.wrangler(latency)
		if err != nil {
			return nil, err
		}
		ours, err := b.shopfleet(latency, &rounds, &noopWrites)
		if err != nil {
			return nil, err
		}
		first = append(first, theirs[0].Seconds()/ours[0].Seconds())
		redeploy = append(redeploy, theirs[1].Seconds()/ours[1].Seconds())
	}
	suffix := fmt.Sprintf("%dms", latency.Milliseconds())
	want := fmt.Sprintf(">= %g", goal)
	out := []figure{
		{"deploy-first-" + suffix, median(first), "times wrangler", want},
		{"deploy-redeploy-" + suffix, median(redeploy), "times wrangler", want},
	}
	if latency > 0 { // without latency calls that are meant to be parallel may not meet
		out = append(out,
			figure{"deploy-first-rounds", float64(rounds[0]), "rounds", "<= 7"},
			figure{"deploy-redeploy-rounds", float64(rounds[1]), "rounds", "<= 7"},
			figure{"deploy-noop-rounds", float64(rounds[2]), "rounds", "<= 2"},
			figure{"deploy-noop-writes", float64(noopWrites), "writes", "<= 0"})
	}
	return out, nil
}

// arena is a world, a repository of shops, and the environment that joins them.
type arena struct {
	overlays map[string]map[string][]byte // files of the shops' branches, by slug
	world    *sim.World
	repo     *git.Repository
	env      []string
}

func (a *arena) close() { a.world.Close() }

// arena makes a fresh world. Its repository holds Helm without required
// secrets, since wrangler is not asked to bring any.
func (b *bench) arena(slugs []string) (*arena, error) {
	ctx := context.Background()
	b.count++
	w, err := sim.New(sim.Options{RateLimit: -1})
	if err != nil {
		return nil, err
	}
	home, err := seed(w)
	if err != nil {
		return nil, err
	}
	account, err := w.Account(home.ID, home.Name)
	if err != nil {
		return nil, err
	}
	main, err := tree(helmMain)
	if err != nil {
		return nil, err
	}
	overlay, err := tree(helmOverlays + "/swicked")
	if err != nil {
		return nil, err
	}
	policy, _, _ := strings.Cut(string(main["fleet.yml"]), "# The secrets bundle")
	_, rest, _ := strings.Cut(string(main["fleet.yml"]), "    - TWILIO_ACCOUNT_SID\n")
	main["fleet.yml"] = []byte(policy + rest)
	if err := askNoCode(main); err != nil {
		return nil, err
	}
	repo, err := git.Init(ctx, filepath.Join(b.dir, fmt.Sprintf("world-%d", b.count)))
	if err != nil {
		return nil, err
	}
	drafts := []git.Draft{{Branch: "main", Message: "helm", Files: main}}
	overlays := map[string]map[string][]byte{}
	for i, slug := range slugs {
		files := overlay
		if slug != "swicked" {
			db, kv := shopIDs(i)
			err := errors.Join(account.AddD1("helm-"+slug+"-db", db, "wnam"), account.AddKV("helm-"+slug+"-kv", kv), account.AddR2("helm-"+slug+"-assets"))
			if err != nil {
				return nil, err
			}
			files = map[string][]byte{"wrangler.jsonc": shopConfig(overlay["wrangler.jsonc"], slug, i)}
		}
		overlays[slug] = files
		drafts = append(drafts, git.Draft{Branch: "shops/" + slug, From: "main", Message: "overlay", Files: files})
	}
	if _, err := repo.Write(ctx, drafts...); err != nil {
		return nil, err
	}
	at, err := w.Start("", "")
	if err != nil {
		return nil, err
	}
	env := []string{
		"CLOUDFLARE_API_BASE_URL=" + at.API, "CLOUDFLARE_API_TOKEN=" + demoToken, "CLOUDFLARE_ACCOUNT_ID=" + home.ID,
		"SHOPFLEET_EDGE_URL=" + at.Edge, "PATH=" + os.Getenv("PATH"), "HOME=" + b.dir,
		"CI=true", "WRANGLER_SEND_METRICS=false", "WRANGLER_HIDE_BANNER=true", "DO_NOT_TRACK=1", "NO_COLOR=1",
	}
	return &arena{world: w, repo: repo, env: env, overlays: overlays}, nil
}

// shopIDs are the ids of the stores of shop number i.
func shopIDs(i int) (db, kv string) {
	return fmt.Sprintf("00000000-0000-4000-8000-%012x", i+1), fmt.Sprintf("%032x", i+1)
}

// shopConfig makes the overlay of another shop from Swicked's.
func shopConfig(overlay []byte, slug string, i int) []byte {
	db, kv := shopIDs(i)
	return []byte(strings.NewReplacer("kvick-helm-swicked", "helm-"+slug+"-db", "134ea8a4-8582-4fdc-84ec-f0eb8f4e4b60", db,
		"a1f0c3d2e4b5968778695a4b3c2d1e0f", kv, "swicked", slug).Replace(string(overlay)))
}

// change changes the code on main, and carries a shop's branch there. Shops that are changed one after the other get the
// same change.
func (a *arena) change(slug string) error {
	ctx := context.Background()
	var code [2][]byte
	for i, name := range []string{"main", "shops/" + slug} {
		branch, err := a.repo.Branch(ctx, name)
		if err != nil {
			return err
		}
		files, err := a.repo.Files(ctx, "src/time.ts", branch.Commit())
		if err != nil {
			return err
		}
		code[i] = files[0].Data
	}
	if bytes.Equal(code[0], code[1]) {
		changed := append(bytes.Clone(code[0]), "\nconsole.log(\"changed\");\n"...)
		if _, err := a.repo.Write(ctx, git.Draft{Branch: "main", Message: "change", Files: map[string][]byte{"src/time.ts": changed}}); err != nil {
			return err
		}
	}
	return a.rebase(slug)
}

// rebase makes a shop's branch anew from main.
func (a *arena) rebase(slug string) error {
	ctx := context.Background()
	if out, err := exec.CommandContext(ctx, "git", "-C", a.repo.Dir, "update-ref", "-d", "refs/heads/shops/"+slug).CombinedOutput(); err != nil {
		return fmt.Errorf("deleting a branch: %w\n%s", err, out)
	}
	_, err := a.repo.Write(ctx, git.Draft{Branch: "shops/" + slug, From: "main", Message: "overlay", Files: a.overlays[slug]})
	return err
}

// hide takes the last four migrations away from main and a shop's branch; restore brings them back.
func (a *arena) hide(slug string) (restore func() error, err error) {
	ctx := context.Background()
	main, err := tree(helmMain)
	if err != nil {
		return nil, err
	}
	files, names := map[string][]byte{}, []string{}
	for name, content := range main {
		if base := filepath.Base(name); strings.HasPrefix(name, "migrations/") && base >= "013" {
			files[name], names = content, append(names, name)
		}
	}
	if _, err = a.repo.Write(ctx, git.Draft{Branch: "main", Message: "hide", Remove: names}); err != nil {
		return nil, err
	}
	return func() error {
		if _, err := a.repo.Write(ctx, git.Draft{Branch: "main", Message: "restore", Files: files}); err != nil {
			return err
		}
		return a.rebase(slug)
	}, a.rebase(slug)
}

// shopfleet measures our first deploy and our redeploy.
func (b *bench) shopfleet(latency time.Duration, rounds *[3]int, noopWrites *int) (took [2]time.Duration, err error) {
	return b.both(latency, func(a *arena, i int) (time.Duration, error) {
		d, _, err := b.time(a.repo.Dir, a.env, b.program, "deploy", "swicked")
		if err != nil {
			return 0, err
		}
		rounds[i] = sim.Rounds(a.world.Requests())
		if i == 1 {
			a.world.ForgetRequests()
			if _, _, err := b.time(a.repo.Dir, a.env, b.program, "deploy", "swicked"); err != nil {
				return 0, err
			}
			rounds[2] = sim.Rounds(a.world.Requests())
			for _, r := range a.world.Requests() {
				if r.Write {
					*noopWrites++
				}
			}
		}
		return d, nil
	})
}

// wrangler measures what a workflow without us does: deploy, then migrate.
func (b *bench) wrangler(latency time.Duration) ([2]time.Duration, error) {
	return b.both(latency, func(a *arena, _ int) (time.Duration, error) {
		if err := a.repo.Checkout(context.Background(), "shops/swicked"); err != nil {
			return 0, err
		}
		return b.wranglerDeploy(a, "swicked")
	})
}

func (b *bench) wranglerDeploy(a *arena, slug string) (time.Duration, error) {
	judge, err := filepath.Abs("../../testdata/judge/node_modules")
	if err != nil {
		return 0, err
	}
	node, cli := filepath.Join(judge, ".bin/node"), filepath.Join(judge, "wrangler/bin/wrangler.js")
	first, _, err := b.time(a.repo.Dir, a.env, node, cli, "deploy", "--env", slug)
	if err != nil {
		return 0, err
	}
	second, _, err := b.time(a.repo.Dir, a.env, node, cli, "d1", "migrations", "apply", "DB", "--remote", "--env", slug)
	return first + second, err
}

// both runs a first deploy and a redeploy in a fresh world each. In both the
// database is four migrations behind.
func (b *bench) both(latency time.Duration, run func(a *arena, i int) (time.Duration, error)) (took [2]time.Duration, err error) {
	for i := range took {
		a, err := b.arena([]string{"swicked"})
		if err != nil {
			return took, err
		}
		defer a.close()
		restore, err := a.hide("swicked")
		if err != nil {
			return took, err
		}
		if _, _, err := b.time(a.repo.Dir, a.env, b.program, "deploy", "swicked"); err != nil {
			return took, err
		}
		if i == 0 {
			// The stores are as they were, the Worker is not there yet.
			if err := b.deleteWorker(a); err != nil {
				return took, err
			}
		}
		if err := errors.Join(restore(), a.change("swicked")); err != nil {
			return took, err
		}
		a.world.SetLatency(latency)
		a.world.ForgetRequests()
		if took[i], err = run(a, i); err != nil {
			return took, err
		}
	}
	return took, nil
}

func (b *bench) deleteWorker(a *arena) error {
	judge, err := filepath.Abs("../../testdata/judge/node_modules")
	if err != nil {
		return err
	}
	_, _, err = b.time(a.repo.Dir, a.env, filepath.Join(judge, ".bin/node"), filepath.Join(judge, "wrangler/bin/wrangler.js"),
		"delete", "--name", "helm-swicked", "--force")
	return err
}

// fleet measures one code change that goes to fifty shops in their steady
// state: the release after a Worker's first upload also sets workers.dev, once,
// so every shop has had two releases before.
func (b *bench) fleet() ([]figure, error) {
	const shops, sample = 50, 3
	slugs := make([]string, shops)
	for i := range slugs {
		slugs[i] = fmt.Sprintf("shop-%02d", i)
	}
	a, err := b.arena(slugs)
	if err != nil {
		return nil, err
	}
	defer a.close()
	for range 2 {
		if _, _, err := b.time(a.repo.Dir, a.env, b.program, "deploy", "--all"); err != nil {
			return nil, err
		}
		for _, slug := range slugs {
			if err := a.change(slug); err != nil {
				return nil, err
			}
		}
	}
	a.world.SetLatency(50 * time.Millisecond)
	a.world.ForgetRequests()
	ours, rss, err := b.time(a.repo.Dir, a.env, b.program, "deploy", "--all")
	if err != nil {
		return nil, err
	}
	calls := len(a.world.Requests())
	var theirs time.Duration
	for _, slug := range slugs[:sample] {
		if err := errors.Join(a.change(slug), a.repo.Checkout(context.Background(), "shops/"+slug)); err != nil {
			return nil, err
		}
		d, err := b.wranglerDeploy(a, slug)
		if err != nil {
			return nil, err
		}
		theirs += d
	}
	loop := theirs.Seconds() / sample * shops
	fmt.Fprintf(os.Stderr, "fleet-50-shops: ours %.2f s; the wrangler loop was measured on %d shops (%.2f s) and multiplied to %d (%.0f s)\n",
		ours.Seconds(), sample, theirs.Seconds(), shops, loop)
	return []figure{
		{"fleet-50-shops", loop / ours.Seconds(), "times a wrangler loop", ">= 50"},
		{"fleet-50-calls", float64(calls) / shops, "calls a shop", "<= 8"},
		{"fleet-50-memory", float64(rss) / 1e6, "MB", "<= 200"},
	}, nil
}

// time runs a program as a person would and returns its wall time and its
// peak memory in bytes.
func (b *bench) time(dir string, env []string, program string, args ...string) (time.Duration, int64, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = dir, env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if err != nil {
		return 0, 0, fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, out.String())
	}
	var rss int64
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		rss = usage.Maxrss
		if runtime.GOOS != "darwin" {
			rss *= 1024 // Linux counts in KiB, macOS in bytes (getrusage(2))
		}
	}
	return took, rss, nil
}

func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	return s[len(s)/2]
}
