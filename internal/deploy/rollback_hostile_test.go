package deploy_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
)

// entryLike writes an entry as whoever may write deployments can: a good one's copy, with a change.
func (k *counter) entryLike(version string, edit func(*deploy.Release)) {
	k.t.Helper()
	i := slices.IndexFunc(k.b.entries, func(r deploy.Release) bool { return r.VersionID == version })
	r := k.b.entries[i]
	r.PlanDigest, r.PreviousVersionID = fmt.Sprint("forged", len(k.b.entries)), ""
	edit(&r)
	_, err := k.b.Begin(context.Background(), k.want.Shop, r, deploy.Status{State: deploy.StateSuccess})
	k.must(err)
}

// Somebody uploaded a version that reaches another shop's data, under the content and commit of a good one, and wrote it
// into the journal as a release that passed. A rollback never releases it.
func TestRollbackToForgedBindings(t *testing.T) {
	for name, foreign := range map[string]func(*counter) map[string]any{
		"d1": func(k *counter) map[string]any {
			k.must(k.account.AddD1("helm-mike-s-bikes-db", "5d0f1c3e-7a2b-4c8d-9e6f-1a2b3c4d5e6f", "wnam"))
			return map[string]any{"type": "d1", "name": "OTHER", "id": "5d0f1c3e-7a2b-4c8d-9e6f-1a2b3c4d5e6f"}
		},
		"kv_namespace": func(k *counter) map[string]any {
			k.must(k.account.AddKV("helm-mike-s-bikes-kv", "b2e1d4c3f5a6079889706b5c4d3e2f1a"))
			return map[string]any{"type": "kv_namespace", "name": "OTHER", "namespace_id": "b2e1d4c3f5a6079889706b5c4d3e2f1a"}
		},
		"r2_bucket": func(k *counter) map[string]any {
			k.must(k.account.AddR2("helm-mike-s-bikes-assets"))
			return map[string]any{"type": "r2_bucket", "name": "OTHER", "bucket_name": "helm-mike-s-bikes-assets"}
		},
		"service": func(k *counter) map[string]any {
			hold(k.t, k.stage, "helm-mike-s-bikes", "mike.kvick.bike")
			return map[string]any{"type": "service", "name": "OTHER", "service": "helm-mike-s-bikes"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := newCounter(t)
			first := k.ship("one")
			k.ship("two")
			binding := foreign(k)
			bad := k.upload(func(f *forged) { f.Bindings = append(f.Bindings, binding) })
			live := k.live()
			k.entryLike(live, func(r *deploy.Release) { r.VersionID = bad })
			// As the newest, and named. Of equal content as what is live it is no target by itself.
			if p := k.planned(); p.Target == nil || p.Target.VersionID != first {
				t.Errorf("the target is %+v", p.Target)
			}
			k.want.To = bad
			if p := k.refused("rollback-blocked"); p.Target != nil || !strings.Contains(strings.Join(p.Candidates[0].Why, " "), "not provably") {
				t.Errorf("why: %q", p.Candidates[0].Why)
			}
			// And when another content is live by then.
			k.want.To = ""
			k.ship("three")
			k.mustBack(live)
		})
	}
}

// An entry that is written later does not make an old release the newest: the account knows when each took the traffic.
func TestRollbackForgedOrder(t *testing.T) {
	k := newCounter(t)
	first := k.ship("one")
	second := k.ship("two")
	k.ship("three")
	k.entryLike(first, func(*deploy.Release) {})
	if p := k.planned(); p.Target == nil || p.Target.VersionID != second {
		t.Errorf("the target is %+v, want %s", p.Target, second)
	}
}

// A success that is said later of what failed its gate makes it no target.
func TestRollbackForgedSuccess(t *testing.T) {
	k := newCounter(t)
	first := k.ship("one")
	k.ship("two")
	bad := ""
	k.fail(func() {
		out, _ := k.shipping("three")
		bad = out.Uploaded
	})
	if bad == "" {
		t.Fatal("nothing was uploaded")
	}
	for _, r := range k.b.entries {
		k.must(k.b.Finish(context.Background(), k.want.Shop, r.ID, deploy.Status{State: deploy.StateSuccess}))
	}
	k.want.To = bad
	k.refused("rollback-taken-down")
	k.want.To = ""
	k.mustBack(first)
}

// Of a commit that git does not have the journal tells the crons, unless it tells two things.
func TestRollbackForgedCrons(t *testing.T) {
	k := newCounter(t)
	first := k.ship("one")
	k.replaceConfig(`"0 15 1 * *"`, `"0 16 1 * *"`)
	k.ship("two")
	k.entryLike(first, func(r *deploy.Release) { r.Crons = []string{"* * * * *"} })
	delete(k.commits, fmt.Sprintf("%040x", 1))
	k.mustBack(first)
	crons, err := k.cf().Schedules(context.Background(), "helm-swicked")
	k.must(err)
	if slices.Contains(crons, "* * * * *") || !slices.Contains(crons, "0 16 1 * *") {
		t.Errorf("crons %q", crons)
	}
}

// Traffic that is split is gone back from too, and it is the newer version that goes.
func TestRollbackSplit(t *testing.T) {
	for _, percent := range []float64{10, 90} {
		k := newCounter(t)
		k.ship("one")
		second := k.ship("two")
		third := k.ship("three")
		_, err := k.cf().CreateDeployment(context.Background(), "helm-swicked", cloudflare.Release{Versions: []cloudflare.Share{
			{VersionID: second, Percentage: 100 - percent}, {VersionID: third, Percentage: percent},
		}})
		k.must(err)
		k.mustBack(second)
		if s := k.stands(third); !strings.HasSuffix(s, "failure") {
			t.Errorf("%v%%: the bad entry went through %q", percent, s)
		}
		k.want.To = third
		k.refused("rollback-taken-down")
	}
}

// Two people say it at once, and one is carried out after the other: the shop goes one release back, and not two. So it does
// when the bad release's own gate was quicker than who saw it.
func TestRollbackSaidTwice(t *testing.T) {
	k := newCounter(t)
	first := k.ship("one")
	second := k.ship("two")
	k.ship("three")
	said := time.Now()
	k.want.Order, k.want.Asked = "1", said
	k.mustBack(second)
	k.want.Order = "2"
	k.refused("rollback-overtaken")
	k.want.Order = "1" // that one is finished again, whenever it was said
	if p := k.planned(); !p.Done || p.Target.VersionID != second {
		t.Errorf("the plan is %+v", p)
	}
	k.want.Order, k.want.To = "3", first // and this one says what is meant
	if p := k.planned(); p.Target == nil || p.Target.VersionID != first {
		t.Errorf("the plan is %+v", p)
	}
	k.want.Order, k.want.To, k.want.Asked = "4", "", time.Now().Add(time.Second)
	if p := k.planned(); p.Target == nil || p.Target.VersionID != first {
		t.Errorf("the plan is %+v", p)
	}
	k.want.Order, k.want.Asked = "5", time.Now()
	k.fail(func() { _, _ = k.shipping("four") })
	k.refused("rollback-overtaken")
}

// A shop that was never released, and one whose Worker somebody deleted.
func TestRollbackOfNothing(t *testing.T) {
	k := newCounter(t)
	for range 2 {
		p := k.planned()
		if !hasError(p.Findings, "rollback-nothing") || p.Target != nil {
			t.Errorf("the plan is %+v", p)
		}
		if _, err := k.machine().Rollback(context.Background(), k.want, p, nil); err == nil {
			t.Error("something was done")
		}
		k.ship("one")
		k.must(k.cf().DeleteWorker(context.Background(), "helm-swicked"))
	}
}

// A split that needs the database back: the canary gets no more traffic than it had while that happens.
func TestRollbackSplitWithData(t *testing.T) {
	k := newCounter(t)
	k.stage.write("migrations/017_more.sql", "ALTER TABLE customers ADD COLUMN nick TEXT;\n")
	first := k.ship("one")
	k.stage.write("migrations/018_less.sql", "-- shopfleet: destructive because nobody reads it\nALTER TABLE customers DROP COLUMN nick;\n")
	second := k.ship("two")
	third := k.ship("three")
	_, err := k.cf().CreateDeployment(context.Background(), "helm-swicked", cloudflare.Release{Versions: []cloudflare.Share{
		{VersionID: second, Percentage: 90}, {VersionID: third, Percentage: 10},
	}})
	k.must(err)
	k.want.To, k.want.RestoreData = first, true
	k.ForgetRequests()
	k.mustBack(first)
	for _, r := range k.Requests() {
		if r.Method == "POST" && strings.HasSuffix(r.Path, "/deployments") && strings.Contains(string(r.Body), `"version_id":"`+third) {
			t.Errorf("it released %s", r.Body)
		}
	}
	if s := k.stands(third); !strings.HasSuffix(s, "failure") {
		t.Errorf("the bad entry went through %q", s)
	}
}
