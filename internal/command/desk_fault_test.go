package command

// Rules of the fleet about who may, GitHub failing at every step of an order, and other things that go wrong around it.

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/fleet"
	sim "github.com/kvick/shopfleet/internal/sim/github"
)

func TestDeskRules(t *testing.T) {
	w := newOffice(t)
	if err := w.AddTeam("acme", "leads", "mia"); err != nil {
		t.Fatal(err)
	}
	k := w.desk(t, DeskOptions{})
	for _, test := range []struct {
		who     string
		rule    fleet.CommandRule
		outcome string
		says    string
	}{
		{"bob", fleet.CommandRule{}, "done", ""},
		{"bob", fleet.CommandRule{Permission: "read"}, "done", ""},
		{"bob", fleet.CommandRule{Permission: "admin"}, "refused", "no admin access"},
		{"bob", fleet.CommandRule{Permission: "maintain"}, "refused", "no admin access"},
		{"bob", fleet.CommandRule{Permission: "owner"}, "refused", "no admin access"},
		{"alice", fleet.CommandRule{Permission: "admin"}, "done", ""},
		{"bob", fleet.CommandRule{Users: []string{"alice"}}, "refused", "not among those"},
		{"bob", fleet.CommandRule{Users: []string{"alice", "BOB"}}, "done", ""},
		{"bob", fleet.CommandRule{Team: "leads"}, "refused", "not in the team `leads`"},
		{"mia", fleet.CommandRule{Team: "leads"}, "done", ""},
		{"bob", fleet.CommandRule{Team: "leads", Users: []string{"bob"}}, "done", ""},
		{"mia", fleet.CommandRule{Team: "leads", Permission: "admin"}, "refused", "no admin access"},
		{"mia", fleet.CommandRule{Team: "nobody"}, "refused", "not in the team"},
		{"mia", fleet.CommandRule{Team: "../x"}, "failed", "could not be asked"},
	} {
		k.rule = func(_ *fleet.Policy, verb string) fleet.CommandRule {
			if verb != "rollback" {
				t.Errorf("asked about %s", verb)
			}
			return test.rule
		}
		id, e := w.says(t, test.who, w.pull, "/rollback")
		o, err := k.Hear(t.Context(), e, "issue_comment")
		if err != nil || o == nil {
			t.Fatal(err)
		}
		if err := k.Carry(t.Context(), o); (err != nil) != (test.outcome == "failed") {
			t.Error(err)
		}
		if body, outcome := w.answer(t, id); outcome != test.outcome || !strings.Contains(body, test.says) {
			t.Errorf("%s by %+v: %s\n%s", test.who, test.rule, outcome, body)
		}
	}
}

// A rule can be written for every verb that can be said, and each is asked about by its own name.
func TestDeskRulesOfThePolicy(t *testing.T) {
	for _, v := range orderVerbs() {
		src := officePolicy + "commands:\n  team: ops\n  verbs:\n    " + v.name + ": {permission: admin, users: [bob]}\n"
		p, err := fleet.Parse("fleet.yml", []byte(src))
		if err != nil {
			t.Errorf("%s: %v", v.name, err)
			continue
		}
		if rule := ruleFor(p, v.name); rule.Permission != "admin" || rule.Team != "ops" || len(rule.Users) != 1 {
			t.Errorf("%s: %+v", v.name, rule)
		}
		if rule := ruleFor(p, "another"); rule.Permission != "write" || rule.Team != "ops" {
			t.Errorf("%+v", rule)
		}
	}
}

// An order is carried out once, or it is reported, whatever call of it fails and however.
func TestDeskFaults(t *testing.T) {
	for _, path := range []string{"/permission", "/pulls/", "/reactions", "/issues/comments/[0-9]+$", "/issues/[0-9]+/comments"} {
		for _, rule := range []sim.Rule{{Drop: true}, {Cut: true}, {Status: http.StatusBadGateway}, {Status: http.StatusBadGateway, After: true}, {Status: http.StatusForbidden}, {Status: http.StatusNotFound}} {
			t.Run(fmt.Sprintf("%s drop=%v cut=%v %d after=%v", path[1:], rule.Drop, rule.Cut, rule.Status, rule.After), func(t *testing.T) {
				t.Parallel()
				w := newOffice(t)
				id, e := w.says(t, "bob", w.pull, "/rollback")
				k := w.desk(t, DeskOptions{})
				w.verb = func(ctx context.Context, d *Door, _ []string) error {
					d.order.say(ctx, "Half.")
					return d.order.answer.write(ctx, "")
				}
				rule.Path, rule.Count = path, 1
				if _, err := w.Fault(rule); err != nil {
					t.Fatal(err)
				}
				if o, err := k.Hear(t.Context(), e, "issue_comment"); err == nil && o != nil {
					_ = k.Carry(t.Context(), o)
				}
				for range 4 { // whatever is left
					w.later(11 * time.Minute)
					w.recoverAll(t, w.desk(t, DeskOptions{}))
				}
				if path == "/permission" && rule.Status == http.StatusNotFound {
					if w.reactions(t, id) != "-1" { // which is GitHub's word for nobody
						t.Errorf("reactions %s", w.reactions(t, id))
					}
					return
				}
				list := w.answers(t, id)
				if len(list) != 1 {
					t.Errorf("%d answers, reactions %q", len(list), w.reactions(t, id))
					return
				}
				_, outcome := readAnswer(list[0].Body)
				if runs := len(w.runs()); runs > 2 || outcome == "" || outcome == "done" && runs == 0 || outcome == "expired" && runs > 0 {
					t.Errorf("ran %d times, %s", runs, outcome)
				}
			})
		}
	}
}

// Somebody deletes the answer while the order is under way: there is a new one.
func TestDeskAnswerDeleted(t *testing.T) {
	w := newOffice(t)
	id, e := w.says(t, "bob", w.pull, "/rollback")
	w.verb = func(ctx context.Context, d *Door, _ []string) error {
		d.order.say(ctx, "Half.")
		if err := d.order.answer.write(ctx, ""); err != nil {
			return err
		}
		return w.repo.DeleteComment("alice", d.order.answer.at())
	}
	w.do(t, w.desk(t, DeskOptions{}), e)
	if _, outcome := w.answer(t, id); outcome != "done" {
		t.Error(outcome)
	}
}

// Much is said quickly: GitHub is written to now and then.
func TestDeskThrottles(t *testing.T) {
	w := newOffice(t)
	id, e := w.says(t, "bob", w.pull, "/rollback")
	w.ForgetRequests()
	w.verb = func(ctx context.Context, d *Door, _ []string) error {
		for i := range 10_000 {
			d.order.say(ctx, fmt.Sprintf("step %d", i))
		}
		d.order.page = "the last word\n"
		return nil
	}
	w.do(t, w.desk(t, DeskOptions{}), e)
	writes := 0
	for _, r := range w.Requests() {
		if r.Method != http.MethodGet && strings.Contains(r.Path, "/comments") && !strings.HasSuffix(r.Path, "/reactions") {
			writes++
		}
	}
	body, outcome := w.answer(t, id)
	if outcome != "done" || !strings.Contains(body, "the last word") || writes > 3 {
		t.Errorf("%d writes, %s\n%s", writes, outcome, body)
	}
}

// The repository cannot be brought up to date: nothing is done on what was known before.
func TestDeskFetchFails(t *testing.T) {
	w := newOffice(t)
	id, e := w.says(t, "bob", w.pull, "/rollback")
	fail := true
	k := w.desk(t, DeskOptions{Fetch: func(context.Context) error {
		if fail {
			return fmt.Errorf("no route to internal-host")
		}
		return nil
	}})
	o, err := k.Hear(t.Context(), e, "issue_comment")
	if err != nil || o == nil {
		t.Fatal(err)
	}
	if err := k.Carry(t.Context(), o); err == nil {
		t.Error("the log gets no error")
	}
	if body, outcome := w.answer(t, id); outcome != "failed" || strings.Contains(body, "internal-host") || len(w.runs()) != 0 {
		t.Errorf("%s\n%s", outcome, body)
	}
	fail = false
	id, e = w.says(t, "bob", w.pull, "/rollback\r\n"+strings.Repeat("because ", 8000))
	w.do(t, k, e)
	if _, outcome := w.answer(t, id); outcome != "done" {
		t.Error(outcome)
	}
}
