package deploy_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
)

func TestEntryDigest(t *testing.T) {
	a := deploy.EntryDigest(json.RawMessage(`{"b": [1, 2.50, {"y":"<&>","x":null}], "a": 12345678901234567890}`))
	b := deploy.EntryDigest(json.RawMessage("{\"a\":12345678901234567890,\n\"b\":[1,2.50,{\"x\":null,\"y\":\"\\u003c\\u0026\\u003e\"}]}"))
	if a == "" || a != b {
		t.Errorf("the order of keys, white space and escapes count: %q, %q", a, b)
	}
	if c := deploy.EntryDigest(json.RawMessage(`{"a":12345678901234567891,"b":[1,2.50,{"x":null,"y":"<&>"}]}`)); c == a {
		t.Error("a long number is rounded")
	}
	if deploy.EntryDigest(nil) != "" || deploy.EntryDigest(json.RawMessage("{")) != "" {
		t.Error("what is no JSON has a digest")
	}
}

// keep writes an entry as a journal does.
func keep(list []deploy.Release, r deploy.Release) []deploy.Release {
	r.ID = fmt.Sprint(len(list) + 1)
	r.VersionID = "v" + r.ID
	if r.Previous == "" && r.Tool != "old" {
		r.Previous = deploy.NoEntry
		if len(list) > 0 {
			r.Previous = list[0].Digest
		}
	}
	kept, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	r.Digest = deploy.EntryDigest(kept)
	return append([]deploy.Release{r}, list...)
}

func TestChain(t *testing.T) {
	var honest []deploy.Release
	for range 5 {
		honest = keep(honest, deploy.Release{Shop: "swicked"})
	}
	var grown []deploy.Release // begun by an older shopfleet
	for i := range 5 {
		tool := ""
		if i < 2 {
			tool = "old"
		}
		grown = keep(grown, deploy.Release{Shop: "swicked", Tool: tool})
	}
	without := func(list []deploy.Release, i int) []deploy.Release { return slices.Delete(slices.Clone(list), i, i+1) }
	edited := func(list []deploy.Release, i int) []deploy.Release {
		list = slices.Clone(list)
		list[i].Digest = deploy.EntryDigest(json.RawMessage(`{"edited":true}`))
		return list
	}
	swapped := slices.Clone(honest)
	swapped[1], swapped[2] = swapped[2], swapped[1]
	forged := keep(slices.Clone(honest[2:]), deploy.Release{Shop: "swicked", Tool: "old"})
	forged[0].ID = "666"
	inserted := append(slices.Clone(honest[:2]), forged...)
	for _, test := range []struct {
		name  string
		list  []deploy.Release
		whole bool
		says  []string // one for each finding
	}{
		{"none", nil, true, nil},
		{"honest", honest, true, nil},
		{"the newest of it", honest[:3], false, nil},
		{"one", honest[4:], true, nil},
		{"begun without links", grown, true, nil},
		{"all without links", grown[3:], true, nil},
		{"the edge among those without", grown[:4], false, nil},
		{"a deleted middle entry", without(honest, 2), true, []string{"entry 4 (version v4) follows an entry that is not there: it was deleted, or changed since"}},
		{"a changed middle entry", edited(honest, 2), true, []string{"entry 4 (version v4) follows an entry that is not there"}},
		{"a changed one without a link", edited(grown, 3), true, []string{"entry 3 (version v3) follows an entry that is not there"}},
		{"the first is gone", honest[:4], true, []string{"entry 2 (version v2) follows an entry that is not there"}},
		{"put in between", inserted, true, []string{"entry 4 (version v4) follows entry 3 (version v3): what stands between them is forged, or was moved (entry 666)",
			"entry 666 (version v4) says of no entry that it follows it"}},
		{"moved", swapped, true, []string{"entry 5 (version v5) follows entry 4", "entry 3 (version v3) follows entry 2", "entry 4 (version v4) follows entry 3 (version v3), which is not older"}},
		{"another first", keep(slices.Clone(honest), deploy.Release{Shop: "swicked", Previous: deploy.NoEntry}), true, []string{"entry 6 (version v6) says that it is the first, and entry 5 (version v5) is older"}},
		{"two after one", keep(slices.Clone(honest), deploy.Release{Shop: "swicked", Previous: honest[1].Digest}), true, []string{"entry 6 (version v6) follows entry 4"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := deploy.Chain(test.list, test.whole)
			if len(found) != len(test.says) {
				t.Fatalf("got\n%v\nwant %d", found, len(test.says))
			}
			for i, f := range found {
				if f.Rule != "receipt-chain-broken" || f.Level != deploy.LevelError || !strings.Contains(f.Message, test.says[i]) {
					t.Errorf("got %s; want …%s…", f, test.says[i])
				}
			}
		})
	}
}

// The journal of real deploys is a chain, and each entry of it a receipt.
func TestReceipts(t *testing.T) {
	s := newStage(t)
	d := &diary{}
	s.edit = func(src *deploy.Source) {
		src.Actor, src.Run = "anna", &deploy.Run{ID: "7", URL: "https://github.com/acme/helm/actions/runs/7"}
	}
	_, err := s.deployWith(d)
	s.must(err)
	first := d.entries[0]
	if first.Previous != deploy.NoEntry || first.Actor != "anna" || first.Run != "https://github.com/acme/helm/actions/runs/7" || len(first.Bundle) < 32 || len(first.Assets) < 32 {
		t.Errorf("the first entry is %+v", first)
	}
	want := []string{
		"DB d1 " + swickedDB + " kvick-helm-swicked [name id]",
		"SESSIONS kv_namespace " + swickedKV + " helm-swicked-kv [name id]",
		"ASSETS_BUCKET r2_bucket  helm-swicked-assets [name id]",
	}
	var got []string
	for _, b := range first.Bindings {
		got = append(got, fmt.Sprint(b.Name, " ", b.Type, " ", b.ID, " ", b.Resource, " ", b.Proof))
	}
	slices.Sort(got)
	slices.Sort(want)
	if len(got) != 3 {
		t.Errorf("bound to\n%s", strings.Join(got, "\n"))
	}
	for i := range got {
		_, g, _ := strings.Cut(got[i], " ")
		if !slices.ContainsFunc(want, func(w string) bool { _, w, _ = strings.Cut(w, " "); return w == g }) {
			t.Errorf("bound to %s", got[i])
		}
	}
	if text := d.states["0"][1].Text; text != "passed its gate after 1 try" {
		t.Errorf("the gate said %q", text)
	}

	// The same code again, beside a changed file: the bundle is the same, whenever it was built.
	s.write("public/new.txt", "new")
	_, err = s.deployWith(d)
	s.must(err)
	// Somebody releases, and is written down: both entries follow.
	hold(t, s, "helm-swicked", "")
	s.edit = func(src *deploy.Source) { src.OverwriteOutside = true }
	s.write("public/new.txt", "newer")
	_, err = s.deployWith(d)
	s.must(err)
	if len(d.entries) != 4 || !d.entries[2].Outside || d.entries[2].Bindings != nil {
		t.Fatalf("the journal is %+v", d.entries)
	}
	if d.entries[1].Bundle != first.Bundle || d.entries[1].Assets == first.Assets || d.entries[1].Previous != first.Digest {
		t.Errorf("the second entry is %+v", d.entries[1])
	}
	list, err := d.Releases(t.Context(), fleet.Shop{})
	s.must(err)
	if found := deploy.Chain(list, true); len(found) > 0 {
		t.Errorf("the chain of honest deploys: %v", found)
	}
}

func TestContradicts(t *testing.T) {
	mark, other := "sf-"+strings.Repeat("a", 32), "sf-"+strings.Repeat("b", 32)
	memo := func(mark, commit string) string {
		return "shopfleet content=" + mark + " secrets=0123456789ab reach=0123456789ab commit=" + commit
	}
	r := deploy.Release{VersionID: "v", Content: mark, Commit: "c"}
	for _, test := range []struct {
		name         string
		r            deploy.Release
		tag, message string
		want         bool
	}{
		{"agrees", r, mark, memo(mark, "c"), false},
		{"another commit", r, mark, memo(mark, "d"), true},
		{"another content", r, other, memo(other, "c"), true},
		{"no message of ours", r, "", "hello", false},
		{"a message that the tag does not bear out", r, other, memo(mark, "d"), false},
		{"crons of another commit", deploy.Release{VersionID: "v", PreviousVersionID: "v", Content: mark, Commit: "d"}, mark, memo(mark, "c"), false},
		{"late, and GitHub did not have the commit", deploy.Release{VersionID: "v", Content: mark, Late: true}, mark, memo(mark, "c"), false},
		{"ours, released by somebody else", deploy.Release{VersionID: "v", Content: mark, Outside: true}, mark, memo(mark, "c"), false},
		{"said to be somebody else's", deploy.Release{VersionID: "v", Outside: true}, mark, memo(mark, "c"), true},
	} {
		if got := test.r.Contradicts(test.tag, test.message); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// What a receipt says of stores that say themselves whose they are, also when the live release spared the looking.
func TestReceiptsOfAdopted(t *testing.T) {
	s := newStage(t)
	s.mustDeploy()
	_, _, err := s.adopt()
	s.must(err)
	d := &diary{}
	for i := range 2 {
		s.write("public/new.txt", fmt.Sprint("new ", i))
		_, err = s.deployWith(d)
		s.must(err)
		for _, b := range d.entries[len(d.entries)-1].Bindings {
			if !slices.Equal(b.Proof, []string{"name", "id", "tag", "record"}) {
				t.Errorf("release %d: %s is proved by %q", i, b.Resource, b.Proof)
			}
		}
	}
}
