package command

import (
	"encoding/json"
	"math/rand"
	"slices"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/audit"
	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/fleet"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// A shop that leaves, as far as the hold is concerned: what a step leaves behind in it.
func (l *leaving) after(s stride, a asked, grace time.Duration) *leaving {
	next := leaving{}
	if l != nil {
		next = *l
	}
	switch s {
	case stepHold:
		next = leaving{Verb: a.verb, Stage: stageHeld, Account: "kvick-1", To: a.to}
	case stepBackup:
		next.Stage, next.Backup = stageBackedUp, &export{At: "2026-11-28T12-00-00Z"}
	case stepMake:
		next.Stage = stageMade
	case stepClose:
		next.Stage, next.Closed, next.Due = stageClosed, a.at, a.at.Add(grace)
	case stepCopy:
		next.Stage = stageCopied
	case stepCommit:
		next.Stage, next.Moved = stageCommitted, "c0ffee"
	case stepOpen:
		next.Stage, next.Opened = stageMoved, a.at
	case stepReopen:
		if next.Verb == verbOffboard {
			return nil
		}
		next.Stage, next.Opened = stageReturned, time.Time{}
	case stepDelete:
		return nil
	}
	return &next
}

func TestOffboardGoesThroughItsSteps(t *testing.T) {
	grace := 30 * 24 * time.Hour
	a := asked{verb: verbOffboard, what: askGo, slug: "swicked", at: noon}
	var l *leaving
	var took []stride
	for {
		s, found := l.next(a)
		if found != nil {
			t.Fatal(found)
		}
		if s == stepDone {
			break
		}
		took = append(took, s)
		l = l.after(s, a, grace)
		if !l.valid() {
			t.Fatalf("after %s the hold cannot be believed: %+v", s, l)
		}
	}
	if want := []stride{stepHold, stepBackup, stepClose}; !slices.Equal(took, want) {
		t.Fatalf("took %q, want %q", took, want)
	}
	for _, test := range []struct {
		name string
		a    asked
		next stride
		rule string
	}{
		{"again", a, stepDone, ""},
		{"too early", asked{verb: verbOffboard, what: askDelete, at: noon.Add(grace - time.Second)}, stepDone, "grace-period"},
		{"too early, and now", asked{verb: verbOffboard, what: askDelete, at: noon, now: true}, stepDelete, ""},
		{"in time", asked{verb: verbOffboard, what: askDelete, at: noon.Add(grace)}, stepDelete, ""},
		{"cancel", asked{verb: verbOffboard, what: askCancel, at: noon}, stepReopen, ""},
		{"move meanwhile", asked{verb: verbMove, what: askGo, to: "kvick-2", at: noon}, stepDone, "shop-leaving"},
	} {
		wantNext(t, test.name, l, test.a, test.next, test.rule)
	}
	for _, stage := range []stage{stageHeld, stageBackedUp} {
		open := *l
		open.Stage = stage
		wantNext(t, "delete before it is closed", &open, asked{verb: verbOffboard, what: askDelete, at: noon.Add(2 * grace), now: true}, stepDone, "not-closed")
		wantNext(t, "cancel", &open, asked{verb: verbOffboard, what: askCancel}, stepReopen, "")
	}
	deleting := *l
	deleting.Stage = stageDeleting
	wantNext(t, "cancel too late", &deleting, asked{verb: verbOffboard, what: askCancel}, stepDone, "deletion-begun")
	wantNext(t, "go on deleting", &deleting, asked{verb: verbOffboard, what: askDelete, at: noon}, stepDelete, "")
	wantNext(t, "offboard while deleting", &deleting, a, stepDone, "deletion-begun")
	wantNext(t, "delete what does not leave", nil, asked{verb: verbOffboard, what: askDelete}, stepDone, "not-leaving")
	wantNext(t, "cancel what does not leave", nil, asked{verb: verbOffboard, what: askCancel}, stepDone, "not-leaving")
}

func wantNext(t *testing.T, name string, l *leaving, a asked, want stride, rule string) {
	t.Helper()
	got, found := l.next(a)
	has := ""
	if len(found) > 0 {
		has = found[0].Rule
		if found[0].Hint == "" {
			t.Errorf("%s: no hint: %v", name, found)
		}
	}
	if got != want || has != rule {
		t.Errorf("%s: next is %q %s, want %q %s", name, got, has, want, rule)
	}
}

func TestMoveGoesThroughItsSteps(t *testing.T) {
	go_ := asked{verb: verbMove, what: askGo, slug: "swicked", to: "kvick-2", at: noon}
	back := asked{verb: verbMove, what: askBack, slug: "swicked", at: noon}
	confirm := asked{verb: verbMove, what: askConfirm, slug: "swicked", at: noon}
	var l *leaving
	var took []stride
	for {
		s, found := l.next(go_)
		if found != nil {
			t.Fatal(found)
		}
		if s == stepDone {
			break
		}
		took = append(took, s)
		l = l.after(s, go_, 0)
		if !l.valid() {
			t.Fatalf("after %s the hold cannot be believed: %+v", s, l)
		}
		// From every point there is a way back, and none to a deletion.
		wantNext(t, "back after "+string(s), l, back, stepReopen, "")
		if l.Stage != stageMoved {
			wantNext(t, "confirm after "+string(s), l, confirm, stepDone, "move-unfinished")
			wantNext(t, "elsewhere after "+string(s), l, asked{verb: verbMove, what: askGo, to: "kvick-3"}, stepDone, "move-elsewhere")
			if l.kept() != "kvick-2" {
				t.Errorf("after %s what would be deleted is in %s", s, l.kept())
			}
		}
	}
	if want := []stride{stepHold, stepMake, stepClose, stepCopy, stepCommit, stepOpen}; !slices.Equal(took, want) {
		t.Fatalf("took %q, want %q", took, want)
	}
	if l.kept() != "kvick-1" {
		t.Errorf("kept is %s, want the old account", l.kept())
	}
	wantNext(t, "confirm", l, confirm, stepDelete, "")
	wantNext(t, "offboard meanwhile", l, asked{verb: verbOffboard, what: askGo}, stepDone, "shop-leaving")
	returned := l.after(stepReopen, back, 0)
	if !returned.valid() || returned.kept() != "kvick-2" {
		t.Errorf("after it returned what is deleted is in %s", returned.kept())
	}
	wantNext(t, "move again", returned, go_, stepDone, "move-copy-left")
	wantNext(t, "back again", returned, back, stepDone, "")
	wantNext(t, "confirm after back", returned, confirm, stepDelete, "")
	returning := *returned
	returning.Stage = stageReturning
	wantNext(t, "go on while it returns", &returning, go_, stepDone, "move-returning")
	wantNext(t, "confirm while it returns", &returning, confirm, stepDone, "move-unfinished")
	deleting := *l
	deleting.Stage = stageDeleting
	for name, a := range map[string]asked{"move": go_, "back": back} {
		wantNext(t, name+" while deleting", &deleting, a, stepDone, "deletion-begun")
	}
	wantNext(t, "confirm what does not move", nil, confirm, stepDone, "not-leaving")
}

// Whatever people ask for in whatever order, and wherever their runs are killed, nothing is deleted where the shop answers,
// and nothing before it was closed and exported or copied.
func TestLeavingNeverDeletesWhatIsLive(t *testing.T) {
	r := rand.New(rand.NewSource(8))
	deleted := 0
	for range 3000 {
		var l *leaving
		now := noon
		live, exported, closed, copied := "kvick-1", false, false, false
		verb := []string{verbOffboard, verbMove}[r.Intn(2)]
		for range 25 {
			now = now.Add(time.Duration(r.Intn(20*24)) * time.Hour)
			a := asked{verb: verb, slug: "swicked", to: "kvick-2", at: now,
				what: map[string][]string{verbOffboard: {askGo, askDelete, askCancel}, verbMove: {askGo, askConfirm, askBack}}[verb][r.Intn(3)]}
			if verb == verbOffboard {
				a.to = ""
			}
			s, found := l.next(a)
			if found != nil || s == stepDone {
				continue
			}
			if l != nil {
				entered := l.before(s)
				if l = &entered; !l.valid() {
					t.Fatalf("before %s the hold cannot be believed: %+v", s, l)
				}
			}
			kill := r.Intn(6)
			if kill == 0 {
				continue // before the work
			}
			switch s {
			case stepBackup:
				exported = true
			case stepClose:
				closed = true
			case stepCopy:
				if !closed {
					t.Fatal("copied while it still answered")
				}
				copied = true
			case stepOpen:
				if !copied {
					t.Fatal("opened in the new account without its data")
				}
				live, closed = "kvick-2", false
			case stepReopen:
				live, closed = "kvick-1", false
			case stepDelete:
				switch {
				case verb == verbMove && l.kept() == live:
					t.Fatalf("deletes from %s, where the shop answers: %+v", live, l)
				case verb == verbOffboard && (!closed || !exported || now.Before(l.Due)):
					t.Fatalf("deletes a shop that was not closed, not exported, or is in its grace: %+v", l)
				}
			}
			if kill == 1 {
				continue // behind the work, before it is written down
			}
			l = l.after(s, a, 30*24*time.Hour)
			if s == stepDelete {
				deleted++
				break // it is another shop from here on
			}
		}
	}
	if deleted < 100 {
		t.Fatalf("only %d walks came to a deletion", deleted)
	}
}

// What somebody wrote into a hold by hand is believed only where it makes sense.
func TestLeavingInAHoldIsChecked(t *testing.T) {
	good := Hold{Shop: "swicked", Owner: "operator", Reason: "it is being closed", Created: noon, By: verbOffboard, State: holdHeld,
		Leaving: &leaving{Verb: verbOffboard, Stage: stageClosed, Account: "kvick-1", Backup: &export{At: "x"}, Closed: noon, Due: noon.Add(time.Hour)}}
	read := func(x Hold) Hold {
		text, err := x.text()
		if err != nil {
			t.Fatal(err)
		}
		return readHold("swicked", "sha", text, noon)
	}
	if x := read(good); x.Leaving == nil || x.Leaving.Stage != stageClosed || x.Reason != good.Reason {
		t.Fatalf("a hold of a shop that leaves was read as %+v", x)
	}
	for name, change := range map[string]func(*Hold){
		"an unknown stage":              func(x *Hold) { x.Leaving.Stage = "gone" },
		"an unknown verb":               func(x *Hold) { x.Leaving.Verb = "delete" },
		"closed without an export":      func(x *Hold) { x.Leaving.Backup = nil },
		"due before it was closed":      func(x *Hold) { x.Leaving.Due = noon.Add(-time.Hour) },
		"never closed":                  func(x *Hold) { x.Leaving.Closed = time.Time{} },
		"no account":                    func(x *Hold) { x.Leaving.Account = "" },
		"a stage of a move":             func(x *Hold) { x.Leaving.Stage = stageMoved },
		"one that is over some time":    func(x *Hold) { x.Expires = noon.Add(time.Hour) },
		"a move to where it is already": func(x *Hold) { x.Leaving.Verb, x.Leaving.To = verbMove, "kvick-1" },
		"a move that came nowhere":      func(x *Hold) { x.Leaving.Verb, x.Leaving.To, x.Leaving.Stage = verbMove, "kvick-2", stageMoved },
	} {
		var bad Hold
		text, _ := json.Marshal(good)
		if err := json.Unmarshal(text, &bad); err != nil {
			t.Fatal(err)
		}
		change(&bad)
		if x := read(bad); x.Leaving != nil || x.Reason != "a hold that cannot be read" || !x.counts(noon) {
			t.Errorf("%s: read as %+v", name, x)
		}
	}
}

func TestOthersAreWhatIsNotTheShops(t *testing.T) {
	names := func(slug string) fleet.Shop {
		return fleet.Shop{Slug: slug, Worker: "helm-" + slug, D1: "helm-" + slug + "-db", KV: "helm-" + slug + "-kv", R2: "helm-" + slug + "-assets"}
	}
	shops := []fleet.Shop{names("left"), names("one"), names("two")}
	world := func() *audit.Snapshot {
		s := &audit.Snapshot{TagsRead: true}
		for _, x := range shops {
			s.Workers = append(s.Workers, audit.Worker{Worker: cloudflare.Worker{Name: x.Worker, Etag: "e-" + x.Slug}})
			s.Databases = append(s.Databases, cloudflare.D1Database{ID: "d-" + x.Slug, Name: x.D1})
			s.Namespaces = append(s.Namespaces, cloudflare.KVNamespace{ID: "k-" + x.Slug, Title: x.KV})
			s.Buckets = append(s.Buckets, cloudflare.R2Bucket{Name: x.R2})
			s.Routes = append(s.Routes, audit.Route{Zone: "kvick.bike", Pattern: x.Worker + ".kvick.bike/*", Worker: x.Worker})
			s.Domains = append(s.Domains, cloudflare.Domain{Hostname: x.Worker + ".kvick.bike", Service: x.Worker})
			s.Tags = append(s.Tags, cloudflare.ResourceTags{Type: "d1_database", ID: "d-" + x.Slug, Tags: map[string]string{"shop": x.Slug}})
		}
		return s
	}
	of := func(s *audit.Snapshot) *others {
		o, err := othersOf(s, shops[0], shops)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	before := of(world())
	if before.Count != 14 || len(before.Shops) != 2 {
		t.Fatalf("two other shops have %d things in %v, want 14", before.Count, before.Shops)
	}
	gone := world()
	gone.Workers, gone.Databases, gone.Namespaces, gone.Buckets = gone.Workers[1:], gone.Databases[1:], gone.Namespaces[1:], gone.Buckets[1:]
	gone.Routes, gone.Domains = gone.Routes[1:], gone.Domains[1:]
	slices.Reverse(gone.Databases)
	if after := of(gone); after.Digest == before.Digest {
		t.Error("a tag of a database that is gone does not count as somebody else's")
	}
	gone.Tags = gone.Tags[1:]
	if after := of(gone); after.Digest != before.Digest || len(before.changed(after)) > 0 {
		t.Errorf("what the shop took along counts as the others': %v", before.changed(after))
	}
	for name, change := range map[string]func(*audit.Snapshot){
		"a Worker that is gone":       func(s *audit.Snapshot) { s.Workers = s.Workers[:2] },
		"a Worker with other code":    func(s *audit.Snapshot) { s.Workers[2].Etag = "other" },
		"a database made anew":        func(s *audit.Snapshot) { s.Databases[2].ID = "other" },
		"a namespace that is gone":    func(s *audit.Snapshot) { s.Namespaces = s.Namespaces[:2] },
		"a bucket that is gone":       func(s *audit.Snapshot) { s.Buckets = s.Buckets[:2] },
		"a route that is gone":        func(s *audit.Snapshot) { s.Routes = s.Routes[:2] },
		"a domain that is gone":       func(s *audit.Snapshot) { s.Domains = s.Domains[:2] },
		"a tag that names another":    func(s *audit.Snapshot) { s.Tags[2].Tags = map[string]string{"shop": "one"} },
		"a Worker that is bound anew": func(s *audit.Snapshot) { s.Workers[2].Settings.CompatibilityDate = "2026-01-01" },
	} {
		s := world()
		change(s)
		if after := of(s); !slices.Contains(before.changed(after), "two") {
			t.Errorf("%s: changed are %v", name, before.changed(after))
		}
	}
	more := world()
	more.Buckets = append(more.Buckets, cloudflare.R2Bucket{Name: "somebody-elses"})
	if after := of(more); !slices.Equal(before.changed(after), []string{""}) {
		t.Errorf("changed are %q, want what is no shop's", before.changed(after))
	}
}
