package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/sim"
	simgithub "github.com/kvick/shopfleet/internal/sim/github"
)

// rollback measures how long a shop takes to go back, from the start of the process to the release and to its end, with
// 100 ms for each call to Cloudflare and to GitHub; until it releases beside wrangler until it does, which asks for nothing but the deployments.
func (b *bench) rollback() ([]figure, error) {
	const latency = 100 * time.Millisecond
	var release, whole, ratio []float64
	rounds := 0
	for range runs {
		a, gh, done, err := b.landed()
		if err != nil {
			return nil, err
		}
		defer done()
		a.world.SetLatency(latency)
		a.world.ForgetRequests()
		began := time.Now()
		ours, _, err := b.time(a.repo.Dir, append(gh, a.env...), b.program, "rollback", "swicked")
		if err != nil {
			return nil, err
		}
		mine, before, err := released(a, began)
		if err != nil {
			return nil, err
		}
		release, whole, rounds = append(release, mine.Seconds()), append(whole, ours.Seconds()), max(rounds, sim.Rounds(before))

		a.world.ForgetRequests()
		began = time.Now()
		if err := b.wranglerRollback(a); err != nil {
			return nil, err
		}
		theirs, _, err := released(a, began)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "rollback: ours released after %.2f s and ended after %.2f s, wrangler released after %.2f s\n", mine.Seconds(), ours.Seconds(), theirs.Seconds())
		ratio = append(ratio, theirs.Seconds()/mine.Seconds())
	}
	return []figure{
		{"rollback-release-100ms", median(release), "s", "<= 1"},
		{"rollback-rounds", float64(rounds), "rounds to the release", "<= 4"},
		{"rollback-whole-100ms", median(whole), "s", "<= 5"}, // it looks once more after 2.5 s, so that a deploy which came in between is told of
		{"rollback-ratio-100ms", median(ratio), "times wrangler", ">= 1"},
	}, nil
}

// released is how long after a moment the traffic changed hands, and the calls until then.
func released(a *arena, began time.Time) (took time.Duration, before []sim.Request, err error) {
	requests := a.world.Requests()
	for i, r := range requests {
		if r.Method == "POST" && strings.HasSuffix(r.Path, "/deployments") {
			return r.Ended.Sub(began), requests[:i+1], nil
		}
	}
	return 0, nil, fmt.Errorf("nothing was released")
}

// landed is a shop with two releases in a journal, and the environment that joins it to its GitHub.
func (b *bench) landed() (a *arena, env []string, done func(), err error) {
	ctx := context.Background()
	if a, err = b.arena([]string{"swicked"}); err != nil {
		return nil, nil, nil, err
	}
	hub, err := simgithub.New(simgithub.Options{Unlimited: true})
	if err != nil {
		return nil, nil, nil, err
	}
	done = func() { a.close(); hub.Close() }
	if _, err := hub.AddUser("operator", "User"); err != nil {
		return nil, nil, nil, err
	}
	repo, err := hub.Repository("kvick", "helm")
	if err != nil {
		return nil, nil, nil, err
	}
	if err := repo.SetPermission("operator", "admin"); err != nil {
		return nil, nil, nil, err
	}
	if err := hub.AddToken("operators-token", "operator"); err != nil {
		return nil, nil, nil, err
	}
	at, err := hub.Start("")
	if err != nil {
		return nil, nil, nil, err
	}
	env = []string{"GITHUB_REPOSITORY=kvick/helm", "GITHUB_API_URL=" + at.API, "GITHUB_TOKEN=operators-token"}
	for i := range 3 { // the release after a Worker's first upload also sets workers.dev, once
		if i > 0 {
			if err := a.change("swicked"); err != nil {
				return nil, nil, nil, err
			}
		}
		push := exec.CommandContext(ctx, "git", "-C", a.repo.Dir, "push", "--quiet", "--force", repo.Dir, "main", "shops/swicked")
		if out, err := push.CombinedOutput(); err != nil {
			return nil, nil, nil, fmt.Errorf("pushing: %w\n%s", err, out)
		}
		if _, _, err := b.time(a.repo.Dir, append(env, a.env...), b.program, "deploy", "swicked"); err != nil {
			return nil, nil, nil, err
		}
	}
	if _, err := hub.Fault(simgithub.Rule{Count: -1, Delay: 100 * time.Millisecond}); err != nil {
		return nil, nil, nil, err
	}
	return a, env, done, nil
}

// wranglerRollback has wrangler release an older version; which one it takes is its own choice.
func (b *bench) wranglerRollback(a *arena) error {
	judge, err := filepath.Abs("../../testdata/judge/node_modules")
	if err != nil {
		return err
	}
	if err := a.repo.Checkout(context.Background(), "shops/swicked"); err != nil {
		return err
	}
	_, _, err = b.time(a.repo.Dir, a.env, filepath.Join(judge, ".bin/node"), filepath.Join(judge, "wrangler/bin/wrangler.js"),
		"rollback", "--env", "swicked", "--message", "measured", "--yes")
	return err
}
