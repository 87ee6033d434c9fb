package deploy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/sim"
)

// hostile is one case of testdata/hostile.txt, which says what its lines mean.
type hostile struct {
	name, rule, at string
	line           int
	steps          []hostileStep
}

type hostileStep struct{ who, verb, text string }

func hostiles(t *testing.T) []hostile {
	t.Helper()
	text, err := os.ReadFile("testdata/hostile.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []hostile
	for i, line := range strings.Split(string(text), "\n") {
		first, rest, _ := strings.Cut(line, " ")
		switch {
		case strings.TrimSpace(line) == "" || first == "#":
		case first == "==":
			all = append(all, hostile{name: rest, at: "offline", line: i + 1})
		case first == "rule":
			all[len(all)-1].rule = rest
		case first == "at":
			all[len(all)-1].at = rest
		case first == "both" || first == "trick" || first == "honest":
			verb, text, _ := strings.Cut(rest, " ")
			c := &all[len(all)-1]
			c.steps = append(c.steps, hostileStep{first, verb, text})
		default:
			t.Fatalf("hostile.txt:%d: %q is nothing", i+1, line)
		}
	}
	return all
}

// TestHostileConfigs holds the wall against all that was thought of: each trick is refused by the rule that is meant to,
// before anything is written, and what is left of it without the trick is let through.
func TestHostileConfigs(t *testing.T) {
	cases := hostiles(t)
	if len(cases) < 60 {
		t.Errorf("%d cases", len(cases))
	}
	var builder deploy.Builder // one bundle for all: they have main's code
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(helm)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "wrangler.jsonc")); err != nil {
		t.Fatal(err)
	}
	// Most cases want nothing of the account; they share one, which nobody writes to.
	quiet := hostileWorld(t)
	t.Cleanup(func() {
		if w := writes(quiet.Requests()); len(w) > 0 {
			t.Errorf("written: %q", w)
		}
	})
	for _, c := range cases {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			if found := c.judged(t, quiet, &builder, dir, "trick"); !hasError(found, c.rule) {
				t.Errorf("hostile.txt:%d: not refused by %s %s, but:\n%v", c.line, c.rule, c.at, found)
			}
			if testing.Short() {
				return // scripts/admission-mutants.sh asks many times, and only for tricks
			}
			if found := c.judged(t, quiet, &builder, dir, "honest"); found.Blocking() {
				t.Errorf("hostile.txt:%d: the honest twin is refused:\n%v", c.line, found)
			}
		})
	}
}

func hasError(list deploy.Findings, rule string) bool {
	return slices.ContainsFunc(list, func(f deploy.Finding) bool { return f.Rule == rule && f.Level == deploy.LevelError })
}

// hostileStage is an account that has what both shops own.
type hostileStage struct {
	*stage
	e *deploy.Engine
}

func hostileWorld(t *testing.T) *hostileStage {
	t.Helper()
	s := &hostileStage{stage: newStageIn(t, sim.Options{RateLimit: -1})}
	s.e = s.engine()
	s.e.CF.Budget = &cloudflare.Budget{Limit: 1e6, PerSecond: 1e6} // one client for all cases, which are more than five minutes hold
	for _, shop := range [][4]string{
		{"helm-mike-s-bikes-db", "5d0f1c3e-7a2b-4c8d-9e6f-1a2b3c4d5e6f", "helm-mike-s-bikes", "b2e1d4c3f5a6079889706b5c4d3e2f1a"},
		{"helm-kvick-db", "00000000-0000-4000-8000-00000000000a", "helm-kvick", "0000000000000000000000000000000a"},
	} {
		s.must(s.account.AddD1(shop[0], shop[1], "wnam"))
		s.must(s.account.AddKV(shop[2]+"-kv", shop[3]))
		s.must(s.account.AddR2(shop[2] + "-assets"))
	}
	s.ForgetRequests()
	return s
}

// judged takes a case through the ways of a deploy as far as it goes, and returns what is found where it ends.
func (c hostile) judged(t *testing.T, s *hostileStage, builder *deploy.Builder, dir, who string) deploy.Findings {
	t.Helper()
	ctx := context.Background()
	quiet := !slices.ContainsFunc(c.steps, func(step hostileStep) bool { return step.verb == "live" && (step.who == "both" || step.who == who) })
	if !quiet {
		s = hostileWorld(t)
	}
	rival, err := os.ReadFile(filepath.Join(overlays, "mike-s-bikes", "wrangler.jsonc"))
	s.must(err)
	policy := string(s.read("fleet.yml"))
	slug, secrets := "swicked", s.secrets
	var keys []string
	var changes []deploy.Change
	var live []string
	swap := func(text string, in *string) {
		t.Helper()
		old, now, ok := strings.Cut(text+" ", " => ")
		if now = strings.TrimSuffix(now, " "); !ok {
			t.Fatalf("hostile.txt:%d: %q lacks =>", c.line, text)
		}
		old, now = strings.ReplaceAll(old, `\n`, "\n"), strings.ReplaceAll(now, `\n`, "\n")
		if !strings.Contains(*in, old) {
			t.Fatalf("hostile.txt:%d: there is no %q", c.line, old)
		}
		*in = strings.ReplaceAll(*in, old, now)
	}
	config, base := string(s.config), string(s.base)
	const top = `"name": "helm",`
	for _, step := range c.steps {
		if step.who != "both" && step.who != who {
			continue
		}
		switch step.verb {
		case "keys":
			keys = append(keys, strings.Fields(step.text)...)
		case "policy":
			swap(strings.ReplaceAll(step.text, `\n`, "\n"), &policy)
		case "env":
			config = strings.Replace(config, `"`+slug+`": {`, `"`+slug+`": {`+step.text+",", 1)
		case "top", "main":
			config = strings.Replace(config, top, top+step.text+",", 1)
			if step.verb == "main" {
				base = strings.Replace(base, top, top+step.text+",", 1)
			}
		case "branch":
			was := config
			old, now, _ := strings.Cut(step.text+" ", " => ")
			if !strings.Contains(was, old) {
				t.Fatalf("hostile.txt:%d: the branch has no %q", c.line, old)
			}
			// A blank at the end is a part of it, one before the end of a line without more is not.
			if now = strings.TrimSuffix(now, " "); strings.HasSuffix(step.text, " =>") {
				now = ""
			}
			config = strings.Replace(was, old, now, 1)
		case "code":
			swap(step.text, &config)
			swap(step.text, &base)
		case "base":
			base = map[string]string{"none": "", "garbage": "{ name: helm"}[step.text]
		case "base-env":
			base = strings.Replace(base, top, top+`"env": { "swicked": {`+step.text+`} },`, 1)
		case "shop":
			slug = step.text
			for _, r := range [][2]string{{"kvick-helm-swicked", "helm-" + slug + "-db"}, {"helm-swicked", "helm-" + slug}, {`"swicked": {`, `"` + slug + `": {`},
				{swickedDB, "00000000-0000-4000-8000-00000000000a"}, {swickedKV, "0000000000000000000000000000000a"}} {
				config = strings.ReplaceAll(config, r[0], r[1])
			}
		case "change":
			f := strings.Fields(step.text)
			before, _ := strconv.ParseUint(f[1], 8, 32)
			after, err := strconv.ParseUint(f[2], 8, 32)
			s.must(err)
			changes = append(changes, deploy.Change{Path: f[0], Before: uint32(before), After: uint32(after)})
		case "file":
			name, content, _ := strings.Cut(step.text, " ")
			copied := t.TempDir()
			s.must(os.CopyFS(copied, os.DirFS(dir)))
			dir = copied
			s.must(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
			s.must(os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(content, `\n`, "\n")), 0o644))
			changes = append(changes, deploy.Change{Path: name, Before: 0o100644, After: 0o100644})
		case "rival":
			text := string(rival)
			swap(step.text, &text)
			rival = []byte(text)
		case "secrets":
			secrets = nil
		case "live":
			live = append(live, step.text)
		default:
			t.Fatalf("hostile.txt:%d: what is %s?", c.line, step.verb)
		}
	}
	for _, text := range live {
		s.arrange(text)
	}
	rules, err := fleet.Parse("fleet.yml", []byte(policy))
	s.must(err)
	rules.OverlayKeys = append(rules.OverlayKeys, keys...)
	shop, err := rules.Shop(slug)
	s.must(err)
	other, err := rules.Shop("mike-s-bikes")
	s.must(err)
	src := deploy.Source{
		Policy: rules, Shop: shop, Commit: fmt.Sprintf("%040x", 1), Main: fmt.Sprintf("%040x", 2), Dir: dir, Tree: "helm",
		ConfigName: "wrangler.jsonc", Config: []byte(config), Secrets: secrets, Tool: "test",
		Base: deploy.Base{Changes: changes},
		Rivals: deploy.NewRivals(rules, "wrangler.jsonc", []deploy.Branch{
			{Shop: shop, Config: []byte(config)}, {Shop: other, Config: rival}}),
	}
	if base != "" {
		src.Base.Config = []byte(base)
	}
	if !quiet {
		s.ForgetRequests()
	}
	want, err := builder.Prepare(ctx, src)
	var found deploy.Findings
	if errors.As(err, &found) {
		if who == "trick" && c.at != "offline" {
			t.Errorf("hostile.txt:%d: refused before it comes there:\n%v", c.line, found)
		}
		return found
	}
	s.must(err)
	if c.at == "check" || c.at == "offline" && who == "honest" {
		lint, err := want.Lint(ctx, func(string) bool { return true })
		s.must(err)
		found = append(slices.Clone(want.Findings), lint...)
		if c.at == "check" {
			return found
		}
	}
	have, err := s.e.Observe(ctx, want)
	s.must(err)
	found = append(found, deploy.Diff(want, have).Findings...)
	if !quiet {
		if w := writes(s.Requests()); len(w) > 0 {
			t.Errorf("hostile.txt:%d: written: %q", c.line, w)
		}
	}
	return found
}

// arrange brings a world to where a case wants it.
func (s *stage) arrange(text string) {
	s.t.Helper()
	ctx := context.Background()
	verb, rest, _ := strings.Cut(text, " ")
	f := strings.Fields(rest)
	zone := func() string {
		zones, err := s.cf().Zones(ctx, "kvick.bike")
		s.must(err)
		return zones[0].ID
	}
	switch verb {
	case "r2":
		s.must(s.account.AddR2(f[0]))
	case "zone":
		s.must(s.account.AddZone(f[0], ""))
	case "domain":
		hold(s.t, s, f[1], f[0])
	case "route":
		if name := f[0][strings.LastIndexByte(strings.TrimSuffix(f[0], "/*"), '.'):]; strings.HasPrefix(name, ".shop") {
			s.must(s.account.AddZone("kvick.shop", "00000000000000000000000000000002"))
			hold(s.t, s, f[1], "")
			_, err := s.cf().CreateRoute(ctx, "00000000000000000000000000000002", f[0], f[1])
			s.must(err)
			return
		}
		hold(s.t, s, f[1], "")
		_, err := s.cf().CreateRoute(ctx, zone(), f[0], f[1])
		s.must(err)
	case "dns":
		body, err := json.Marshal(map[string]any{"type": "A", "name": f[0], "content": "192.0.2.1", "ttl": 1})
		s.must(err)
		req, err := http.NewRequest(http.MethodPost, s.URL+"/zones/"+zone()+"/dns_records", bytes.NewReader(body))
		s.must(err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+string(s.cf().Token))
		resp, err := http.DefaultTransport.RoundTrip(req)
		s.must(err)
		defer resp.Body.Close()
		if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 {
			s.t.Fatalf("making a DNS record: %s", answer)
		}
	case "outside":
		hold(s.t, s, "helm-mike-s-bikes", "")
		s.outside(rest, "")
	case "counting":
		hold(s.t, s, "helm-mike-s-bikes", "")
		s.outside(rest, `"annotations":{"workers/tag":"sf-`+strings.Repeat("0", 32)+`"},`)
	default:
		s.t.Fatalf("what is live %s?", verb)
	}
}

// outside releases code on the shop's Worker with one binding, as somebody with the dashboard would; with a tag, as shopfleet.
func (s *stage) outside(binding, annotations string) {
	s.t.Helper()
	body := "--x\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n" +
		`{"main_module":"index.js",` + annotations + `"bindings":[` + binding + `],"compatibility_date":"2026-06-01","compatibility_flags":[]}` +
		"\r\n--x\r\nContent-Disposition: form-data; name=\"index.js\"; filename=\"index.js\"\r\nContent-Type: application/javascript+module\r\n\r\n" +
		"export default { fetch() { return new Response('other') } }\r\n--x--\r\n"
	_, err := s.cf().PutWorker(context.Background(), "helm-swicked", "multipart/form-data; boundary=x", []byte(body))
	s.must(err)
}
