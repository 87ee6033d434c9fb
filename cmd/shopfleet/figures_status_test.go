package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	simgithub "github.com/kvick/shopfleet/internal/sim/github"
)

// status measures where a fleet stands: 500 shops on ten accounts that were deployed, with a journal on GitHub and every
// hostname asked. How many calls it makes is not measured but required: two of each shop's account.
func (b *bench) status() ([]figure, error) {
	a, err := b.fleetOfAccounts()
	if err != nil {
		return nil, err
	}
	defer a.close()
	cmd := exec.Command(b.program, "deploy", "--all", "--json")
	cmd.Dir, cmd.Env = a.repo.Dir, a.env
	start := time.Now()
	if text, err := cmd.Output(); err != nil {
		return nil, fmt.Errorf("deploying the fleet: %w\n%.4000s", err, text)
	}
	fmt.Fprintf(os.Stderr, "status-500: the fleet was deployed in %.0f s\n", time.Since(start).Seconds())
	hub, env, err := a.journal()
	if err != nil {
		return nil, err
	}
	defer hub.Close()
	var took []float64
	for range runs {
		out, err := os.CreateTemp(b.dir, "status-")
		if err != nil {
			return nil, err
		}
		defer out.Close()
		a.world.ForgetRequests()
		hub.ForgetRequests()
		wall, _, err := b.time(a.repo.Dir, env, "sh", "-c", `"$0" status --json --html "$1.html" > "$1"`, b.program, out.Name())
		if err != nil {
			text, _ := os.ReadFile(out.Name())
			return nil, fmt.Errorf("%w\n%.4000s", err, text)
		}
		took = append(took, wall.Seconds())
		if err := a.stands(out.Name(), hub); err != nil {
			return nil, err
		}
	}
	peak, err := b.peak(a.repo.Dir, env, b.program, "status", "--json")
	if err != nil {
		return nil, err
	}
	return []figure{{"status-500", median(took), "s", "<= 5"}, {"status-500-memory", float64(peak) / 1e6, "MB", "<= 150"}}, nil
}

// stands requires that a report speaks of all shops, finds each of them fine, and cost no more calls than it may.
func (a *arena) stands(name string, hub *simgithub.World) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var page struct {
		Exit  int `json:"exit_code"`
		Shops []struct {
			Shop, State, Schema string
			Live                struct {
				Good bool `json:"known_good"`
			}
			Health struct{ OK bool }
			Needs  json.RawMessage
		}
		NotRead []string `json:"not_read"`
	}
	if err := json.Unmarshal(text, &page); err != nil {
		return err
	}
	const all = auditedAccounts * auditedShops
	if page.Exit != 0 || len(page.Shops) != all || len(page.NotRead) > 0 {
		return fmt.Errorf("the status exits with %d and speaks of %d shops; not read: %q", page.Exit, len(page.Shops), page.NotRead)
	}
	for _, s := range page.Shops {
		if s.State != "fine" || !s.Live.Good || !s.Health.OK || s.Schema == "" {
			return fmt.Errorf("%s is %+v: %s", s.Shop, s, s.Needs)
		}
	}
	calls := map[string]int{}
	for _, r := range a.world.Requests() {
		if r.Write && !strings.HasSuffix(r.Path, "/query") && !strings.HasSuffix(r.Path, "/raw") { // a question to D1 is a POST
			return fmt.Errorf("status wrote: %s", r.Op)
		}
		calls[r.Token]++
	}
	for token, n := range calls {
		if n > 2*auditedShops {
			return fmt.Errorf("%s was asked %d times for %d shops; two for each are allowed", token, n, auditedShops)
		}
	}
	n := len(hub.Requests())
	fmt.Fprintf(os.Stderr, "status-500: %d calls of the accounts, %d of GitHub\n", len(a.world.Requests()), n)
	if n > all/20 {
		return fmt.Errorf("GitHub was asked %d times", n)
	}
	return nil
}

// journal makes a GitHub that has the repository, and in it an entry for what is live of every shop, as a deploy writes it.
// The deploy itself would take as long as GitHub lets it: one thing made a second.
func (a *arena) journal() (hub *simgithub.World, env []string, err error) {
	ctx := context.Background()
	if hub, err = simgithub.New(simgithub.Options{Unlimited: true}); err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			hub.Close()
		}
	}()
	if _, err = hub.AddUser("operator", "User"); err != nil {
		return nil, nil, err
	}
	repo, err := hub.Repository("kvick", "helm")
	if err != nil {
		return nil, nil, err
	}
	at, err := hub.Start("")
	if err != nil {
		return nil, nil, err
	}
	if out, err := exec.CommandContext(ctx, "git", "-C", a.repo.Dir, "push", "--quiet", "--force", repo.Dir, "--all").CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("pushing: %w\n%s", err, out)
	}
	token, err := repo.ActionsToken(deployToken)
	if err != nil {
		return nil, nil, err
	}
	post := func(path string, in, out any) error {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.API+"/repos/kvick/helm/deployments"+path, bytes.NewReader(text))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			return fmt.Errorf("GitHub answered %s", resp.Status)
		}
		return json.NewDecoder(resp.Body).Decode(out)
	}
	for i := range auditedAccounts * auditedShops {
		slug := fmt.Sprintf("shop-%03d", i)
		cf := a.unlimited()
		cf.AccountID, cf.Token = fmt.Sprintf("%032x", 0xa00+i/auditedShops), cloudflare.Secret(fmt.Sprintf("sim-token-account-%d", i/auditedShops))
		live, err := (&deploy.Engine{CF: cf}).Live(ctx, "helm-"+slug)
		if err != nil {
			return nil, nil, err
		}
		r := deploy.Release{Shop: slug, Worker: "helm-" + slug, Commit: live.Commit(), Content: live.Mark, VersionID: live.Version, Actor: "operator"}
		payload := map[string]any{"shopfleet": 1, "key": r.Key(), "release": r}
		var made struct{ ID int64 }
		err = post("", map[string]any{"ref": r.Commit, "environment": "shop-" + slug, "task": "shopfleet", "auto_merge": false, "required_contexts": []string{}, "payload": payload}, &made)
		if err != nil {
			return nil, nil, fmt.Errorf("the journal of %s: %w", slug, err)
		}
		for _, state := range []string{"in_progress", "success"} {
			if err := post(fmt.Sprintf("/%d/statuses", made.ID), map[string]any{"state": state}, &struct{}{}); err != nil {
				return nil, nil, fmt.Errorf("the journal of %s: %w", slug, err)
			}
		}
	}
	return hub, append(a.env, "GITHUB_TOKEN="+token, "GITHUB_REPOSITORY=kvick/helm", "GITHUB_API_URL="+at.API), nil
}
