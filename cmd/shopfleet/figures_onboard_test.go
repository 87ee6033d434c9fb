package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/sim"
	simgithub "github.com/kvick/shopfleet/internal/sim/github"
)

// onboard measures a new shop from the start of the process to its end, with 100 ms for each call to Cloudflare and to
// GitHub: seconds, and how many calls to Cloudflare had to wait for one another.
func (b *bench) onboard() ([]figure, error) {
	var seconds []float64
	rounds, calls := 0, 0
	for range runs {
		a, gh, hub, done, err := b.unborn()
		if err != nil {
			return nil, err
		}
		if _, err := hub.Fault(simgithub.Rule{Count: -1, Delay: 100 * time.Millisecond}); err != nil {
			done()
			return nil, err
		}
		a.world.SetLatency(100 * time.Millisecond)
		a.world.ForgetRequests()
		took, _, err := b.time(a.repo.Dir, append(gh, a.env...), b.program, "onboard", "mikes", "--name", "Mike's Bikes")
		if err == nil && os.Getenv("SHOPFLEET_FIGURES_CALLS") != "" {
			start := a.world.Requests()[0].Started
			for _, r := range a.world.Requests() {
				fmt.Fprintf(os.Stderr, "%6d %6d ms %s %s\n", r.Started.Sub(start).Milliseconds(), r.Ended.Sub(start).Milliseconds(), r.Method, r.Path)
			}
		}
		seconds = append(seconds, took.Seconds())
		rounds, calls = max(rounds, sim.Rounds(a.world.Requests())), max(calls, len(a.world.Requests()))
		done()
		if err != nil {
			return nil, err
		}
	}
	return []figure{
		{"onboard-100ms", median(seconds), "s", "<= 5"},
		{"onboard-rounds", float64(rounds), "rounds", "<= 12"},
		{"onboard-calls", float64(calls), "calls", "<= 60"},
	}, nil
}

// onboardMany makes fifty shops in one run with one token: it has to stay inside what a token may do in five minutes.
func (b *bench) onboardMany() ([]figure, error) {
	const shops = 50
	a, gh, _, done, err := b.unborn()
	if err != nil {
		return nil, err
	}
	defer done()
	var lines strings.Builder
	for i := range shops {
		fmt.Fprintf(&lines, "{\"shop\": \"new-%02d\"}\n", i)
	}
	batch := filepath.Join(b.dir, "batch.jsonl")
	if err := os.WriteFile(batch, []byte(lines.String()), 0o600); err != nil {
		return nil, err
	}
	a.world.ForgetRequests()
	took, _, err := b.time(a.repo.Dir, append(gh, a.env...), b.program, "onboard", "--batch", batch)
	if err != nil {
		return nil, err
	}
	list := a.world.Requests()
	most := 0
	for i := range list {
		in := 0
		for _, r := range list[i:] {
			if r.Started.Sub(list[i].Started) < 5*time.Minute {
				in++
			}
		}
		most = max(most, in)
	}
	return []figure{
		{"onboard-50-most-calls", float64(most), "calls in 5 minutes", "<= 1200"},
		{"onboard-50-calls", float64(len(list)) / shops, "calls a shop", "<= 45"},
		{"onboard-50", took.Seconds(), "s", "<= 900"},
	}, nil
}

// unborn is a world and a GitHub with a product of one shop, room for more, and the environment of who may make them.
func (b *bench) unborn() (a *arena, env []string, hub *simgithub.World, done func(), err error) {
	ctx := context.Background()
	if a, err = b.arena([]string{"swicked"}); err != nil {
		return nil, nil, nil, nil, err
	}
	if hub, err = simgithub.New(simgithub.Options{Unlimited: true}); err != nil {
		return nil, nil, nil, nil, err
	}
	done = func() { a.close(); hub.Close() }
	if _, err := hub.AddUser("operator", "User"); err != nil {
		return nil, nil, nil, nil, err
	}
	repo, err := hub.Repository("kvick", "helm")
	if err != nil {
		return nil, nil, nil, nil, err
	}
	if err := repo.SetPermission("operator", "admin"); err != nil {
		return nil, nil, nil, nil, err
	}
	if err := hub.AddToken("operators-token", "operator"); err != nil {
		return nil, nil, nil, nil, err
	}
	at, err := hub.Start("")
	if err != nil {
		return nil, nil, nil, nil, err
	}
	main, err := a.repo.Branch(ctx, "main")
	if err != nil {
		return nil, nil, nil, nil, err
	}
	files, err := a.repo.Files(ctx, "fleet.yml", main.Commit())
	if err != nil {
		return nil, nil, nil, nil, err
	}
	roomy := bytes.Replace(files[0].Data, []byte("max_shops: 50"), []byte("max_shops: 80"), 1) // fifty besides those that are there
	if _, err := a.repo.Write(ctx, git.Draft{Branch: "main", Message: "room", Files: map[string][]byte{"fleet.yml": roomy}}); err != nil {
		return nil, nil, nil, nil, err
	}
	push := exec.CommandContext(ctx, "git", "-C", a.repo.Dir, "push", "--quiet", "--force", repo.Dir, "main", "shops/swicked")
	if out, err := push.CombinedOutput(); err != nil {
		return nil, nil, nil, nil, fmt.Errorf("pushing: %w\n%s", err, out)
	}
	env = []string{"GITHUB_REPOSITORY=kvick/helm", "GITHUB_API_URL=" + at.API, "GITHUB_SERVER_URL=" + at.Git, "GITHUB_TOKEN=operators-token"}
	return a, env, hub, done, nil
}
