package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// settle decides whether the target can be gone back to, with a restore where it takes one.
func (e *Engine) settle(ctx context.Context, rw RollbackWant, p *RollbackPlan, c *chronicle, l *look, chosen choice, db wrangler.D1Database) error {
	k := &p.Candidates[chosen.target]
	if !l.known && !chosen.done {
		crons := "its crons are taken from the journal, hostnames stay as they are"
		if !l.want.Config.CronsSet {
			crons = "its crons and hostnames stay as they are"
		}
		p.Findings = append(p.Findings, Finding{Rule: "rollback-commit-unknown", Level: LevelNotice,
			Message: "git does not have commit " + orNone(k.Commit) + " of version " + k.VersionID + ": " + crons,
			Hint:    "fetch the branch of the shop and plan again, if it was only not fetched"})
	}
	if k.Label == ReadyRestore {
		if err := e.planData(ctx, rw, p, c, k, db); err != nil {
			return err
		}
	} else if rw.RestoreData && k.Label == ReadySafe && !chosen.done {
		p.Findings = append(p.Findings, Finding{Rule: "rollback-restore-unneeded", Level: LevelNotice,
			Message: "the database stays as it is: version " + k.VersionID + " finds everything in it that it needs",
			Hint:    "shopfleet d1 restore " + p.Shop + " restores it on its own, if its rows are what is wrong"})
	}
	if k.Label == ReadyBlocked {
		p.Findings = append(p.Findings, Finding{Rule: "rollback-blocked", Level: LevelError,
			Message:  "version " + k.VersionID + " cannot be gone back to: " + strings.Join(k.Why, "; "),
			Expected: "a release that still has everything it needs", Hint: p.other(k.VersionID)})
		p.Restore = nil
		return nil
	}
	target := *k
	p.Target = &target
	return nil
}

// other says what could be gone back to in place of a candidate.
func (p *RollbackPlan) other(than string) string {
	for _, k := range p.Candidates {
		if k.VersionID != than && k.Label == ReadySafe {
			return "version " + k.VersionID + " is safe: shopfleet rollback " + p.Shop + " to " + k.VersionID
		}
	}
	return "deploy a commit that goes forward: put what is wrong right, or revert it"
}

// planData plans what the database goes back to so that a candidate finds what it needs.
func (e *Engine) planData(ctx context.Context, rw RollbackWant, p *RollbackPlan, c *chronicle, k *Candidate, db wrangler.D1Database) error {
	want := RestoreWant{Shop: rw.Shop, Database: db}
	if b := c.wayBack(k.VersionID, k.Content); b != "" {
		want.Target.Bookmark = b
	} else {
		want.Target.Release = k.VersionID
	}
	plan, err := e.PlanRestore(ctx, want)
	var found Findings
	switch {
	case errors.As(err, &found):
		k.Label, k.Why = ReadyBlocked, append(k.Why, "and the database cannot go back: "+found[0].Message)
		return nil
	case err != nil:
		return err
	case Findings(plan.Findings).Blocking() || !plan.Changes():
		k.Label, k.Why = ReadyBlocked, append(k.Why, "and nothing is known that the database could go back to")
		return nil
	}
	k.Losses = plan.Losses
	if rw.RestoreData {
		p.Restore = plan
		p.turn.schema, p.turn.schemaAfter = "", ""
		return nil
	}
	p.Findings = append(p.Findings, Finding{Rule: "rollback-needs-restore", Level: LevelError,
		Message:  fmt.Sprintf("the code of version %s does not get on with today's database: %s; it would have to go back to %s too, %s", k.VersionID, strings.Join(k.Why, "; "), plan.At.UTC().Format("2006-01-02 15:04:05Z"), lossWords(plan)),
		Expected: "a database that the old code can use",
		Hint:     "shopfleet rollback " + p.Shop + " to " + k.VersionID + " --restore-data does that and loses those rows; or " + p.other(k.VersionID)})
	return nil
}

// lossWords say what a restore takes, in a line.
func lossWords(p *RestorePlan) string {
	var words []string
	for _, l := range p.Losses {
		switch {
		case l.Made > 0 && l.Known == Exact:
			words = append(words, fmt.Sprintf("%d of %s", l.Made, l.Table))
		case l.Made > 0:
			words = append(words, fmt.Sprintf("%s %d of %s", l.Known, l.Made, l.Table))
		case l.Known == Unknown && l.Rows > 0:
			words = append(words, "an unknown number of "+l.Table)
		}
	}
	if words == nil {
		return "which loses no row that is known of"
	}
	return "which loses rows: " + strings.Join(words, ", ")
}

// steps are what the plan does: the data, the traffic, and what is around it.
func (p *RollbackPlan) steps(rw RollbackWant, t *turn) {
	if p.Target == nil {
		return
	}
	if p.Restore != nil {
		p.Steps = append(p.Steps, Step{Action: ActionRestore, Target: p.Restore.Database, ID: p.Restore.DatabaseID, After: []string{p.Restore.Bookmark}})
	}
	if !p.Done {
		p.Steps = append(p.Steps, Step{Action: ActionRelease, Target: p.Worker, Before: []string{t.from}, After: []string{p.Target.VersionID}})
	}
	p.hostnames(t)
	around := triggerSteps(t.want, t.have)
	if !t.known || !t.answersItself() {
		around = slices.DeleteFunc(around, func(s Step) bool { return s.Action != ActionCrons })
	}
	p.Steps = append(p.Steps, around...)
	p.Steps = append(p.Steps, Step{Action: ActionGate, Target: rw.Shop.Hostname})
	order := []Action{ActionRestore, ActionRelease, ActionCrons, ActionAttach, ActionDetach, ActionRoutes, ActionGate}
	sort.SliceStable(p.Steps, func(i, j int) bool {
		return slices.Index(order, p.Steps[i].Action) < slices.Index(order, p.Steps[j].Action)
	})
}

// answersItself says whether the shop's own hostname is among the routes that are left. Without it the hostnames stay: a
// shop must not go off its address because an old config had another one.
func (t *turn) answersItself() bool {
	return slices.ContainsFunc(t.want.Config.Routes, func(r wrangler.Route) bool { return routeHost(r) == t.want.Shop.Hostname })
}

// hostnames leaves out of the old config the routes that are not the shop's to have today. The code goes back all the same.
func (p *RollbackPlan) hostnames(t *turn) {
	if !t.known {
		return
	}
	config := *t.want.Config
	want := *t.want
	want.Config = &config
	var routes []wrangler.Route
	for _, r := range t.want.Config.Routes {
		one := config
		one.Routes = []wrangler.Route{r}
		alone := want
		alone.Config = &one
		a := &admission{want: &alone}
		a.hostnames()
		a.liveHostnames(t.have)
		found := slices.DeleteFunc(a.found, func(f Finding) bool { return f.Rule == "hostname-missing" || f.Level != LevelError })
		if len(found) == 0 {
			routes = append(routes, r)
			continue
		}
		p.Findings = append(p.Findings, Finding{Rule: "rollback-hostname-left", Level: LevelWarning, File: found[0].File, Line: found[0].Line, Column: found[0].Column,
			Message: fmt.Sprintf("%s stays as it is: %s", r.Pattern, found[0].Message), Expected: found[0].Expected, Hint: found[0].Hint})
	}
	config.Routes = routes
	t.want = &want
	if !t.answersItself() {
		p.Findings = append(p.Findings, Finding{Rule: "rollback-hostname-left", Level: LevelWarning,
			Message: "the hostnames stay as they are: the old config has no route for " + want.Shop.Hostname + " that the shop may have",
			Hint:    "deploy a commit that has the hostnames which the shop shall answer on"})
	}
}

// notUndone lists what a rollback leaves as the bad release made it.
func (p *RollbackPlan) notUndone(rw RollbackWant, c *chronicle, t *turn, l *look) {
	if p.Target == nil {
		return
	}
	if p.Restore != nil {
		p.NotUndone = append(p.NotUndone, "what was written to the database since "+p.Restore.At.UTC().Format("2006-01-02 15:04:05Z")+" is lost, and comes back with its bookmark only")
	} else {
		what := "rows of the database: they stay as they are"
		var newer []string
		for _, name := range t.have.Database.Ledger {
			if l.known && !slices.ContainsFunc(t.want.Migrations, func(m wrangler.Migration) bool { return m.Name == name }) {
				newer = append(newer, name)
			}
		}
		if len(newer) > 0 {
			what += ", and so do migrations " + strings.Join(newer, ", ")
		}
		p.NotUndone = append(p.NotUndone, what)
	}
	if !t.known {
		p.NotUndone = append(p.NotUndone, "hostnames of "+p.Worker)
	}
	p.NotUndone = append(p.NotUndone,
		"secrets, script settings and workers.dev of "+p.Worker,
		"files in R2 bucket "+rw.Shop.R2, "entries of KV namespace "+rw.Shop.KV,
		"what was sent elsewhere since: payments, mail, messages")
}
