package deploy_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/sim"
)

// proved is a shop whose next release is asked before it takes traffic: it has another namespace.
func proved(t *testing.T) (*stage, string) {
	s := newStage(t)
	s.own()
	s.pages(seesItself, sendsAway)
	first := s.mustDeploy()
	s.secrets = nil
	s.must(s.account.AddKV("helm-swicked-kv-new", "c3d2e1f0a1b2968778695a4b3c2d1e0f"))
	s.edit = func(src *deploy.Source) { src.Shop.KV = "helm-swicked-kv-new" }
	s.replaceConfig(swickedKV, "c3d2e1f0a1b2968778695a4b3c2d1e0f")
	s.ForgetRequests()
	return s, first.VersionID
}

// shares are the deployments that were made, oldest first, each as "100" or "100+0".
func (s *stage) shares() []string {
	s.t.Helper()
	list, err := s.cf().Deployments(context.Background(), "helm-swicked")
	s.must(err)
	slices.Reverse(list)
	var out []string
	for _, d := range list {
		words := []string{}
		for _, v := range d.Versions {
			words = append(words, map[float64]string{0: "0", 100: "100"}[v.Percentage])
		}
		out = append(out, strings.Join(words, "+"))
	}
	return out
}

func TestProveBeforeRelease(t *testing.T) {
	s, first := proved(t)
	_, _, _, plan, err := s.plan(context.Background())
	s.must(err)
	var order []string
	for _, step := range plan.Steps {
		order = append(order, string(step.Action))
	}
	if want := []string{"assets", "workers-dev", "upload", "prove", "release", "gate"}; !slices.Equal(order, want) {
		t.Errorf("steps %q, want %q", order, want)
	}
	out := s.mustDeploy()
	if out.Before == nil || !out.Before.Passed || out.Before.Identity["d1"] != "swicked" || !slices.Equal(out.Before.Bounced, []string{"/door"}) || !out.Gate.Passed || out.VersionID == first {
		t.Errorf("outcome %+v, before %+v", out, out.Before)
	}
	if got := s.shares(); !slices.Equal(got, []string{"100", "100+0", "100"}) {
		t.Errorf("deployments %q", got)
	}
	// The stores are the same now, so that nothing is asked before; unless the policy wants it always.
	s.write("public/helm.css", "body { color: red }")
	if out := s.mustDeploy(); out.Before != nil {
		t.Errorf("asked before a release with the same stores: %+v", out.Before)
	}
	s.write("public/helm.css", "body { color: blue }")
	s.policy.Gate.BeforeRelease = fleet.BeforeAlways
	if out := s.mustDeploy(); out.Before == nil {
		t.Error("not asked, although the policy says always")
	}
	s.write("public/helm.css", "body { color: green }")
	s.policy.Gate.BeforeRelease = fleet.BeforeNever
	s.replaceConfig("c3d2e1f0a1b2968778695a4b3c2d1e0f", swickedKV)
	s.edit = nil
	if out := s.mustDeploy(); out.Before != nil {
		t.Error("asked, although the policy says never")
	}
}

// A version that fails before its release is never served to anybody: every deployment gives it 0 % or leaves it out.
func TestFailedProofIsNeverExposed(t *testing.T) {
	for _, test := range []struct{ name, identity, door, reason string }{
		{"another shop's data", seesOther, sendsAway, `in kv it sees the data of shop "mike-s-bikes"`},
		{"an open door", seesItself, "/door /helm.css 200\n", "a stranger gets 200 at /door"},
		{"a door that is broken", seesItself, "", "a stranger gets 503 at /door"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, first := proved(t)
			s.policy.Gate.Timeout = 20 * time.Millisecond
			s.pages(test.identity, test.door)
			d := &diary{}
			out, err := s.deployWith(d)
			var gate *deploy.GateError
			if !errors.As(err, &gate) || !gate.Before || gate.Restored != first || !strings.Contains(err.Error(), test.reason) || !strings.Contains(err.Error(), "took no traffic") {
				t.Fatalf("error %v", err)
			}
			if out.VersionID != first || out.Uploaded == "" || out.Gate.Tries != 0 {
				t.Errorf("outcome %+v", out)
			}
			list, err := s.cf().Deployments(t.Context(), "helm-swicked")
			s.must(err)
			for _, dep := range list {
				for _, v := range dep.Versions {
					if v.VersionID == out.Uploaded && v.Percentage > 0 {
						t.Errorf("the version had %v %% of the traffic", v.Percentage)
					}
				}
			}
			if got := s.shares(); !slices.Equal(got, []string{"100", "100+0", "100"}) {
				t.Errorf("deployments %q", got)
			}
			if last := len(d.entries) - 1; d.line(last) != "in_progress failure" {
				t.Errorf("the journal says %q", d.line(last))
			}
			// What is live is still known for what it is.
			s.pages(seesItself, sendsAway)
			s.policy.Gate.Timeout = time.Second
			if out := s.mustDeploy(); out.PreviousVersionID != first || out.Before == nil {
				t.Errorf("the deploy after it: %+v", out)
			}
		})
	}
}

// Where the platform serves the live version whatever the header says, the deploy goes on and says that it did not ask.
func TestProveWithoutOverrides(t *testing.T) {
	s, _ := proved(t)
	s.policy.Gate.Timeout = 30 * time.Millisecond
	s.pages(seesOther, sendsAway) // would fail
	e, want, have, plan, err := s.plan(t.Context())
	s.must(err)
	e.Gate.Transport = withoutOverrides{}
	out, err := e.Apply(t.Context(), want, have, plan, nil)
	if out.Before == nil || out.Before.Passed || out.Before.Reason != "" || !strings.Contains(out.Before.Skipped, "did not answer before its release") {
		t.Errorf("before: %+v", out.Before)
	}
	var gate *deploy.GateError
	if !errors.As(err, &gate) || gate.Before {
		t.Errorf("error %v, want the gate's", err)
	}
}

type withoutOverrides struct{}

func (withoutOverrides) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Del("Cloudflare-Workers-Version-Overrides")
	return cloudflare.LoopbackOnly(http.DefaultTransport).RoundTrip(r)
}

// Another run that releases while the version is asked keeps its release.
func TestProveLeavesAnotherRunsRelease(t *testing.T) {
	s, _ := proved(t)
	s.pages(seesOther, sendsAway)
	e, want, have, plan, err := s.plan(t.Context())
	s.must(err)
	var other string
	once := func() {
		if other != "" {
			return
		}
		list := s.versions()
		other = list[0].ID
		_, err := s.cf().CreateDeployment(context.Background(), "helm-swicked", cloudflare.Release{Versions: []cloudflare.Share{{VersionID: other, Percentage: 100}}})
		s.must(err)
	}
	e.Gate.Transport = before(once)
	_, err = e.Apply(t.Context(), want, have, plan, nil)
	var stale *deploy.StaleError
	if !errors.As(err, &stale) || s.live() != other {
		t.Errorf("error %v, live %s, want the other run's %s", err, s.live(), other)
	}
}

type before func()

func (f before) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := cloudflare.LoopbackOnly(http.DefaultTransport).RoundTrip(r)
	if strings.HasSuffix(r.URL.Path, "/seen.json") {
		f()
	}
	return resp, err
}

// Whatever call a process dies at, the version that was asked is released by the next run, and the shop ends in the same
// state; in between the live version has all the traffic, which is no split.
func TestKilledProof(t *testing.T) {
	reference, _ := proved(t)
	reference.mustDeploy()
	calls := len(reference.Requests())
	want := reference.snapshot()
	for _, drop := range []sim.Drop{sim.DropBefore, sim.DropAfter} {
		for at := range calls {
			s, first := proved(t)
			_, err := s.Fault(sim.Rule{Skip: at, Count: 1, Drop: drop})
			s.must(err)
			_, err = s.Fault(sim.Rule{Skip: at, Count: -1, Drop: sim.DropBefore})
			s.must(err)
			_, err = s.deploy()
			s.ClearFaults()
			if live, lookErr := s.engine().Live(t.Context(), "helm-swicked"); lookErr != nil || live.Shares != nil || live.Mark == "" || err != nil && live.Version != first && live.Version == "" {
				t.Fatalf("cut %s call %d (%v): live is %+v, %v", drop, at, err, live, lookErr)
			}
			if _, again := s.deploy(); again != nil {
				t.Fatalf("cut %s call %d (%v): the rerun failed: %v", drop, at, err, again)
			}
			if got := s.snapshot(); got != want {
				t.Fatalf("cut %s call %d (%v): after the rerun\n%s\nwant\n%s", drop, at, err, got, want)
			}
		}
	}
}

// An answer that is lost is looked up: no deployment is made twice.
func TestProofWithLostAnswer(t *testing.T) {
	s, _ := proved(t)
	_, err := s.Fault(sim.Rule{Method: "POST", Path: `/deployments$`, After: true, Drop: sim.DropAfter})
	s.must(err)
	out := s.mustDeploy()
	if got := s.shares(); out.Adopted != 1 || !slices.Equal(got, []string{"100", "100+0", "100"}) {
		t.Errorf("adopted %d, deployments %q", out.Adopted, got)
	}
}
