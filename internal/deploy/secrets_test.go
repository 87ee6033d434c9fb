package deploy_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// printed gives the stage's secrets fingerprints: what a key would make of them does not matter here.
func (s *stage) printed(more func(*deploy.Source)) {
	s.edit = func(src *deploy.Source) {
		src.Fingerprints = map[string]string{}
		for name, v := range src.Secrets {
			src.Fingerprints[name] = "fp-" + string(v)
		}
		if more != nil {
			more(src)
		}
	}
}

// names are the secrets that the Worker has.
func (s *stage) names() []string {
	s.t.Helper()
	list, err := s.cf().Secrets(context.Background(), "helm-swicked")
	s.must(err)
	var out []string
	for _, x := range list {
		out = append(out, x.Name)
	}
	slices.Sort(out)
	return out
}

// uploads counts versions that were uploaded since the requests were forgotten.
func (s *stage) uploads() (n int) {
	for _, r := range s.Requests() {
		if r.Method == "POST" && strings.HasSuffix(r.Path, "/versions") {
			n++
		}
	}
	s.ForgetRequests()
	return n
}

func TestSecretsAlone(t *testing.T) {
	s := newStage(t)
	s.printed(nil)
	first := s.mustDeploy()
	s.ForgetRequests()

	if out := s.mustDeploy(); out.Changed || s.uploads() != 0 {
		t.Errorf("secrets that did not change were uploaded again")
	}
	s.secrets = maps.Clone(s.secrets)
	s.secrets["SESSION_KEY"] = "another"
	_, _, _, plan, err := s.plan(t.Context())
	s.must(err)
	i := slices.IndexFunc(plan.Steps, func(x deploy.Step) bool { return x.Action == deploy.ActionSecrets })
	if i < 0 || plan.Steps[i+1].Action != deploy.ActionUpload || len(plan.Steps[i].Before) > 0 || !slices.Contains(plan.Steps[i].After, "SESSION_KEY") {
		t.Fatalf("the plan does not show the secrets before the upload: %v", plan.Steps)
	}
	if text := plan.Steps[i].String(); strings.Contains(text, "another") || !strings.HasPrefix(text, "secrets of helm-swicked with the version: OAUTH_CLIENT_SECRET, SESSION_KEY") {
		t.Errorf("the step reads %q", text)
	}
	second := s.mustDeploy()
	if second.VersionID == first.VersionID || s.uploads() != 1 {
		t.Errorf("a changed secret made no version")
	}
	if out := s.mustDeploy(); out.Changed {
		t.Error("the deploy after it writes again")
	}

	// Somebody changes one beside us: what the sources have is put back, with one version.
	s.must(s.cf().SecretsBulk(t.Context(), "helm-swicked", map[string]cloudflare.Secret{"SESSION_KEY": "by hand"}))
	s.ForgetRequests()
	if out := s.mustDeploy(); !out.Changed || s.uploads() != 1 {
		t.Error("a secret that was changed by hand stays")
	}
	// Without sources and without fingerprints nothing is said of values.
	s.secrets, s.edit = nil, nil
	if out := s.mustDeploy(); out.Changed {
		t.Error("a deploy without secrets writes")
	}
}

// An unchanged bundle costs no call beyond those of a deploy without one.
func TestSecretsAskNothing(t *testing.T) {
	s := newStage(t)
	s.printed(func(src *deploy.Source) { src.RemoveSecrets = true })
	s.mustDeploy()
	s.write("public/helm.css", "body { color: red }")
	s.mustDeploy() // the first was a PUT, which removes none
	s.ForgetRequests()
	s.mustDeploy()
	for _, r := range s.Requests() {
		if strings.HasSuffix(r.Path, "/secrets") {
			t.Errorf("the Worker's secrets were listed: %s", r.Op)
		}
	}
}

func TestSecretsRemoved(t *testing.T) {
	s := newStage(t)
	s.printed(nil)
	s.secrets["EXTRA"], s.secrets["OLD"] = "x", "y"
	s.mustDeploy()
	delete(s.secrets, "OLD")
	delete(s.secrets, "STRIPE_SECRET_KEY") // required, and by hand from now on
	want := []string{"EXTRA", "OAUTH_CLIENT_SECRET", "SESSION_KEY", "STRIPE_SECRET_KEY", "TWILIO_ACCOUNT_SID"}

	s.mustDeploy()
	if got := s.names(); !slices.Contains(got, "OLD") {
		t.Fatalf("a secret went although nobody said so: %q", got)
	}
	s.printed(func(src *deploy.Source) { src.RemoveSecrets = true })
	_, _, _, plan, err := s.plan(t.Context())
	s.must(err)
	i := slices.IndexFunc(plan.Findings, func(f deploy.Finding) bool { return f.Rule == "secrets-removed" })
	if i < 0 || plan.Findings[i].Level != deploy.LevelWarning || !strings.Contains(plan.Findings[i].Message, "loses the secrets OLD:") {
		t.Errorf("the plan does not say that OLD goes: %v", plan.Findings)
	}
	s.mustDeploy()
	if got := s.names(); !slices.Equal(got, want) {
		t.Errorf("the Worker has %q; want %q", got, want)
	}
	if out := s.mustDeploy(); out.Changed {
		t.Error("the deploy after it writes again")
	}
	// The next version inherits what was kept.
	s.write("public/helm.css", "body { color: red }")
	s.mustDeploy()
	if got := s.names(); !slices.Equal(got, want) {
		t.Errorf("after another version the Worker has %q; want %q", got, want)
	}
	// Without any secret given everything is kept but what may go.
	s.secrets = nil
	s.mustDeploy()
	if got := s.names(); !slices.Equal(got, slices.DeleteFunc(want, func(n string) bool { return n == "EXTRA" })) {
		t.Errorf("without secrets the Worker has %q", got)
	}
}

// Code and secrets came together, and go together: Cloudflare refuses to go back over a changed secret unless it is forced.
func TestSecretsGoBackWithTheRelease(t *testing.T) {
	s := newStage(t)
	s.printed(nil)
	first := s.mustDeploy()
	s.secrets = maps.Clone(s.secrets)
	s.secrets["SESSION_KEY"] = "another"
	s.policy.Gate.Path, s.policy.Gate.Status, s.policy.Gate.Timeout = "/nowhere", 200, 50*time.Millisecond
	_, err := s.deploy()
	var gate *deploy.GateError
	if !errors.As(err, &gate) || gate.Restored != first.VersionID || s.live() != first.VersionID {
		t.Fatalf("got %v, and %s is live; want %s", err, s.live(), first.VersionID)
	}
	// It is known that this value is not live: the next deploy tries again.
	s.policy.Gate.Path, s.policy.Gate.Timeout = "/build_info.json", time.Second
	if out := s.mustDeploy(); !out.Changed {
		t.Error("the value that was taken back counts as live")
	}
}

// A secret that somebody else changed after the release is not put back by force.
func TestSecretsOfOthersStay(t *testing.T) {
	s := newStage(t)
	s.printed(nil)
	s.mustDeploy()
	s.secrets = maps.Clone(s.secrets)
	s.secrets["SESSION_KEY"] = "another"
	s.policy.Gate.Path, s.policy.Gate.Timeout = "/nowhere", 50*time.Millisecond
	e, want, have, plan, err := s.plan(t.Context())
	s.must(err)
	_, err = e.Apply(t.Context(), want, have, plan, func(x deploy.Event) {
		if x.Action == deploy.ActionGate {
			s.must(s.cf().SecretsBulk(t.Context(), "helm-swicked", map[string]cloudflare.Secret{"SESSION_KEY": "by hand"}))
		}
	})
	var api *cloudflare.Error
	if !errors.As(err, &api) || !slices.Contains(api.Codes, 10220) {
		t.Errorf("got %v; want Cloudflare's refusal", err)
	}
}

func TestSecretMarks(t *testing.T) {
	s := newStage(t)
	s.printed(nil)
	d := &diary{}
	must := func() deploy.Release {
		t.Helper()
		_, err := s.deployWith(d)
		s.must(err)
		return d.entries[len(d.entries)-1]
	}
	first := must()
	if len(first.Secrets) != 4 {
		t.Fatalf("the entry has %v", first.Secrets)
	}
	for name, mark := range first.Secrets {
		if mark.Fingerprint != "fp-"+string(s.secrets[name]) || mark.Since.IsZero() || mark.Since.Nanosecond() != 0 {
			t.Errorf("%s: %+v", name, mark)
		}
	}
	s.passed = 48 * time.Hour
	s.secrets = maps.Clone(s.secrets)
	s.secrets["SESSION_KEY"] = "another"
	delete(s.secrets, "TWILIO_ACCOUNT_SID")
	second := must()
	if since := second.Secrets["SESSION_KEY"].Since.Sub(first.Secrets["SESSION_KEY"].Since); since < 47*time.Hour {
		t.Errorf("a new value is %s younger", since)
	}
	for _, name := range []string{"STRIPE_SECRET_KEY", "TWILIO_ACCOUNT_SID"} { // brought again, and inherited
		if second.Secrets[name] != first.Secrets[name] {
			t.Errorf("%s: %+v became %+v", name, first.Secrets[name], second.Secrets[name])
		}
	}
	// Code alone, without sources: all marks go on.
	s.secrets, s.edit = nil, nil
	s.write("public/helm.css", "body { color: red }")
	if third := must(); !maps.Equal(third.Secrets, second.Secrets) {
		t.Errorf("an inherited bundle became %v", third.Secrets)
	}
	// Of values that come without fingerprints nobody knows whether they are the same.
	s.secrets = map[string]wrangler.Secret{"SESSION_KEY": "again"}
	s.write("public/helm.css", "body { color: blue }")
	if fourth := must(); fourth.Secrets["SESSION_KEY"].Fingerprint != "" || len(fourth.Secrets) != 3 {
		t.Errorf("an unknown value has a mark: %v", fourth.Secrets)
	}
}

// A version that failed before its release is taken back although it has other secrets.
func TestSecretsOfFailedProof(t *testing.T) {
	s, first := proved(t)
	s.secrets = map[string]wrangler.Secret{"SESSION_KEY": "another"}
	s.policy.Gate.Timeout = 20 * time.Millisecond
	s.pages(seesOther, sendsAway)
	_, err := s.deploy()
	var gate *deploy.GateError
	if !errors.As(err, &gate) || !gate.Before || gate.Restored != first {
		t.Fatalf("error %v", err)
	}
	if got := s.shares(); !slices.Equal(got, []string{"100", "100+0", "100"}) {
		t.Errorf("deployments %q", got)
	}
}
