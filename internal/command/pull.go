package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/report"
)

// planPull plans what merging a pull request would change: the shop whose branch it goes to, or every shop when it goes
// to main. What the workflow checked out is the merge that GitHub made; a shop then gets the merge of its branch with
// that. The pages go to a check run, and to one comment where a person has something to decide.
func (d *Door) planPull(ctx context.Context, f deployFlags) (err error) {
	w := d.workflow
	c, err := d.open(ctx, f.policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	slug, toShop := c.policy.Slug(w.pull.Base.Ref)
	slugs := []string{slug}
	foreign := map[string]error{}
	switch {
	case toShop:
	case w.pull.Base.Ref == f.policy.main:
		if slugs, err = c.choose(ctx, nil, true); err != nil {
			return err
		}
		now := c.policy
		if c.policy, err = c.readPolicy(ctx, f.policy, w.context.SHA); err != nil {
			return err
		}
		if c.policy, err = placed(ctx, c.repo, c.policy, c.tipsByName()); err != nil {
			return err
		}
		foreign = c.movedAccounts(now, slugs)
	default:
		w.results = append(w.results, because("", statusSkipped, []deploy.Finding{{
			Rule: "nothing-to-plan", Level: deploy.LevelNotice,
			Message: fmt.Sprintf("the pull request goes to %s, which is neither %s nor a shop's branch", w.pull.Base.Ref, f.policy.main),
		}}))
		return nil
	}
	f.offline = f.offline || w.stranger()
	// No plan depends on it, it is a call for each shop, and a workflow's token has a thousand an hour.
	f.unread = !toShop
	own := slices.DeleteFunc(slices.Clone(slugs), func(s string) bool { return foreign[s] != nil })
	at, err := d.site(ctx, c, own, f)
	if err != nil {
		return err
	}
	var sources map[string]deploy.Source
	var problems map[string]error
	if toShop {
		sources, problems = c.sourcesAt(ctx, slugs, map[string]string{slug: w.context.SHA})
	} else if sources, problems, err = c.mergedWith(ctx, own, w.context.SHA); err != nil {
		return err
	}
	maps.Copy(problems, foreign)
	results, rehearsed := at.work(ctx, slugs, sources, problems), at.rehearsals.Distinct()
	printed := d.results(results, rehearsed, false)
	if !f.offline {
		name := "shopfleet plan: " + f.policy.main
		if toShop {
			name = planCheck(slug)
		}
		if err := d.showPlans(ctx, at.github, c.policy, name, results); err != nil {
			return err
		}
	}
	return printed
}

// movedAccounts are the shops whose account the pull request changes, with what to say of them. A plan sends the account's
// token to the account, and which variable is a token is not the pull request's to say before it is merged.
func (c *checkout) movedAccounts(now *fleet.Policy, slugs []string) map[string]error {
	type account struct{ id, token string }
	known := map[account]bool{}
	for _, a := range now.Accounts {
		known[account{a.ID, a.Token}] = true
	}
	out := map[string]error{}
	for _, slug := range slugs {
		shop, err := c.policy.Shop(slug)
		if err == nil && !known[account{shop.Account.ID, shop.Account.Token}] {
			out[slug] = deploy.Findings{{
				Rule: "account-not-on-main", Level: deploy.LevelWarning,
				Message: fmt.Sprintf("shop %s would be on account %s, which the fleet policy on the main branch does not have with this id and token", slug, shop.Account.Name),
				Hint:    "merge the account first; no plan can be made for the shop now",
			}}
		}
	}
	return out
}

// mergedWith makes the source of every shop as it would be with commit for its main.
func (c *checkout) mergedWith(ctx context.Context, slugs []string, commit string) (map[string]deploy.Source, map[string]error, error) {
	dir, err := c.room()
	if err != nil {
		return nil, nil, err
	}
	if c.objects, err = c.repo.Scratch(ctx, filepath.Join(dir, "merges.git")); err != nil {
		return nil, nil, err
	}
	c.main = commit
	tips := c.tipsByName()
	merged := make([]string, len(slugs))
	failed := make([]error, len(slugs))
	var group errgroup.Group
	group.SetLimit(gitProcesses)
	for i, slug := range slugs {
		group.Go(func() error {
			shop, err := c.policy.Shop(slug)
			if err == nil {
				if merged[i], err = c.objects.Merge(ctx, tips[shop.Branch], commit); err != nil && !errors.As(err, new(*git.ConflictError)) {
					_, why := c.repo.MergeBase(ctx, tips[shop.Branch], commit) // git's own words do not say
					err = cmp.Or(why, err)
				}
			}
			failed[i] = err
			return nil // one shop's conflict is that shop's
		})
	}
	_ = group.Wait()
	at := map[string]string{}
	early := map[string]error{}
	var clean []string
	for i, slug := range slugs {
		var conflict *git.ConflictError
		var unrelated *git.UnrelatedError
		switch {
		case errors.As(failed[i], &conflict):
			early[slug] = deploy.Findings{{
				Rule: "merge-conflict", Level: deploy.LevelWarning, File: conflict.Paths[0],
				Message: fmt.Sprintf("%s and the pull request both changed %s", tipName(c.policy, slug), strings.Join(conflict.Paths, ", ")),
				Hint:    "the shop keeps its release until somebody resolves this; no plan can be made for it now",
			}}
		case errors.As(failed[i], &unrelated) && !unrelated.Shallow:
			early[slug] = deploy.Findings{{
				Rule: "history-unrelated", Level: deploy.LevelWarning,
				Message: fmt.Sprintf("%s and main have no commit in common", tipName(c.policy, slug)),
				Hint:    "the shop can be neither planned nor deployed: make its branch anew from main",
			}}
		case failed[i] != nil:
			early[slug] = failed[i]
		default:
			at[slug], clean = merged[i], append(clean, slug)
		}
	}
	sources, problems := c.sourcesAt(ctx, clean, at)
	for slug, err := range early {
		problems[slug] = err
	}
	return sources, problems, nil
}

func tipName(p *fleet.Policy, slug string) string {
	if shop, err := p.Shop(slug); err == nil {
		return shop.Branch
	}
	return slug
}

// distinct is a plan, and all shops whose plans are the same but for their names.
type distinct struct {
	result shopResult
	shops  []string
}

// distinctPlans groups results in order. Only results that are equal word by word, once each shop's own names are
// replaced, share a page.
func distinctPlans(p *fleet.Policy, list []shopResult) []distinct {
	var out []distinct
	at := map[string]int{}
	for _, r := range list {
		key := shape(p, r)
		i, ok := at[key]
		if !ok {
			i = len(out)
			at[key] = i
			out = append(out, distinct{result: r})
		}
		out[i].shops = append(out[i].shops, r.Shop)
	}
	// What needs a person comes first.
	sort.SliceStable(out, func(i, j int) bool { return urgency(out[i].result) < urgency(out[j].result) })
	return out
}

func urgency(r shopResult) int {
	switch {
	case r.exit() != ExitDone:
		return 0
	case needsPerson(r):
		return 1
	case r.Plan != nil && r.Plan.Changes():
		return 2
	}
	return 3
}

// shape is a result without what every shop has of its own.
func shape(p *fleet.Policy, r shopResult) string {
	type line struct {
		Action deploy.Action
		Text   string
	}
	var view struct {
		Status, Error, Journal string
		Steps                  []line
		Migrations             []deploy.MigrationPlan
		Findings               []deploy.Finding
	}
	view.Status, view.Error, view.Findings = r.Status, r.Error, r.found()
	if r.Plan != nil {
		view.Migrations = r.Plan.Migrations
		for _, s := range r.Plan.Steps {
			if s.Action == deploy.ActionRelease || s.Action == deploy.ActionPut {
				s.Before = nil // the id of a version
			}
			view.Steps = append(view.Steps, line{s.Action, s.String()})
		}
	}
	text, err := json.Marshal(view)
	if err != nil {
		// Strings all the way down; Marshal has no way to fail on them.
		panic("command: encoding a result: " + err.Error())
	}
	shop, err := p.Shop(r.Shop)
	if err != nil {
		return string(text)
	}
	// Each kind of name has a placeholder of its own: a plan that takes away one hostname is not like one that takes another.
	names := [][2]string{
		{shop.Hostname, "hostname"}, {shop.D1, "d1"}, {shop.R2, "r2"}, {shop.KV, "kv"}, {shop.Worker, "worker"}, {shop.Branch, "branch"},
		{"env." + shop.Slug, "env"}, {"shop " + shop.Slug, "shop"},
	}
	for i, h := range shop.Hostnames {
		names = append(names, [2]string{h, fmt.Sprint("hostname ", i)})
	}
	sort.SliceStable(names, func(i, j int) bool { return len(names[j][0]) < len(names[i][0]) })
	var pairs []string
	for _, n := range names {
		if n[0] != "" {
			pairs = append(pairs, n[0], "\x00"+n[1]+"\x00")
		}
	}
	return strings.NewReplacer(pairs...).Replace(string(text))
}

// needsPerson says whether somebody should look before this goes out: findings, data that may go, a hostname that goes.
func needsPerson(r shopResult) bool {
	if r.exit() != ExitDone {
		return true
	}
	for _, f := range r.found() {
		if f.Level != deploy.LevelNotice {
			return true
		}
	}
	if r.Plan == nil {
		return false
	}
	return r.Plan.Has(deploy.ActionDetach) || slices.ContainsFunc(r.Plan.Migrations, func(m deploy.MigrationPlan) bool { return m.Reason != "" })
}

// planCheck is the name of the check run of a shop's plan.
func planCheck(slug string) string { return strings.ReplaceAll(fleet.PlanCheck, "{slug}", slug) }

// planMarker finds the comment again.
const planMarker = "<!-- shopfleet:plan -->"

// showPlans writes the plans' page to a check run of the pull request's head, and to a comment when a person should look.
func (d *Door) showPlans(ctx context.Context, client *github.Client, policy *fleet.Policy, name string, list []shopResult) error {
	if client == nil {
		return Usage(errors.New("no token to write the check run with"), "give the action github-token, with permissions checks: write, deployments: read and pull-requests: write")
	}
	w := d.workflow
	groups := distinctPlans(policy, list)
	page := plansPage(groups)
	run := github.CheckRun{
		Name: name, HeadSHA: w.pull.Head.SHA, ExternalID: fmt.Sprintf("plan %d %s", w.pull.Number, name), DetailsURL: d.runURL(),
		Conclusion: "success", Title: plansTitle(list), Summary: page, Annotations: annotations(list), Completed: d.Now(),
	}
	if gravest(list) != ExitDone {
		run.Conclusion = "failure"
	}
	checkURL, err := client.PutCheckRun(ctx, run)
	if err != nil {
		return fmt.Errorf("writing the check run: %w", err)
	}
	needs := slices.DeleteFunc(slices.Clone(groups), func(g distinct) bool { return !needsPerson(g.result) })
	body := planMarker + "\n**shopfleet**: nothing is left to decide. [All plans](" + checkURL + ")\n"
	if len(needs) > 0 {
		body = planMarker + "\n**shopfleet**: please look at this before it is merged. [All plans](" + checkURL + ")\n\n" + plansPage(needs)
	}
	if _, err := client.PutComment(ctx, w.pull.Number, planMarker, body, len(needs) > 0); err != nil {
		return fmt.Errorf("writing the comment: %w", err)
	}
	return nil
}

func plansTitle(list []shopResult) string {
	counts := map[string]int{}
	changed := 0
	for _, r := range list {
		counts[r.Status]++
		if r.Plan != nil && r.Plan.Changes() {
			changed++
		}
	}
	title := fmt.Sprintf("%d of %s would change", changed, counted(len(list), "shop"))
	for _, status := range []string{statusFindings, statusFailed, statusSkipped} {
		if n := counts[status]; n > 0 {
			title += fmt.Sprintf(", %d %s", n, status)
		}
	}
	return title
}

// plansPage shows each plan once, with the shops that it is for.
func plansPage(groups []distinct) string {
	var b strings.Builder
	for _, g := range groups {
		fmt.Fprintf(&b, "### %s %s\n\n", icon(g.result), heading(g))
		if len(g.shops) > 1 {
			fmt.Fprintf(&b, "<details><summary>shops</summary>\n\n%s\n\n</details>\n\n", report.Code(strings.Join(g.shops, ", ")))
		}
		b.WriteString(resultPage(g.result) + "\n")
	}
	return b.String()
}

func heading(g distinct) string {
	if len(g.shops) == 1 {
		return report.Code(g.shops[0]) + ": " + g.result.Status
	}
	return fmt.Sprintf("%s as %s: %s", counted(len(g.shops), "shop"), report.Code(g.shops[0]), g.result.Status)
}
