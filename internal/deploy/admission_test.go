package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/sim"
)

// A branch of another shop, broken or hostile, keeps nobody else from being deployed: the owner hears of it.
func TestAdmissionOfClaims(t *testing.T) {
	mike, err := os.ReadFile(filepath.Join(overlays, "mike-s-bikes", "wrangler.jsonc"))
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t)
	var rival string
	s.edit = func(src *deploy.Source) {
		other, err := s.policy.Shop("mike-s-bikes")
		s.must(err)
		src.Rivals = deploy.NewRivals(s.policy, "wrangler.jsonc", []deploy.Branch{{Shop: src.Shop, Config: s.config}, {Shop: other, Config: []byte(rival)}})
	}
	for name, c := range map[string]struct {
		rival    string
		warnings int
	}{
		"honest":            {string(mike), 0},
		"broken":            {"{ env: no json", 0},
		"no overlay":        {`{"name": "helm"}`, 0},
		"nothing":           {"", 0},
		"unresolvable":      {strings.Replace(string(mike), `"main"`, `"main": 1, "x"`, 1), 0},
		"hostname":          {strings.ReplaceAll(string(mike), `"helm-mike-s-bikes.kvick.bike"`, `"helm-swicked.kvick.bike"`), 1},
		"bucket":            {strings.ReplaceAll(string(mike), "helm-mike-s-bikes-assets", "helm-swicked-assets"), 1},
		"database":          {strings.ReplaceAll(string(mike), "5d0f1c3e-7a2b-4c8d-9e6f-1a2b3c4d5e6f", swickedDB), 1},
		"database and name": {strings.NewReplacer("5d0f1c3e-7a2b-4c8d-9e6f-1a2b3c4d5e6f", swickedDB, "helm-mike-s-bikes-db", "kvick-helm-swicked").Replace(string(mike)), 2},
		"namespace":         {strings.ReplaceAll(string(mike), "b2e1d4c3f5a6079889706b5c4d3e2f1a", swickedKV), 1}, // the account tells whose it is
		"worker":            {strings.Replace(string(mike), `"name": "helm-mike-s-bikes"`, `"name": "helm-swicked"`, 1), 1},
		"service":           {strings.Replace(string(mike), `"vars": {`, `"services": [{ "binding": "S", "service": "helm-swicked" }], "vars": {`, 1), 1},
	} {
		rival = c.rival
		_, _, _, plan, err := s.plan(context.Background())
		if err != nil {
			t.Errorf("%s: the owner is refused: %v", name, err)
			continue
		}
		n := 0
		for _, f := range plan.Findings {
			if f.Level == deploy.LevelError {
				t.Errorf("%s: %v", name, f)
			}
			if f.Rule == "claimed-twice" && strings.Contains(f.Message, "shops/mike-s-bikes") {
				n++
			}
		}
		if n != c.warnings {
			t.Errorf("%s: %d warnings, want %d: %v", name, n, c.warnings, plan.Findings)
		}
	}
}

// What is claimed twice is found where the branch claims it, and not somewhere in its environment.
func TestAdmissionOfClaimsSaysWhere(t *testing.T) {
	mike, err := os.ReadFile(filepath.Join(overlays, "mike-s-bikes", "wrangler.jsonc"))
	if err != nil {
		t.Fatal(err)
	}
	for mine, theirs := range map[string]string{
		`"id": "` + swickedKV:                   "b2e1d4c3f5a6079889706b5c4d3e2f1a",
		`"database_name": "kvick-helm-swicked"`: "helm-mike-s-bikes-db",
		`"bucket_name": "helm-swicked-assets"`:  "helm-mike-s-bikes-assets",
		`"pattern": "helm-swicked.kvick.bike"`:  "helm-mike-s-bikes.kvick.bike",
		`"name": "helm-swicked"`:                `"name": "helm-mike-s-bikes"`,
	} {
		s := newStage(t)
		s.edit = func(src *deploy.Source) {
			other, err := s.policy.Shop("mike-s-bikes")
			s.must(err)
			value := mine
			if !strings.Contains(theirs, `"`) {
				value = strings.Trim(mine[strings.Index(mine, ": ")+2:], `"`)
			}
			rival := strings.ReplaceAll(string(mike), theirs, value)
			src.Rivals = deploy.NewRivals(s.policy, "wrangler.jsonc", []deploy.Branch{{Shop: src.Shop, Config: s.config}, {Shop: other, Config: []byte(rival)}})
		}
		_, _, _, plan, err := s.plan(context.Background())
		s.must(err)
		i := slices.IndexFunc(plan.Findings, func(f deploy.Finding) bool { return f.Rule == "claimed-twice" })
		if i < 0 {
			t.Errorf("%s: not found: %v", mine, plan.Findings)
			continue
		}
		f := plan.Findings[i]
		lines := strings.Split(string(s.config), "\n")
		near := strings.Join(lines[f.Line-1:min(len(lines), f.Line+2)], "\n") // a database stands over several lines
		if !strings.Contains(near, mine) {
			t.Errorf("%s: line %d is %q", mine, f.Line, f.Source)
		}
	}
}

// A hint names nothing that is refused too: what changes code is in no branch's power, whatever overlay_keys lists.
func TestAdmissionHints(t *testing.T) {
	for _, c := range []struct{ old, new, hint string }{
		{`"main": "src/index.ts"`, `"main": "src/identity.ts"`, "change it on main, for all shops"},
		{`"workers_dev": false`, `"workers_dev": false, "vars": {"X": "1"}`, "set env.swicked.vars instead, or change it on main for all shops"},
		{`"account_id"`, `"main": "src/identity.ts", "account_id"`, "set it on main for all shops: it changes what is run, and no branch may"},
		{`"account_id"`, `"queues": {"producers": []}, "account_id"`, "set it on main for all shops, or let branches set it: overlay_keys in fleet.yml"},
	} {
		s := newStage(t)
		base := deploy.Base{Config: s.config}
		s.edit = func(src *deploy.Source) { src.Base.Config = base.Config }
		s.replaceConfig(c.old, c.new)
		_, err := s.prepare(context.Background())
		var found deploy.Findings
		errors.As(err, &found)
		i := slices.IndexFunc(found, func(f deploy.Finding) bool { return f.Rule == "overlay-key-drift" })
		if i < 0 || found[i].Hint != c.hint {
			t.Errorf("%s: %v", c.new, err)
		}
	}
}

// Of a branch with hundreds of changes ten are named, and how many more there are.
func TestAdmissionOfManyChanges(t *testing.T) {
	s := newStage(t)
	s.edit = func(src *deploy.Source) {
		for i := range 250 {
			src.Base.Changes = append(src.Base.Changes, deploy.Change{Path: fmt.Sprintf("src/%03d \n.ts", i), After: 0o100644})
		}
	}
	_, err := s.prepare(context.Background())
	var found deploy.Findings
	if !errors.As(err, &found) || len(found) != 11 || !strings.Contains(found.Error(), "240 more paths") || strings.Contains(found[1].Message, "\n") {
		t.Errorf("%v", err)
	}
}

// The hostname that a Worker is to get is another one's: that is known before anything is written.
func TestAdmissionAsksForTheChangeset(t *testing.T) {
	s := newStage(t)
	s.mustDeploy()
	ctx := context.Background()
	domains, err := s.cf().Domains(ctx, cloudflare.DomainFilter{})
	s.must(err)
	for _, d := range domains {
		s.must(s.cf().DetachDomain(ctx, d.ID))
	}
	asked := func() (*deploy.State, *deploy.Plan) {
		s.passed += time.Hour // the lists are read again
		s.ForgetRequests()
		_, _, have, plan, err := s.plan(ctx)
		s.must(err)
		if n := len(slices.DeleteFunc(s.Requests(), func(r sim.Request) bool { return !strings.HasSuffix(r.Path, "/domains/changeset") })); n != 1 {
			t.Errorf("the changeset was asked for %d times", n)
		}
		return have, plan
	}
	if have, plan := asked(); len(have.Conflicts) > 0 || deploy.Findings(plan.Findings).Blocking() {
		t.Errorf("a free hostname: %+v, %v", have.Conflicts, plan.Findings)
	}
	hold(t, s, "thief", swickedHost)
	if have, plan := asked(); len(have.Conflicts) != 1 || !hasError(plan.Findings, "hostname-taken") {
		t.Errorf("a hostname that is held: %+v, %v", have.Conflicts, plan.Findings)
	}
}

// What was released outside and reaches another shop's data is an error until somebody says that it be replaced.
func TestAdmissionOfWhatIsLive(t *testing.T) {
	s := newStage(t)
	s.mustDeploy()
	const other = "00000000-0000-4000-8000-000000000001"
	s.must(s.account.AddD1("helm-other-db", other, "wnam"))
	s.outside(`{"type": "d1", "name": "DB", "id": "`+other+`"}, {"type": "r2_bucket", "name": "R2", "bucket_name": "helm-swicked-assets"}`, "")
	plan := func() deploy.Findings {
		_, _, _, p, err := s.plan(context.Background())
		s.must(err)
		return slices.DeleteFunc(p.Findings, func(f deploy.Finding) bool { return f.Rule != "live-binding-not-owned" })
	}
	if found := plan(); len(found) != 1 || !found.Blocking() || !strings.Contains(found[0].Message, "helm-other-db") {
		t.Errorf("%v", found)
	}
	s.edit = func(src *deploy.Source) { src.OverwriteOutside = true }
	if found := plan(); len(found) != 1 || found.Blocking() {
		t.Errorf("to be replaced: %v", found)
	}
}
