package rebase

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// config is a wrangler.jsonc in which neighbouring lines are main's and the shop's.
func config(date, theme, extra string) string {
	return fmt.Sprintf(`{
  "name": "helm",
  "compatibility_date": %q,
  "env": {
    "acme": {
      "vars": { "THEME": %q }%s
    }
  }
}
`, date, theme, extra)
}

func TestConfigIsMergedByStructure(t *testing.T) {
	p := newPlace(t)
	m0 := p.commit("", "m0", tree{"wrangler.jsonc": config("2026-01-01", "light", "")})
	// git sees one place that both sides changed; by structure it is two.
	shop := strings.Replace(config("2026-01-01", "light", ""), `"2026-01-01",`, `"2026-01-01", // ours since May`, 1)
	shop = strings.Replace(shop, `"light" }`, `"dark" }`, 1)
	s1 := p.commit(m0, "s1", tree{"wrangler.jsonc": shop})
	m1 := p.commit(m0, "m1", tree{"wrangler.jsonc": config("2026-06-06", "light", ",\n      \"limits\": { \"cpu_ms\": 50 }")})
	m := p.one(Input{Main: m1, Branches: []Branch{branch("acme", s1)}})
	text := p.read(m.To, "wrangler.jsonc")
	if m.State != Resolved || len(m.Conflicts) > 0 || !strings.Contains(text, `"2026-06-06"`) || !strings.Contains(text, `"dark"`) || !strings.Contains(text, "cpu_ms") {
		t.Errorf("got %+v\n%s", m, text)
	}
}

func TestConfigChoice(t *testing.T) {
	p := newPlace(t)
	m0 := p.commit("", "m0", tree{"wrangler.jsonc": config("2026-01-01", "light", "")})
	s1 := p.commit(m0, "s1", tree{"wrangler.jsonc": config("2026-01-01", "dark", "")})
	m1 := p.commit(m0, "m1", tree{"wrangler.jsonc": config("2026-01-01", "blue", "")})
	m := p.one(Input{Main: m1, Branches: []Branch{branch("acme", s1)}})
	if m.State != Resolved || len(m.Choices) != 1 || m.Choices[0].Key != "env.acme.vars.THEME" || m.Choices[0].Taken != "shop" || !m.NeedsPerson() {
		t.Errorf("got %+v", m)
	}
	if text := p.read(m.To, "wrangler.jsonc"); text != strings.TrimSpace(config("2026-01-01", "dark", "")) {
		t.Errorf("got %s", text)
	}
}

func TestConfigNeedsPerson(t *testing.T) {
	p := newPlace(t)
	with := ",\n      \"kv_namespaces\": [{ \"binding\": \"KV\", \"id\": \"1\" }]"
	m0 := p.commit("", "m0", tree{"wrangler.jsonc": config("2026-01-01", "light", with)})
	s1 := p.commit(m0, "s1", tree{"wrangler.jsonc": config("2026-01-01", "light", strings.Replace(with, `"1"`, `"2"`, 1))})
	m1 := p.commit(m0, "m1", tree{"wrangler.jsonc": config("2026-01-01", "light", "")})
	m := p.one(Input{Main: m1, Branches: []Branch{branch("acme", s1)}})
	if m.State != Conflicted || len(m.Conflicts) != 1 || m.Conflicts[0].Path != "wrangler.jsonc" || len(m.Conflicts[0].Values) == 0 {
		t.Fatalf("got %+v", m)
	}
	text := p.read(m.To, "wrangler.jsonc")
	if !strings.Contains(text, "<<<<<<< main\n") || !strings.Contains(text, ">>>>>>> shops/acme\n") {
		t.Errorf("left is %s", text)
	}
	if ok, _ := m.Landable(); ok {
		t.Error("it may land")
	}
}

// Both sides add the file; and in a commit that renames others, so that git merges whole trees.
func TestConfigIsAddedByBoth(t *testing.T) {
	p := newPlace(t)
	m0 := p.commit("", "m0", tree{"a": lines(9, nil)})
	s1 := p.commit(m0, "s1", tree{"wrangler.jsonc": config("2026-01-01", "dark", ""), "a": gone, "b": lines(9, nil)})
	m1 := p.commit(m0, "m1", tree{"wrangler.jsonc": strings.Replace(config("2026-01-01", "", ""), "acme", "other", 1)})
	m := p.one(Input{Main: m1, Branches: []Branch{branch("acme", s1)}})
	text := p.read(m.To, "wrangler.jsonc")
	if m.State != Drifted || len(m.Conflicts) > 0 || !strings.Contains(text, `"acme"`) || !strings.Contains(text, `"other"`) {
		t.Errorf("got %+v\n%s", m, text)
	}
	if !slices.Equal(m.Drift, []string{"a", "b"}) {
		t.Errorf("drift is %q", m.Drift)
	}
}

// A side that cannot be read leaves git's word.
func TestConfigThatCannotBeRead(t *testing.T) {
	p := newPlace(t)
	broken := "{ \"a\": \n" + lines(20, nil)
	m0 := p.commit("", "m0", tree{"wrangler.jsonc": broken})
	s1 := p.commit(m0, "s1", tree{"wrangler.jsonc": "{ \"a\": \n" + lines(20, map[int]string{2: "shop"})})
	s2 := p.commit(m0, "s2", tree{"wrangler.jsonc": "{ \"a\": \n" + lines(20, map[int]string{18: "shop"})})
	m1 := p.commit(m0, "m1", tree{"wrangler.jsonc": "{ \"a\": \n" + lines(20, map[int]string{18: "main"})})
	moves := p.survey(Input{Main: m1, Branches: []Branch{branch("one", s1), branch("two", s2)}})
	if m := moves[0]; m.State != Clean {
		t.Errorf("got %+v", m)
	}
	if m := moves[1]; m.State != Conflicted || m.Conflicts[0].Values != nil {
		t.Errorf("got %+v", m)
	}
}
