package deploy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/kvick/shopfleet/internal/cloudflare"
)

// timeline is a shop's history in two records, and a model of what is good and bad in it.
type timeline struct {
	chronicle
	n       int
	entries int
	orders  int
	// bad are contents that were taken down, and when; released is when a version took traffic last on purpose; both in steps.
	// told are those of bad that the account alone remembers.
	bad, told map[string]int
	released  map[string]int
	step      int
}

func newTimeline() *timeline {
	return &timeline{chronicle: chronicle{shop: "swicked", worker: "helm-swicked", standings: map[string]Standing{}, heard: true},
		bad: map[string]int{}, told: map[string]int{}, released: map[string]int{}}
}

func (l *timeline) tick() int { l.step++; return l.step }

// deployment puts one on top and reads what is live.
func (l *timeline) deployment(version, message string) {
	l.deployments = append([]cloudflare.Deployment{{Versions: []cloudflare.Share{{VersionID: version, Percentage: 100}},
		Annotations: map[string]string{annotationMessage: message}}}, l.deployments...)
	l.live = Live{}
	live(l.deployments, &l.live)
}

// entry begins one, and stands as told.
func (l *timeline) entry(r Release, s Standing) {
	l.entries++
	r.ID, r.Shop, r.Worker = fmt.Sprint(l.entries), l.shop, l.worker
	l.journal = append([]Release{r}, l.journal...)
	l.standings[r.ID] = s
}

// deploy releases a content as a new version; one whose gate fails is replaced by what was live.
func (l *timeline) deploy(content string, passes bool) {
	l.n++
	version := fmt.Sprintf("%08d-0000-4000-8000-000000000000", l.n)
	m := memo{mark: content, commit: fmt.Sprintf("%040x", l.n), reach: notRecorded}
	l.versions = append([]cloudflare.Version{{ID: version, Annotations: map[string]string{annotationTag: content, annotationMessage: m.String()}}}, l.versions...)
	r := Release{VersionID: version, Commit: m.commit, Content: content, PreviousVersionID: l.live.Version}
	before := l.live
	l.deployment(version, m.String())
	l.released[version] = l.tick()
	if passes || before.Version == "" {
		l.entry(r, Standing{State: StateSuccess, Passed: true})
		return
	}
	l.entry(r, Standing{State: StateFailure})
	l.bad[content] = l.tick()
	l.told[content] = l.step
	text := before.Message
	if old, ok := parseMemo(text); ok {
		old.from, old.order = version, ""
		text = old.String()
	}
	l.deployment(before.Version, text)
	l.released[before.Version] = l.tick()
}

// rollback does what Rollback does with a choice.
func (l *timeline) rollback(c choice, passes bool) {
	target := c.candidates[c.target].Release
	from := l.live
	m := memo{mark: target.Content, commit: target.Commit, reach: notRecorded, from: from.Version}
	if l.heard {
		for _, e := range l.journal {
			if e.VersionID == from.Version {
				l.standings[e.ID] = Standing{State: StateFailure}
				break
			}
		}
	}
	l.bad[l.content(from.Version)] = l.tick()
	l.told[l.content(from.Version)] = l.step
	l.deployment(target.VersionID, m.String())
	l.released[target.VersionID] = l.tick()
	s := Standing{State: StateSuccess, Passed: true}
	if !passes {
		s = Standing{State: StateFailure}
		if l.heard { // else nobody wrote it down, and the next rollback will
			l.bad[target.Content] = l.tick()
		}
	}
	if l.heard {
		l.entry(Release{VersionID: target.VersionID, Commit: target.Commit, Content: target.Content, PreviousVersionID: from.Version}, s)
	}
}

// Over random histories of deploys, failing gates, changed secrets and rollbacks, with the journal and without: what was
// taken down and not released on purpose since is never the target, and rollbacks in a row go further back each time.
func TestChooseNeverTakesDown(t *testing.T) {
	rollbacks, none := 0, 0
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 7))
		l := newTimeline()
		contents := make([]string, 4)
		for i := range contents {
			contents[i] = markOf([]byte{byte(i)})
		}
		l.deploy(contents[0], true)
		var row []string // versions that were live in a row of rollbacks
		for range 40 {
			switch n := rng.IntN(10); {
			case n < 3:
				l.deploy(contents[rng.IntN(len(contents))], true)
				row = nil
			case n < 4:
				l.deploy(contents[rng.IntN(len(contents))], false)
				row = nil
			case n < 5: // a secret changes
				l.n++
				version := fmt.Sprintf("%08d-0000-4000-8000-000000000000", l.n)
				tag := l.content(l.live.Version)
				l.versions = append([]cloudflare.Version{{ID: version, Annotations: map[string]string{annotationTrigger: "secret"}}}, l.versions...)
				l.deployment(version, "")
				l.deployments[0].Annotations = map[string]string{annotationTrigger: "secret"}
				l.live = Live{}
				live(l.deployments, &l.live)
				l.released[version] = l.tick()
				if tag != "" && l.live.Mark != tag {
					t.Fatalf("seed %d: a secret changed the content", seed)
				}
				row = nil
			default:
				l.heard = rng.IntN(4) > 0
				c := &l.chronicle
				journal := c.journal
				if !l.heard {
					c.journal = nil
				}
				chosen := choose(c, RollbackWant{})
				c.journal = journal
				if chosen.target < 0 {
					none++
					if !Findings(chosen.findings).Blocking() {
						t.Fatalf("seed %d: no target, and nothing said", seed)
					}
					continue
				}
				k := chosen.candidates[chosen.target]
				if k.VersionID == l.live.Version || chosen.done {
					t.Fatalf("seed %d: the target is live", seed)
				}
				known := l.bad
				if !l.heard {
					known = l.told
				}
				if at, ok := known[k.Content]; ok && l.released[k.VersionID] <= at {
					t.Fatalf("seed %d, step %d: version %s was taken down at %d and released last at %d", seed, l.step, k.VersionID, at, l.released[k.VersionID])
				}
				if slices.Contains(row, k.VersionID) {
					t.Fatalf("seed %d, step %d: a rollback goes back to %s, which was live in this row of rollbacks", seed, l.step, k.VersionID)
				}
				row = append(row, l.live.Version)
				l.rollback(chosen, rng.IntN(5) > 0)
				rollbacks++
			}
		}
	}
	if rollbacks < 1000 || none == 0 {
		t.Errorf("only %d rollbacks, %d without a target", rollbacks, none)
	}
	t.Logf("%d rollbacks, %d without a target", rollbacks, none)
}
