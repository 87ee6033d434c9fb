package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kvick/shopfleet/internal/fleet"
)

// Journal is the record of releases, outside the account that they happen in. GitHub Deployments are one (package
// command); a test's list is another. An implementation is safe for concurrent use.
//
// An entry is begun before its version takes traffic and never changed; what becomes of it is told by Finish. An entry
// that nobody finished is one whose process died.
type Journal interface {
	// Releases lists a shop's newest entries, newest first. Their Standing is not filled: see Standing.
	Releases(ctx context.Context, shop fleet.Shop) ([]Release, error)
	// Standing tells how an entry stands.
	Standing(ctx context.Context, id string) (Standing, error)
	// Begin writes an entry in the state s and returns it as it is kept, with its ID and Digest. Where it is not clear
	// whether that happened it looks, and writes no second entry of equal Key.
	Begin(ctx context.Context, shop fleet.Shop, r Release, s Status) (Release, error)
	// Finish tells what became of an entry.
	Finish(ctx context.Context, shop fleet.Shop, id string, s Status) error
}

// Release is an entry of the journal: what took a shop's traffic, and what was around it. It is kept as JSON, so its
// field names do not change.
type Release struct {
	// ID is the journal's name of the entry.
	ID string `json:"-"`
	// Created is when the entry was begun, Creator who the journal says began it.
	Created time.Time `json:"-"`
	Creator string    `json:"-"`
	// Digest identifies the entry as the journal keeps it: EntryDigest of that.
	Digest string `json:"-"`

	Shop   string `json:"shop"`
	Worker string `json:"worker"`
	// Commit is the shop's commit, Main the newest commit of main below it. Commit is "" when nobody knows it.
	Commit string `json:"commit,omitempty"`
	Main   string `json:"main,omitempty"`
	// Content is the release's mark.
	Content           string `json:"content,omitempty"`
	VersionID         string `json:"version_id"`
	PreviousVersionID string `json:"previous_version_id,omitempty"`
	// Bookmark is the database's point in time before Migrations; the schema's fingerprints are those around them, as planned.
	Bookmark     string   `json:"bookmark,omitempty"`
	Migrations   []string `json:"migrations,omitempty"`
	SchemaBefore string   `json:"schema_before,omitempty"`
	SchemaAfter  string   `json:"schema_after,omitempty"`
	// Crons and Hostnames are what the release goes with.
	Crons      []string `json:"crons,omitempty"`
	Hostnames  []string `json:"hostnames,omitempty"`
	PlanDigest string   `json:"plan_digest,omitempty"`
	Tool       string   `json:"tool,omitempty"`
	// Outside says that somebody else released the version, and Late that a release of ours was written down by a later
	// run than the one that made it.
	Outside bool `json:"outside,omitempty"`
	Late    bool `json:"late,omitempty"`
	// Again counts the earlier entries of an equal plan on the same version, each with another one behind it.
	Again int `json:"again,omitempty"`
	// Gate is what the gate said, where it had spoken when the entry was begun. Otherwise it is in the entry's last status.
	Gate *GateResult `json:"gate,omitempty"`

	// What follows makes the entry a receipt; those of older shopfleets lack it.

	// Bundle and Assets are digests of what was released, without build_info.json.
	Bundle string `json:"bundle,omitempty"`
	Assets string `json:"assets,omitempty"`
	// Bindings are those that reach stored data or code, as they were admitted.
	Bindings []Bound `json:"bindings,omitempty"`
	// Secrets are those that are known of the version, by name.
	Secrets map[string]SecretMark `json:"secrets,omitempty"`
	// Actor is who asked for the release, Run the address of the workflow's run.
	Actor string `json:"actor,omitempty"`
	Run   string `json:"run,omitempty"`
	// Account is the id of the Cloudflare account that it is in.
	Account string `json:"account,omitempty"`
	// Previous is the Digest of the entry before this one, or NoEntry: it makes the journal a chain.
	Previous string `json:"previous,omitempty"`
}

// Key is equal for two entries of one release. A deploy of crons alone keeps the version, hence the plan; and crons that go
// back and forth have equal plans, hence Again.
func (r Release) Key() string {
	key := r.Shop + " " + r.VersionID
	if r.PlanDigest != "" {
		key += " " + r.PlanDigest[:min(16, len(r.PlanDigest))]
	}
	if r.Again > 0 {
		key += fmt.Sprint(" ", r.Again)
	}
	return key
}

// ReleaseState is how an entry stands, in the words of GitHub's deployment statuses.
type ReleaseState string

// The states that shopfleet sets.
const (
	StateInProgress ReleaseState = "in_progress" // begun
	StateSuccess    ReleaseState = "success"     // released, and passed its gate
	StateFailure    ReleaseState = "failure"     // did not pass its gate
	StateError      ReleaseState = "error"       // did not come to its gate, or not further
	StateInactive   ReleaseState = "inactive"    // another release took its place
)

// Standing is how an entry stands now and whether it ever was good.
type Standing struct {
	State ReleaseState `json:"state"`
	// Passed says that it passed its gate and nothing worse was said of it since.
	Passed bool `json:"known_good"`
	// Text is what was said last.
	Text string `json:"text,omitempty"`
	// Verdict is what was said of its gate last: of a release that another one replaced Text says that.
	Verdict string `json:"verdict,omitempty"`
}

// Status is what is said of an entry.
type Status struct {
	State ReleaseState
	Text  string
	URL   string // the shop's address
}

// JournalError says that the journal could not be read or written.
type JournalError struct {
	Doing string
	Err   error
	// Released says that the release had happened by then.
	Released bool
}

func (e *JournalError) Error() string {
	what := e.Doing + ": " + e.Err.Error()
	if e.Released {
		return "released, but " + what
	}
	return what + "; nothing was released"
}

func (e *JournalError) Unwrap() error { return e.Err }

// Hint says what can be done.
func (e *JournalError) Hint() string {
	if e.Released {
		return "run the same command again: it finds the release and writes down how it stands"
	}
	hint := "run the same command again"
	var hinted interface{ Hint() string }
	if errors.As(e.Err, &hinted) && hinted.Hint() != "" {
		hint = hinted.Hint()
	}
	return hint + "; --no-journal deploys without it while GitHub is down"
}

// Unrecorded says that a version takes the traffic which the journal, having been read, does not know. The next deploy
// writes it down.
func (s *State) Unrecorded() bool {
	_, known := s.Live.Entry(s.Journal)
	return s.Journal != nil && s.Live.Version != "" && !known
}

// Entry is the newest entry of the live version, of entries that are newest first. Whoever may write deployments may write
// one that claims it; an entry whose commit or content is not what the release itself states at Cloudflare is not about it.
func (l Live) Entry(journal []Release) (Release, bool) {
	m, told := parseMemo(l.Message)
	told = told && m.mark == l.Mark
	for _, r := range journal {
		// Of a version of ours that somebody else released nobody knows the commit: either is said of it.
		if r.VersionID != l.Version || r.Outside && told || !r.Outside && l.Mark == "" {
			continue
		}
		if told && (r.Commit != m.commit || r.Content != m.mark) && !r.about(m) {
			continue
		}
		return r, true
	}
	return Release{}, false
}

// about says that an entry is about the release although its commit is another one: it is about what is around a version
// that stayed (crons, hostnames, migrations), or was written later, when GitHub did not have the commit.
func (r Release) about(m memo) bool {
	return r.Content == m.mark && (r.VersionID == r.PreviousVersionID || r.Late && r.Commit == "")
}

// observeJournal reads the journal beside the account. That it cannot be read stops a deploy, not a plan.
func (e *Engine) observeJournal(ctx context.Context, shop fleet.Shop) (list []Release, err error) {
	if e.Journal == nil {
		return nil, nil
	}
	list, err = e.Journal.Releases(ctx, shop)
	if err != nil {
		return nil, &JournalError{Doing: "reading the journal of " + shop.Slug, Err: err}
	}
	if list == nil {
		list = []Release{}
	}
	return list, nil
}

// begin writes the entry of this release, and before it one for a live version that has none. Once it returned without
// an error the release may be made.
func (a *applying) begin(ctx context.Context) error {
	if a.e.Journal == nil || a.entry != "" {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	a.tell(Event{Text: "writing the journal"})
	if a.have.Unrecorded() && a.out.Uploaded != "" {
		live := a.unrecorded()
		// No state yet: it is live until this release has passed its gate, and how good it is nobody knows.
		live.Previous = newest(a.have.Journal)
		live, err := a.e.Journal.Begin(ctx, a.want.Shop, live, Status{})
		if err != nil {
			return &JournalError{Doing: "writing down the live version " + a.plan.Live, Err: err, Released: a.plan.Has(ActionPut)}
		}
		a.have.Journal = append([]Release{live}, a.have.Journal...)
		a.out.Recorded = live.VersionID
	}
	record, begun := a.record(), Status{State: StateInProgress, Text: "releasing", URL: a.out.URL}
	entry, known := a.sameEntry(&record) // an earlier run of the same plan came as far as this
	var err error
	if known {
		err = a.e.Journal.Finish(ctx, a.want.Shop, entry.ID, begun)
	} else {
		record.Previous = newest(a.have.Journal)
		entry, err = a.e.Journal.Begin(ctx, a.want.Shop, record, begun)
	}
	if err != nil {
		return &JournalError{Doing: "writing version " + record.VersionID + " in the journal", Err: err, Released: a.plan.Has(ActionPut)}
	}
	a.entry = entry.ID
	return nil
}

// sameEntry is the entry that an earlier run made of the release. One that the version has a newer entry behind is another
// release, which r.Again then tells it from: entries stand in the order of what happened.
func (a *applying) sameEntry(r *Release) (Release, bool) {
	for {
		i := slices.IndexFunc(a.have.Journal, func(e Release) bool { return e.Key() == r.Key() })
		if i < 0 {
			return Release{}, false
		}
		if !slices.ContainsFunc(a.have.Journal[:i], func(e Release) bool { return e.VersionID == r.VersionID }) {
			return a.have.Journal[i], true
		}
		r.Again++
	}
}

// record is this release as the journal keeps it.
func (a *applying) record() Release {
	r := a.content()
	r.VersionID, r.PreviousVersionID, r.PlanDigest = cmp.Or(a.out.Uploaded, a.out.VersionID), a.plan.Live, a.out.Digest
	r.Bookmark, r.SchemaBefore, r.SchemaAfter = a.out.Bookmark, a.plan.Schema, a.plan.SchemaAfter
	r.Secrets = a.secretMarks(r.VersionID)
	for _, m := range a.plan.Migrations {
		r.Migrations = append(r.Migrations, m.File)
	}
	return r
}

// content is what is known of a release of the commit at hand, whenever it was made.
func (a *applying) content() Release {
	hostnames := []string{a.want.Shop.Hostname}
	for _, r := range a.want.Config.Routes {
		hostnames = append(hostnames, routeHost(r))
	}
	hostnames = sortedCopy(hostnames)
	r := Release{
		Shop: a.plan.Shop, Worker: a.plan.Worker, Commit: a.plan.Commit, Main: a.want.Main, Content: a.plan.Mark,
		Crons: sortedCopy(a.want.Config.Crons), Hostnames: slices.Compact(hostnames), Tool: a.want.Tool,
		Bundle: a.want.bundle, Assets: a.want.assets, Bindings: a.want.bound(a.have), Actor: a.want.Actor,
		Account: a.want.Shop.Account.ID,
	}
	if a.want.Run != nil {
		r.Run = a.want.Run.URL
	}
	return r
}

// unrecorded is the live version as far as anybody knows it: its commit and content are those that its own release
// states, or none.
func (a *applying) unrecorded() Release {
	live := a.have.Live
	r := Release{Shop: a.plan.Shop, Worker: a.plan.Worker, VersionID: live.Version, Content: live.Mark, Crons: sortedCopy(a.have.Crons), Account: a.want.Shop.Account.ID}
	if m, ok := parseMemo(live.Message); ok && m.mark == live.Mark {
		r.Commit, r.Bookmark, r.Late = m.commit, m.bookmark, true
	}
	r.Outside = !r.Late
	return r
}

// finish tells the journal what became of the release, also when the caller's context is over, and that the release
// before it is no longer live where that is so. It returns err, with what went wrong here.
func (a *applying) finish(ctx context.Context, err error) error {
	if a.entry == "" || !a.plan.Changes() {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), journalFarewell)
	defer cancel()
	s := a.status(err)
	took := a.out.VersionID != a.plan.Live || a.out.Uploaded == "" // the place of the release before, whatever came of it
	before, _ := a.have.Live.Entry(a.have.Journal)
	if a.out.Recorded != "" || before.ID == a.entry {
		before.ID = "" // written just now, or this very entry: what it replaced may still stand as if it were live
	}
	retire := func() error { return a.retire(ctx, a.out.VersionID, before.ID) }
	finish := func() error { return a.e.Journal.Finish(ctx, a.want.Shop, a.entry, s) }
	var problem error
	switch {
	case !took:
		problem = finish()
	case s.State == StateSuccess: // comes last: whoever finds it may rely on the others
		if problem = retire(); problem == nil {
			problem = finish()
		}
	default:
		if problem = finish(); problem == nil {
			problem = retire()
		}
	}
	if problem == nil {
		return err
	}
	return errors.Join(err, &JournalError{Doing: "writing in the journal how it went", Err: problem, Released: took || a.out.Restored != ""})
}

// journalFarewell bounds the last words in the journal. It is longer than GitHub's client may hold writes back.
const journalFarewell = 2 * time.Minute

// retire makes the entries inactive that a release has replaced: the one of the version that was live, by its id, and those
// after it, whose runs died. Where before is "" that is every active one down to one that was replaced already. GitHub
// does this by itself only for environments that are not production (contracts/github/wire.md §1.5).
func (a *applying) retire(ctx context.Context, by, before string) error {
	for _, r := range a.have.Journal {
		if r.ID == a.entry {
			continue
		}
		replaced := Status{State: StateInactive, Text: "replaced by version " + by}
		if a.back != nil && r.VersionID == a.plan.Live {
			replaced = *a.back
		}
		if r.ID == before {
			return a.e.Journal.Finish(ctx, a.want.Shop, r.ID, replaced)
		}
		// How the others stand has to be asked. What is said of a failure stays.
		standing, err := a.e.Journal.Standing(ctx, r.ID)
		if err == nil && standing.active() {
			err = a.e.Journal.Finish(ctx, a.want.Shop, r.ID, replaced)
		}
		if err != nil {
			return err
		}
		if before == "" && standing.State == StateInactive {
			return nil
		}
	}
	return nil
}

// active says that an entry stands as if its version were live.
func (s Standing) active() bool {
	return s.State == "" || s.State == StateInProgress || s.State == StateSuccess
}

// status is how a release ended, in a line.
func (a *applying) status(err error) Status {
	s := Status{State: StateSuccess, URL: a.out.URL, Text: a.out.Gate.words()}
	var gate *GateError
	var contract *ContractError
	var stale *StaleError
	switch {
	case err == nil:
		return s
	case errors.As(err, &gate) && gate.Before:
		s.State, s.Text = StateFailure, "never took traffic: it did not pass before its release: "+gate.Result.Reason
	case errors.As(err, &gate):
		s.State, s.Text = StateFailure, "did not pass its gate: "+gate.Result.Reason
		if gate.Restored != "" {
			s.Text = "version " + gate.Restored + " is live again; this one did not pass its gate: " + gate.Result.Reason
		}
	case errors.As(err, &contract):
		s.State, s.Text = StateFailure, "does not pass its gate since migrations took something away: "+contract.Result.Reason
	case errors.As(err, &stale):
		s.State, s.Text = StateError, "version "+stale.Live+" was released meanwhile and stays"
	case a.out.Gate.Passed:
		s.State, s.Text = StateError, "passed its gate, and was not finished; run the same command again"
	default:
		s.State, s.Text = StateError, "was not finished; run the same command again"
	}
	return s
}

// confirmEntry brings the journal up to date about a live release that was just found to be well: written where no
// journal was, or by a process that died.
func (a *applying) confirmEntry(ctx context.Context) error {
	if a.e.Journal == nil {
		return nil
	}
	s := a.status(nil)
	entry, known := a.have.Live.Entry(a.have.Journal)
	if known {
		standing, err := a.e.Journal.Standing(ctx, entry.ID)
		if err != nil {
			return &JournalError{Doing: "reading how the live version stands", Err: err, Released: true}
		}
		if standing.State == StateSuccess {
			return nil
		}
		a.entry = entry.ID
	}
	// That it is good is said last: a run that finds that looks no further.
	if err := a.retire(ctx, a.plan.Live, ""); err != nil {
		return &JournalError{Doing: "bringing the journal's older entries up to date", Err: err, Released: true}
	}
	if known {
		if err := a.e.Journal.Finish(ctx, a.want.Shop, entry.ID, s); err != nil {
			return &JournalError{Doing: "bringing the journal up to date", Err: err, Released: true}
		}
		a.out.Recorded = entry.VersionID
		return nil
	}
	r := a.content()
	r.VersionID, r.Late, r.Gate = a.plan.Live, true, &a.out.Gate
	if m, ok := parseMemo(a.have.Live.Message); ok {
		r.Commit, r.Bookmark = m.commit, m.bookmark
	}
	r.Previous = newest(a.have.Journal)
	made, err := a.e.Journal.Begin(ctx, a.want.Shop, r, s)
	if err != nil {
		return &JournalError{Doing: "writing down the live version " + r.VersionID, Err: err, Released: true}
	}
	a.entry, a.out.Recorded = made.ID, r.VersionID
	return nil
}
