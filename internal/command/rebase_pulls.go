package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/rebase"
	"github.com/kvick/shopfleet/internal/report"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// rebaseMarker is the first line of a rebase pull request, fleetMarker that of the fleet's issue.
const (
	rebaseMarker = "<!-- shopfleet:pull -->"
	fleetMarker  = rebase.IssueMarker
)

// openPulls lists the open pull requests: those from a rebase branch to its shop's branch, and others that go to one. A shop
// whose branch was not fetched has none: it is no shop by the policy, or came later.
func (r *rebasing) openPulls(ctx context.Context) (map[string]github.PullRequest, error) {
	list, err := r.hub.Pulls(ctx, "open")
	if err != nil {
		return nil, fmt.Errorf("listing the pull requests: %w", err)
	}
	r.listed = list
	out := map[string]github.PullRequest{}
	for _, p := range list {
		slug, ok := r.c.policy.Slug(p.Base.Ref)
		if !ok || !slices.ContainsFunc(r.all, func(b rebase.Branch) bool { return b.Shop.Slug == slug }) {
			continue
		}
		if !p.Fork && p.Head.Ref == rebase.HeadBranch(slug) {
			out[slug] = p
		} else {
			r.others = append(r.others, p)
		}
	}
	return out, nil
}

// labelled says whether a shop's open pull request has a label.
func (r *rebasing) labelled(slug, label string) bool { return hasLabel(r.pulls[slug], label) }

// hasLabel looks for a label. GitHub has one for all spellings in upper and lower case, and shows that of whom made it.
func hasLabel(p github.PullRequest, label string) bool {
	return slices.ContainsFunc(p.Labels, func(l string) bool { return strings.EqualFold(l, label) })
}

// wantsPull says whether there should be a pull request for a move.
func (r *rebasing) wantsPull(m *rebase.Move) bool {
	if m.Settled() || m.To == "" && m.Kept == "" {
		return false
	}
	_, open := r.pulls[m.Slug]
	return open || m.Decision(r.c.policy.Rebase.Replay) != "" || r.c.policy.Rebase.Land != fleet.LandSilent
}

// publish brings the pull requests up to date, the most urgent first. One that cannot be made does not keep the others from
// it; a rate limit that ends too late does, and the same command again goes on where this one stopped.
// only narrows it down to some shops; nil is all.
func (r *rebasing) publish(ctx context.Context, only []string) error {
	if only != nil && len(only) == 0 {
		return nil
	}
	var wanted []*rebase.Move
	for i := range r.moves {
		m := &r.moves[i]
		switch pull, open := r.pulls[m.Slug]; {
		case only != nil && !slices.Contains(only, m.Slug):
		case r.labelled(m.Slug, labelManual), r.refused[m.Slug]:
		case r.wantsPull(m):
			wanted = append(wanted, m)
		case open && m.Settled():
			if err := r.closePull(ctx, m.Slug, pull, settledText(r.branch(m.Slug).Shop.Branch, m)); err != nil {
				return err
			}
		}
	}
	sort.SliceStable(wanted, func(i, j int) bool { return wanted[j].State.Gravity() < wanted[i].State.Gravity() })
	plans := r.plans(ctx, wanted)
	pages, err := r.pages(ctx, wanted, plans)
	if err != nil {
		return err
	}
	for n, m := range wanted {
		if err := ctx.Err(); err != nil {
			return err
		}
		fmt.Fprintf(r.door.Stderr, "pull request %d of %d: %s\n", n+1, len(wanted), report.Clean(m.Slug))
		shop := r.branch(m.Slug).Shop
		pull, err := r.hub.PutPull(ctx, github.NewPull{
			Head: rebase.HeadBranch(m.Slug), Base: shop.Branch, Marker: rebaseMarker,
			Title: report.RebaseTitle(m), Body: shownLine(cmp.Or(m.To, m.From)) + "\n" + report.RebasePull(pages[m.Slug]),
			Open: r.listed,
		})
		var limited *github.RateLimitError
		if errors.As(err, &limited) {
			return fmt.Errorf("%d of %d pull requests are up to date, run the same command again for the others: %w", n, len(wanted), err)
		}
		if err != nil {
			r.failed(m.Slug, fmt.Errorf("bringing the pull request up to date: %w", err))
			continue
		}
		r.pulls[m.Slug] = pull
		if err := r.putCheck(ctx, m, pull, plans[m.Slug]); err != nil {
			r.failed(m.Slug, err)
		}
	}
	return nil
}

// putCheck writes the plan as a check run of what would land, in the place of the one that the plan workflow writes: where
// main and the shop changed the same, GitHub finds a conflict between the two branches and starts no workflow for the pull
// request (contracts/github/wire.md §2a), although what lands has none.
func (r *rebasing) putCheck(ctx context.Context, m *rebase.Move, pull github.PullRequest, p planned) error {
	if p.err != nil {
		return nil
	}
	list := []shopResult{p.result}
	run := github.CheckRun{
		Name: planCheck(m.Slug), HeadSHA: m.To, ExternalID: fmt.Sprintf("plan %d %s", pull.Number, planCheck(m.Slug)), DetailsURL: r.door.runURL(),
		Conclusion: "success", Title: plansTitle(list), Summary: plansPage(distinctPlans(r.c.policy, list)), Annotations: annotations(list), Completed: r.door.Now(),
	}
	if gravest(list) != ExitDone {
		run.Conclusion = "failure"
	}
	if r.hub.App == nil {
		return nil // only an App writes check runs; the workflow does
	}
	if _, err := r.hub.PutCheckRun(ctx, run); err != nil {
		return fmt.Errorf("writing the plan's check run: %w", err)
	}
	return nil
}

// settledText is what a pull request is closed with that has nothing left to do.
func settledText(branch string, m *rebase.Move) string {
	return fmt.Sprintf("%s is on main at %s: nothing is left to do here.", report.Code(branch), report.Code(shortID(m.Main)))
}

// closePull closes a shop's pull request with a word. Where its branch has landed GitHub may have closed it already.
func (r *rebasing) closePull(ctx context.Context, slug string, pull github.PullRequest, word string) error {
	// GitHub may have closed it already, as merged or because its branch went; the word is said all the same.
	if _, err := r.hub.PutComment(ctx, pull.Number, "<!-- shopfleet:closed -->", word, true); err != nil {
		return fmt.Errorf("saying why pull request %d of %s is closed: %w", pull.Number, slug, err)
	}
	if err := r.hub.ClosePull(ctx, pull.Number, ""); err != nil {
		return fmt.Errorf("closing pull request %d of %s: %w", pull.Number, slug, err)
	}
	delete(r.pulls, slug)
	return nil
}

// pages makes what the pull requests say.
func (r *rebasing) pages(ctx context.Context, wanted []*rebase.Move, plans map[string]planned) (map[string]report.PullPage, error) {
	same := map[string][]string{}
	for _, k := range rebase.Clusters(r.moves) {
		for _, slug := range k.Shops {
			same[slug] = append(same[slug], slices.DeleteFunc(slices.Clone(k.Shops), func(s string) bool { return s == slug })...)
		}
	}
	incoming := map[string][]report.Commit{} // by base: most shops have the same
	overlays, err := r.overlays(ctx, wanted)
	if err != nil {
		return nil, err
	}
	pages := map[string]report.PullPage{}
	for _, m := range wanted {
		news, ok := incoming[m.Base]
		if !ok && m.Base != "" {
			list, err := r.c.repo.FirstParents(ctx, m.Main, m.Base)
			if err != nil {
				return nil, fmt.Errorf("reading what is new on main: %w", err)
			}
			for _, c := range list {
				news = append(news, report.Commit{ID: c.ID, Subject: c.Subject})
			}
			incoming[m.Base] = news
		}
		page := report.PullPage{
			Move: *m, Branch: r.branch(m.Slug).Shop.Branch, Incoming: news, Overlay: overlays[m.Slug], Land: r.c.policy.Rebase.Land, Replay: r.c.policy.Rebase.Replay, Style: r.c.policy.Rebase.Style,
			Same: slices.Compact(slices.Sorted(slices.Values(same[m.Slug]))),
		}
		if p := plans[m.Slug]; p.err != nil {
			page.PlanWhy = p.err.Error()
		} else {
			page.Plan, page.Findings = p.result.Plan, p.result.found()
			if p.result.Plan == nil {
				page.PlanWhy = p.result.public()
			}
		}
		pages[m.Slug] = page
	}
	return pages, nil
}

// planned is the plan for what a shop's branch becomes, or why there is none.
type planned struct {
	result shopResult
	err    error
}

// plans asks what deploying the moves would change. It is for the reader: that it cannot be told keeps nothing from landing.
func (r *rebasing) plans(ctx context.Context, wanted []*rebase.Move) map[string]planned {
	out := map[string]planned{}
	none := func(err error) map[string]planned {
		for _, m := range wanted {
			out[m.Slug] = planned{err: err}
		}
		return out
	}
	at := map[string]string{}
	var slugs []string
	for _, m := range wanted {
		if ok, why := m.Landable(); !ok {
			out[m.Slug] = planned{err: errors.New(why)}
			continue
		}
		slugs, at[m.Slug] = append(slugs, m.Slug), m.To
	}
	switch {
	case len(slugs) == 0:
		return out
	case r.flags.noPlans:
		return none(errors.New("plans were not asked for"))
	}
	slices.Sort(slugs)
	f := deployFlags{parallel: 8, noJournal: true, policy: r.flags.policy}
	site, err := r.door.site(ctx, r.c, slugs, f)
	if exitCode(err) == ExitUsage { // no token for an account
		return none(err)
	} else if err != nil {
		return none(errors.New("the accounts could not be read"))
	}
	sources, problems := r.c.sourcesAt(ctx, slugs, at)
	for _, res := range site.work(ctx, slugs, sources, problems) {
		out[res.Shop] = planned{result: res}
	}
	return out
}

// overlays says in words what the moved branches change over main.
func (r *rebasing) overlays(ctx context.Context, wanted []*rebase.Move) (map[string][]string, error) {
	commits := []string{r.c.main}
	for _, m := range wanted {
		commits = append(commits, cmp.Or(m.To, m.From))
	}
	configs, err := r.c.repo.Files(ctx, configFile, commits...)
	if err != nil {
		return nil, fmt.Errorf("reading the configs: %w", err)
	}
	changed, err := r.c.repo.ChangedFrom(ctx, r.c.main, commits[1:]...)
	if err != nil {
		return nil, fmt.Errorf("comparing the branches with main: %w", err)
	}
	base, baseErr := wrangler.Parse("", configFile, configs[0].Data)
	out := map[string][]string{}
	for i, m := range wanted {
		if p, err := wrangler.Parse("", configFile, configs[i+1].Data); err == nil && baseErr == nil {
			for _, diff := range p.Differences(base) {
				out[m.Slug] = append(out[m.Slug], diff.String())
			}
		}
		for _, path := range changed[i] {
			if path != configFile {
				out[m.Slug] = append(out[m.Slug], path)
			}
		}
	}
	return out, nil
}

// putIssue keeps the fleet's issue: the open decisions, and how far the round is.
func (r *rebasing) putIssue(ctx context.Context) error {
	if len(r.branches) < len(r.all) {
		return nil // it is about the whole fleet
	}
	page := r.fleetPage()
	title, body := report.FleetIssue(page)
	number, err := r.hub.PutIssue(ctx, fleetMarker, title, body, page.Open())
	if err != nil {
		return fmt.Errorf("writing the fleet's issue: %w", err)
	}
	r.issue = number
	return nil
}

func (r *rebasing) fleetPage() report.FleetPage {
	page := report.FleetPage{Moves: r.moves, Pulls: map[string]int{}, Clusters: rebase.Clusters(r.moves), Main: r.c.main, At: r.door.Now().UTC(), Policy: r.c.policy.Rebase}
	for slug, p := range r.pulls {
		page.Pulls[slug] = p.Number
	}
	if r.round != nil {
		page.Round = *r.round
	}
	return page
}

// print shows how it went and chooses the exit code.
func (r *rebasing) print() error {
	code := gravest(r.problems)
	list := slices.Clone(r.bad)
	for i := range r.moves {
		list = append(list, moveFindings(&r.moves[i], r.branch(r.moves[i].Slug).Shop)...)
	}
	if code == ExitDone && deploy.Findings(list).Blocking() {
		code = ExitFindings
	}
	if w := r.door.workflow; w != nil {
		w.loose = append(w.loose, list...)
		w.results = append(w.results, r.problems...)
		w.page = report.RebaseMarkdown(r.fleetPage())
	}
	slices.Sort(r.pushed)
	r.pushed = slices.Compact(r.pushed)
	var err error
	if r.flags.json {
		err = report.JSON(r.door.Stdout, struct {
			Exit     int              `json:"exit_code"`
			Main     string           `json:"main"`
			Shops    []rebase.Move    `json:"shops"`
			Clusters []rebase.Cluster `json:"clusters,omitempty"`
			Pushed   []string         `json:"pushed,omitempty"`
			Pulls    map[string]int   `json:"pull_requests,omitempty"`
			Round    *rebase.Round    `json:"round,omitempty"`
			Landed   []landing        `json:"landed,omitempty"`
			Would    []string         `json:"would_land,omitempty"`
			Issue    int              `json:"issue,omitempty"`
			Findings []deploy.Finding `json:"findings,omitempty"`
			Failed   []shopResult     `json:"failed,omitempty"`
		}{code, r.c.main, r.moves, rebase.Clusters(r.moves), r.pushed, r.fleetPage().Pulls, r.round, r.landed, r.would, r.issue, list, r.problems})
	} else {
		style := report.Style{}
		if r.door.Terminal {
			style = r.door.style()
		}
		err = report.Rebase(r.door.Stdout, style, report.RebasePage{FleetPage: r.fleetPage(), Pushed: r.pushed, Landed: landedText(r.landed), Would: r.would, Dry: r.flags.dry})
		err = errors.Join(err, report.Findings(r.door.Stdout, style, list))
		for _, p := range r.problems {
			err = errors.Join(err, p.print(r.door.Stdout, style))
		}
	}
	if err != nil {
		return fmt.Errorf("printing the result: %w", err)
	}
	if code != ExitDone {
		return &resultError{code: code}
	}
	return nil
}

// moveFindings are mistakes in a branch that no pull request can be about.
func moveFindings(m *rebase.Move, shop fleet.Shop) []deploy.Finding {
	var out []deploy.Finding
	if m.Problem != "" {
		out = append(out, deploy.Finding{
			Rule: "rebase-unusable", Level: deploy.LevelError, Message: fmt.Sprintf("%s cannot be carried onto main: %s", shop.Branch, m.Problem),
			Expected: "a branch that started from main", Hint: "make the branch anew from main, with the shop's overlay on top",
		})
	}
	if m.Kept != "" {
		out = append(out, deploy.Finding{
			Rule: "rebase-kept", Level: deploy.LevelWarning, Message: fmt.Sprintf("%s is left as it is: %s", rebase.HeadBranch(m.Slug), m.Kept),
			Hint: "bring the commits to " + shop.Branch + ", or delete the branch, and run shopfleet rebase again",
		})
	}
	return out
}
