package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	simgithub "github.com/kvick/shopfleet/internal/sim/github"
)

// action measures the step of a push: how long after the start of its process the first call reaches an API, and how many
// calls a deploy makes of GitHub: the first of a shop, one that replaces a release, and one that changes nothing.
func (b *bench) action() ([]figure, error) {
	ctx := context.Background()
	a, err := b.arena([]string{"swicked"})
	if err != nil {
		return nil, err
	}
	defer a.close()
	hub, err := simgithub.New(simgithub.Options{Unlimited: true})
	if err != nil {
		return nil, err
	}
	defer hub.Close()
	if _, err := hub.AddUser("operator", "User"); err != nil {
		return nil, err
	}
	repo, err := hub.Repository("kvick", "helm")
	if err != nil {
		return nil, err
	}
	at, err := hub.Start("")
	if err != nil {
		return nil, err
	}
	step := func() (first time.Duration, calls int, err error) {
		push := exec.CommandContext(ctx, "git", "-C", a.repo.Dir, "push", "--quiet", "--force", repo.Dir, "main", "shops/swicked")
		if out, err := push.CombinedOutput(); err != nil {
			return 0, 0, fmt.Errorf("pushing: %w\n%s", err, out)
		}
		branch, err := a.repo.Branch(ctx, "shops/swicked")
		if err != nil {
			return 0, 0, err
		}
		token, err := repo.ActionsToken(deployToken)
		if err != nil {
			return 0, 0, err
		}
		event := filepath.Join(b.dir, "event.json")
		payload, err := json.Marshal(map[string]any{"ref": "refs/heads/shops/swicked", "after": branch.Commit()})
		if err != nil {
			return 0, 0, err
		}
		if err := os.WriteFile(event, payload, 0o600); err != nil {
			return 0, 0, err
		}
		env := append([]string{
			"GITHUB_ACTIONS=true", "GITHUB_EVENT_NAME=push", "GITHUB_REF=refs/heads/shops/swicked", "GITHUB_REF_NAME=shops/swicked",
			"GITHUB_SHA=" + branch.Commit(), "GITHUB_EVENT_PATH=" + event, "GITHUB_REPOSITORY=kvick/helm", "GITHUB_RUN_ID=1",
			"GITHUB_API_URL=" + at.API, "GITHUB_SERVER_URL=https://github.com", "GITHUB_ACTOR=operator",
			"GITHUB_OUTPUT=" + filepath.Join(b.dir, "output"), "GITHUB_STEP_SUMMARY=" + filepath.Join(b.dir, "summary"),
			"INPUT_GITHUB-TOKEN=" + token, "INPUT_COMMAND=deploy",
		}, a.env...)
		for _, name := range []string{"output", "summary"} {
			if err := os.WriteFile(filepath.Join(b.dir, name), nil, 0o600); err != nil {
				return 0, 0, err
			}
		}
		hub.ForgetRequests()
		a.world.ForgetRequests()
		began := time.Now()
		if _, _, err := b.time(a.repo.Dir, env, b.program, "action"); err != nil {
			return 0, 0, err
		}
		reached := hub.Requests()[0].At
		if other := a.world.Requests()[0].Started; other.Before(reached) {
			reached = other
		}
		return reached.Sub(began), len(hub.Requests()), nil
	}
	var waits []float64
	var counts [3]int
	for i := range 15 {
		if i > 0 && i%2 == 1 {
			if err := a.change("swicked"); err != nil {
				return nil, err
			}
		}
		first, calls, err := step()
		if err != nil {
			return nil, err
		}
		waits = append(waits, first.Seconds()*1000)
		kind := 0
		if i > 0 {
			kind = 2 - i%2
		}
		counts[kind] = max(counts[kind], calls)
	}
	return []figure{
		{"action-first-call", median(waits), "ms", "<= 60"},
		{"action-github-calls-first", float64(counts[0]), "calls", "<= 6"},
		{"action-github-calls-change", float64(counts[1]), "calls", "<= 7"}, // one of them asks for holds,
		{"action-github-calls-noop", float64(counts[2]), "calls", "<= 6"},
	}, nil
}
