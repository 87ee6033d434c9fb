package deploy

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/kvick/shopfleet/internal/cloudflare"
)

// chronicle is what is known of a shop's releases: by its account, and by its journal where that could be read.
type chronicle struct {
	shop, worker string
	live         Live
	deployments  []cloudflare.Deployment // newest first
	versions     []cloudflare.Version    // that can be released
	// journal is newest first, standings how its entries stand, as far as they were asked. heard is false where there is no
	// journal, or it could not be read.
	journal   []Release
	standings map[string]Standing
	heard     bool
}

// choice is what choose decided.
type choice struct {
	candidates []Candidate // newest first
	target     int         // among them; -1 is none
	done       bool        // the target is live, and was gone back to before
	from       string      // the version that was live before it then
	findings   Findings
}

// shownCandidates is how many releases are looked at: the target, and what could be taken in its place.
const shownCandidates = 3

func (c *chronicle) version(id string) (cloudflare.Version, bool) {
	i := slices.IndexFunc(c.versions, func(v cloudflare.Version) bool { return v.ID == id })
	if i < 0 {
		return cloudflare.Version{}, false
	}
	return c.versions[i], true
}

// youngest is the newest of the versions that share the traffic: what was being rolled out.
func (c *chronicle) youngest(l Live) string {
	newest := cloudflare.Version{ID: l.Version}
	for id := range l.Shares {
		if v, ok := c.version(id); ok && v.CreatedOn.After(newest.CreatedOn) {
			newest = v
		}
	}
	return newest.ID
}

// sole is the version that a deployment gives all traffic to; "" where several share it.
func sole(d cloudflare.Deployment) string {
	if list := taking(d); len(list) == 1 {
		return list[0].VersionID
	}
	return ""
}

// content is the mark of a version, by what Cloudflare has; "" when it is none of ours.
func (c *chronicle) content(version string) string {
	if v, ok := c.version(version); ok && isMark(v.Annotations[annotationTag]) {
		return v.Annotations[annotationTag]
	}
	for _, d := range c.deployments {
		if m, ok := parseMemo(d.Annotations[annotationMessage]); ok && sole(d) == version {
			return m.mark
		}
	}
	return ""
}

// latest is the place of the newest deployment that gave a version traffic; -1 is none. Smaller is newer.
func (c *chronicle) latest(version string) int {
	return slices.IndexFunc(c.deployments, func(d cloudflare.Deployment) bool {
		return slices.ContainsFunc(taking(d), func(s cloudflare.Share) bool { return s.VersionID == version })
	})
}

// takenDown says whether a version, or another one of equal content, was taken down and not released again since, as the
// account remembers it.
func (c *chronicle) takenDown(version, content string) bool {
	for _, d := range c.deployments {
		if slices.ContainsFunc(taking(d), func(s cloudflare.Share) bool { return s.VersionID == version }) {
			return false
		}
		m, ok := parseMemo(d.Annotations[annotationMessage])
		if ok && m.from != "" && (m.from == version || content != "" && c.content(m.from) == content) {
			return true
		}
	}
	return false
}

// verdict is what the journal says of a version: good when it passed its gate, bad when it was taken down or never passed.
// The newest entry that says either counts; and one of another version of equal content that failed, if that one was live
// after this.
func (c *chronicle) verdict(version, content string) (good, bad bool) {
	for _, e := range c.journal {
		s := c.standings[e.ID]
		failed := s.State == StateFailure && !s.Passed
		switch {
		case e.VersionID == version && failed:
			return false, true
		case e.VersionID == version && s.Passed:
			return true, false
		case failed && content != "" && e.Content == content:
			mine, other := c.latest(version), c.latest(e.VersionID)
			if other >= 0 && (mine < 0 || other < mine) {
				return false, true
			}
		}
	}
	return false, false
}

// ordered are the entries of the journal in the order in which their versions had traffic last, as the account remembers it,
// newest first, and behind them those that it does not list any more. An entry that somebody writes later makes no old
// release the newest.
func (c *chronicle) ordered() []Release {
	place := func(r Release) int {
		if i := c.latest(r.VersionID); i >= 0 {
			return i
		}
		return len(c.deployments)
	}
	out := slices.Clone(c.journal)
	sort.SliceStable(out, func(i, j int) bool { return place(out[i]) < place(out[j]) })
	return out
}

// cronsDiffer says whether entries of a version tell different crons. Cloudflare has no record of those that would tell a
// forged entry from a true one.
func (c *chronicle) cronsDiffer(of Release) bool {
	return slices.ContainsFunc(c.journal, func(e Release) bool {
		return e.VersionID == of.VersionID && !sameSet(e.Crons, of.Crons) && c.contradiction(e) == ""
	})
}

// contradiction says why an entry is not to be believed: whoever may write deployments on GitHub may write one, and only
// what Cloudflare says of the version as well is a release. "" where it is, or where Cloudflare no longer has the version.
func (c *chronicle) contradiction(e Release) string {
	v, ok := c.version(e.VersionID)
	if !ok {
		return ""
	}
	if e.Shop != c.shop || e.Worker != c.worker {
		return "it is about another shop"
	}
	tag := v.Annotations[annotationTag]
	if !isMark(tag) {
		return "Cloudflare has the version, and shopfleet did not make it"
	}
	if tag != e.Content {
		return "the version has another content than it says"
	}
	memos := []string{v.Annotations[annotationMessage]}
	for _, d := range c.deployments {
		if sole(d) == v.ID {
			memos = append(memos, d.Annotations[annotationMessage])
		}
	}
	for _, text := range memos {
		if m, ok := parseMemo(text); ok && m.mark == tag && (m.commit == e.Commit || e.about(m)) {
			return ""
		}
	}
	return "Cloudflare remembers the version with another commit"
}

// told are the releases that the account alone remembers: what was deployed with a memo of ours. Nobody knows how good
// they were.
func (c *chronicle) told() []Release {
	var out []Release
	for _, d := range c.deployments {
		m, ok := parseMemo(d.Annotations[annotationMessage])
		if id := sole(d); ok && id != "" {
			out = append(out, Release{Shop: c.shop, Worker: c.worker, Commit: m.commit, Content: m.mark, VersionID: id, Created: d.CreatedOn})
		}
	}
	return out
}

// choose decides which release a shop goes back to. It is pure. The newest that is known to be good is the target, or the
// one that is named; never one that was taken down, and without a name never one of the live content: a changed secret
// makes a version too.
func choose(c *chronicle, want RollbackWant) choice {
	out := choice{target: -1}
	if c.live.Version == "" {
		out.say(Finding{Rule: "rollback-nothing", Level: LevelError, Message: "nothing is live on " + c.worker, Expected: "a release to go back from", Hint: "shopfleet deploy " + c.shop})
		return out
	}
	records := c.ordered()
	if !c.heard {
		records = c.told()
	}
	if len(c.live.Shares) > 1 {
		out.say(Finding{Rule: "rollback-split", Level: LevelNotice, Message: fmt.Sprintf("traffic is split (%s): version %s is the newest of them and what is gone back from", shares(c.live.Shares), c.live.Version),
			Hint: "the target gets all of it"})
	}
	if out.resume(c, want) || out.findings.Blocking() {
		return out
	}
	named, ok := out.named(c, want, records)
	if !ok {
		return out
	}
	seen := map[string]bool{c.live.Version: true}
	for _, e := range records {
		if seen[e.VersionID] || named != "" && e.VersionID != named {
			continue
		}
		if why := c.contradiction(e); why != "" {
			out.forged(e, why)
			continue // an older entry of the version may be true
		}
		seen[e.VersionID] = true
		if stop := out.weigh(c, want, e, named != ""); stop {
			break
		}
	}
	out.conclude(c, want, named)
	return out
}

func (o *choice) say(f Finding) { o.findings = append(o.findings, f) }

// forged tells of an entry that is not believed.
func (o *choice) forged(e Release, why string) {
	o.say(Finding{Rule: "rollback-entry-forged", Level: LevelNotice, Message: "entry " + e.ID + " of the journal is passed over: " + why,
		Expected: "an entry that Cloudflare's own record agrees with", Hint: "find out who wrote it; shopfleet receipts shows what does not hold together"})
}

// weigh takes a release up among the candidates if it may be one. It says whether there are enough.
func (o *choice) weigh(c *chronicle, want RollbackWant, e Release, named bool) (stop bool) {
	good, bad := c.verdict(e.VersionID, e.Content)
	k := Candidate{Release: e, Recorded: e.Created, Good: good}
	_, exists := c.version(e.VersionID)
	refuse := func(rule, message, expected string) {
		if named {
			o.say(Finding{Rule: rule, Level: LevelError, Message: "version " + e.VersionID + " " + message, Expected: expected,
				Hint: "shopfleet rollback " + c.shop + " without a target takes the newest release that is known to be good"})
		}
	}
	switch {
	case bad || c.takenDown(e.VersionID, e.Content):
		refuse("rollback-taken-down", "was taken down itself: it was rolled back, or did not pass its gate", "a release that nobody took down; to have this one again, deploy its commit")
		return named
	case want.Not != nil && want.Not(e.Commit):
		refuse("rollback-unwanted", "has the commit that is taken back", "a release without it")
		return named
	case !exists && (named || good && len(o.candidates) < shownCandidates):
		k.Label, k.Why = ReadyBlocked, []string{"Cloudflare no longer has the version; it keeps the newest 100"}
		o.candidates = append(o.candidates, k)
		refuse("rollback-version-gone", "is gone: Cloudflare keeps the newest 100", "a version that Cloudflare has")
		return named
	case !exists, c.heard && !good && !named, e.Content == c.live.Mark && !named:
		return false
	}
	if !good {
		k.Why = append(k.Why, notKnownGood(c.heard))
	}
	o.candidates = append(o.candidates, k)
	if o.target < 0 {
		o.target = len(o.candidates) - 1
	}
	return named || len(o.candidates) >= shownCandidates
}

func notKnownGood(heard bool) string {
	if heard {
		return "not known to be good: the journal has no verdict of its gate"
	}
	return "not known to be good: the journal was not read"
}

// conclude says what there is to say of the target, or why there is none.
func (o *choice) conclude(c *chronicle, want RollbackWant, named string) {
	if o.target >= 0 {
		if k := o.candidates[o.target]; !k.Good {
			o.say(Finding{Rule: "rollback-not-known-good", Level: LevelWarning, Message: "version " + k.VersionID + " is " + notKnownGood(c.heard),
				Expected: "a release that passed its gate", Hint: "its gate is asked after it has the traffic"})
		}
		return
	}
	if named != "" && !o.findings.Blocking() {
		for i := range o.findings { // all that there is of what was named
			o.findings[i].Level = LevelError
		}
	}
	if named == "" {
		message := "no release of " + c.shop + " other than the live one is known to be good"
		if want.Not != nil {
			message += " and to be without the commit that is taken back"
		}
		if !c.heard {
			message = "Cloudflare lists no release of " + c.shop + " by shopfleet to go back to"
		}
		if slices.ContainsFunc(o.candidates, func(k Candidate) bool { return k.Label == ReadyBlocked }) {
			message += " and still there: Cloudflare keeps 100 versions"
		}
		o.say(Finding{Rule: "rollback-nothing", Level: LevelError, Message: message, Expected: "an earlier release that passed its gate and was not taken down",
			Hint: "revert what is bad on its branch, lift the hold if there is one, and then: shopfleet deploy " + c.shop})
	}
}

// resume recognises a rollback that happened already: of the same order, or by a run that was cut off behind its release.
// It says whether the choice is made by that.
func (o *choice) resume(c *chronicle, want RollbackWant) bool {
	order := orderWord(want.Order)
	m, ours := parseMemo(c.live.Message)
	back := ours && m.from != "" && m.mark == c.live.Mark
	entry, known := c.live.Entry(c.journal)
	s, asked := c.standings[entry.ID]
	cut := known && asked && !s.Passed && (s.State == StateInProgress || s.State == StateError)
	named := want.To != "" && (c.live.Version == want.To || len(want.To) >= shortest && strings.HasPrefix(c.live.Version, want.To))
	if back && (order != "" && m.order == order || cut || named) {
		if !known {
			entry = Release{Shop: c.shop, Worker: c.worker, Commit: m.commit, Content: m.mark, VersionID: c.live.Version, Created: c.live.Created}
		}
		o.candidates = []Candidate{{Release: entry, Recorded: entry.Created, Good: s.Passed, Label: ReadySafe, Why: []string{"it is live"}}}
		o.target, o.done, o.from = 0, true, m.from
		o.say(Finding{Rule: "rollback-done", Level: LevelNotice, Message: "version " + c.live.Version + " is live already, in place of " + m.from,
			Hint: "what comes after the release is made sure of"})
		return true
	}
	if back && want.To == "" && !want.Asked.IsZero() && c.live.Created.After(want.Asked) {
		o.say(Finding{Rule: "rollback-overtaken", Level: LevelError, Message: "version " + c.live.Version + " took the place of " + m.from + " after this was asked for",
			Expected: "an order that comes after it", Hint: "look at what is live; ask again if it shall go back once more"})
		return false
	}
	if order == "" {
		return false
	}
	for _, d := range c.deployments {
		if m, ok := parseMemo(d.Annotations[annotationMessage]); ok && m.from != "" && m.order == order {
			o.say(Finding{Rule: "rollback-overtaken", Level: LevelError, Message: "this order was carried out, and version " + c.live.Version + " was released since",
				Expected: "an order that comes after it", Hint: "look at what is live; ask again if it shall go back once more"})
			return false
		}
	}
	return false
}

// shortest is how much of an id or commit names one.
const shortest = 7

// named is the version that the want names; "" where it names none. ok is false when there is no such release.
func (o *choice) named(c *chronicle, want RollbackWant, records []Release) (version string, ok bool) {
	to := strings.ToLower(strings.TrimSpace(want.To))
	if to == "" {
		return "", true
	}
	var versions, commits []string
	add := func(list *[]string, s string) {
		if s != "" && !slices.Contains(*list, s) {
			*list = append(*list, s)
		}
	}
	for _, e := range records {
		switch {
		case e.ID != "" && e.ID == to:
			return o.other(c, e.VersionID)
		case len(to) < shortest:
		case strings.HasPrefix(e.VersionID, to):
			add(&versions, e.VersionID)
		case strings.HasPrefix(e.Commit, to):
			add(&commits, e.Commit)
		}
	}
	switch {
	case len(versions)+len(commits) == 0:
		o.say(Finding{Rule: "rollback-target-unknown", Level: LevelError, Message: "no release of " + c.shop + " is recorded as " + excerpt(want.To),
			Expected: "a version id, a commit (7 characters of either at least) or an entry of the journal", Hint: "shopfleet releases " + c.shop + " lists them"})
		return "", false
	case len(versions)+len(commits) > 1:
		o.say(Finding{Rule: "rollback-target-ambiguous", Level: LevelError, Message: excerpt(want.To) + " is the beginning of several: " + strings.Join(append(versions, commits...), ", "),
			Expected: "one of them", Hint: "give more of it"})
		return "", false
	case len(versions) == 1:
		return o.other(c, versions[0])
	}
	// Of several versions of a commit the newest that may be one.
	first := ""
	for _, e := range records {
		if e.Commit != commits[0] || e.VersionID == c.live.Version || c.contradiction(e) != "" {
			continue
		}
		first = cmp.Or(first, e.VersionID)
		_, bad := c.verdict(e.VersionID, e.Content)
		if _, exists := c.version(e.VersionID); exists && !bad && !c.takenDown(e.VersionID, e.Content) {
			return e.VersionID, true
		}
	}
	if first == "" {
		first = c.live.Version
	}
	return o.other(c, first)
}

// other refuses the version that is live.
func (o *choice) other(c *chronicle, version string) (string, bool) {
	if version != c.live.Version {
		return version, true
	}
	o.say(Finding{Rule: "rollback-target-live", Level: LevelError, Message: fmt.Sprintf("version %s is what is live on %s", version, c.worker),
		Expected: "another release", Hint: "shopfleet releases " + c.shop + " lists them"})
	return "", false
}

// wayBack is the state of the database that a version ran on: the bookmark that the first release after its own took before
// it migrated. "" where no deployment that is still listed notes one.
func (c *chronicle) wayBack(version, content string) string {
	first := -1
	for i, d := range c.deployments {
		if sole(d) == version {
			first = i
		}
	}
	for i := first - 1; i >= 0; i-- {
		m, ok := parseMemo(c.deployments[i].Annotations[annotationMessage])
		if ok && m.from == "" && m.mark != content && bookmarkForm.MatchString(m.bookmark) {
			return m.bookmark
		}
	}
	return ""
}
