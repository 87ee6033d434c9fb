package audit

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/deploy"
)

// Status is where a fleet stands: one row for each shop, those first that need a person.
type Status struct {
	At   time.Time `json:"at"`
	Tool string    `json:"tool"`
	Main string    `json:"main"`
	// Only are the shops that were asked for; empty is all of them.
	Only     []string        `json:"only,omitempty"`
	Accounts []StatusAccount `json:"accounts"`
	// Hold is the one that holds all shops.
	Hold *StatusHold `json:"hold,omitempty"`
	// NotRead says what was not looked at, a sentence each.
	NotRead []string `json:"not_read,omitempty"`
	// HubFailed says that GitHub was asked and did not answer, so that something of it is missing.
	HubFailed bool  `json:"github_failed,omitempty"`
	Rows      []Row `json:"shops"`
}

// StatusAccount is what was read of an account.
type StatusAccount struct {
	Name  string `json:"name"`
	ID    string `json:"id"`
	Shops int    `json:"shops"`
	Calls int    `json:"calls"`
	// Error is why it could not be read; its shops have nothing from it then.
	Error string `json:"error,omitempty"`
}

// Row is where one shop stands.
type Row struct {
	Shop     string `json:"shop"`
	Account  string `json:"account"`
	Hostname string `json:"hostname"`
	Worker   string `json:"worker"`
	Branch   string `json:"branch"`
	// Commit is the branch's. Behind is how many commits main has that what is live lacks (the branch, where nobody knows what
	// is live), Since when the oldest of those was made.
	Commit string    `json:"commit"`
	Behind int       `json:"behind"`
	Since  time.Time `json:"behind_since,omitzero"`
	// Live is the release that takes the traffic; nil where nothing does, or where that is not known: see Unread.
	Live *LiveRelease `json:"live,omitempty"`
	// Schema is the last migration that the database has; Pending are the branch's that it lacks. SchemaRead is false where
	// nobody asked.
	Schema     string       `json:"schema,omitempty"`
	SchemaRead bool         `json:"schema_read"`
	Pending    []string     `json:"pending,omitempty"`
	Holds      []StatusHold `json:"holds,omitempty"`
	Health     Health       `json:"health"`
	// JournalRead says that the journal was asked. Last is the newest release of the journal, whatever became of it; nil where there is none.
	JournalRead bool        `json:"journal_read"`
	Last        *LastDeploy `json:"last_deploy,omitempty"`
	// Secrets are marks of the live release's secrets, by name; never values.
	Secrets []SecretAge `json:"secrets,omitempty"`
	// Problems are what a plan would refuse of the branch's commit.
	Problems []deploy.Finding `json:"problems,omitempty"`
	// Unread says what could not be read of this shop, a sentence each.
	Unread []string `json:"unread,omitempty"`
	// Needs is why a person should look, the worst first. State is the worst of it.
	Needs []Need     `json:"needs,omitempty"`
	State ShopsState `json:"state"`
}

// LiveRelease is what takes a shop's traffic.
type LiveRelease struct {
	Version string `json:"version"`
	// Commit is the one that it was made of; "" when nobody knows.
	Commit   string    `json:"commit,omitempty"`
	Released time.Time `json:"released,omitzero"`
	By       string    `json:"by,omitempty"`
	// Recorded says that the journal has it, and Good that it passed its gate and nothing worse was said since.
	Recorded bool `json:"recorded"`
	Good     bool `json:"known_good"`
	// Outside says that shopfleet did not release it.
	Outside bool `json:"outside,omitempty"`
	// Beside is how many versions share the traffic with it.
	Beside int `json:"beside,omitempty"`
}

// LastDeploy is the newest entry of a shop's journal.
type LastDeploy struct {
	At      time.Time           `json:"at"`
	By      string              `json:"by,omitempty"`
	Version string              `json:"version"`
	Commit  string              `json:"commit,omitempty"`
	State   deploy.ReleaseState `json:"state,omitempty"`
	Good    bool                `json:"known_good"`
	Text    string              `json:"text,omitempty"`
	Run     string              `json:"run,omitempty"`
}

// StatusHold is a hold on a shop or on all.
type StatusHold struct {
	Owner   string    `json:"owner"`
	Reason  string    `json:"reason"`
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until,omitzero"`
	By      string    `json:"by"` // the verb that placed it
	Working bool      `json:"working,omitempty"`
}

// Health is what a shop's hostname answered.
type Health struct {
	// Asked is false where nobody did; everything else is empty then.
	Asked  bool   `json:"asked"`
	OK     bool   `json:"ok"`
	URL    string `json:"url,omitempty"`
	Status int    `json:"status,omitempty"`
	Millis int64  `json:"ms,omitempty"`
	// Reason is why it is not well.
	Reason string `json:"reason,omitempty"`
}

// SecretAge is how old a secret's value is.
type SecretAge struct {
	Name string `json:"name"`
	// Since is when this value was first released.
	Since time.Time `json:"since,omitzero"`
	// Rotate is how old fleet.yml lets it become; 0 is any age.
	Rotate time.Duration `json:"-"`
	Due    bool          `json:"due,omitempty"`
}

// ShopsState is how urgently a shop needs a person.
type ShopsState string

// The states, the most urgent first.
const (
	StateDown    ShopsState = "down"    // customers see it, or nothing is known
	StateAct     ShopsState = "act"     // somebody has to do something
	StateWatch   ShopsState = "watch"   // somebody may want to
	StateFine    ShopsState = "fine"    // nothing to do
	StateUnknown ShopsState = "unknown" // it could not be read
)

// urgency is the order of states in a report.
var urgency = []ShopsState{StateDown, StateUnknown, StateAct, StateWatch, StateFine}

// Need is one reason why a person should look at a shop.
type Need struct {
	State ShopsState `json:"state"`
	// Kind is a word for filters: unhealthy, unread, nothing-live, outside, unproven, failed, branch, held, pending, undeployed, behind or secrets.
	Kind string `json:"kind"`
	// What is wrong, and Do is what to type.
	What string `json:"what"`
	Do   string `json:"do,omitempty"`
}

// Count is how many shops are in a state.
func (s *Status) Count(state ShopsState) int {
	n := 0
	for _, r := range s.Rows {
		if r.State == state {
			n++
		}
	}
	return n
}

// Failed says that something which should have been read could not be.
func (s *Status) Failed() bool { return s.HubFailed || len(s.Unread()) > 0 }

// Unread are the accounts that could not be read.
func (s *Status) Unread() []string {
	var out []string
	for _, a := range s.Accounts {
		if a.Error != "" {
			out = append(out, a.Name)
		}
	}
	return out
}

// Has says whether a shop has a need of a kind.
func (r *Row) Has(kind string) bool {
	return slices.ContainsFunc(r.Needs, func(n Need) bool { return n.Kind == kind })
}

// OldestSecret is the one whose value is the oldest; ok is false where no age is known.
func (r *Row) OldestSecret() (oldest SecretAge, ok bool) {
	for _, s := range r.Secrets {
		if !s.Since.IsZero() && (!ok || s.Since.Before(oldest.Since)) {
			oldest, ok = s, true
		}
	}
	return oldest, ok
}

// Judge says of every row what needs a person, and puts the rows into the order in which people should look: by state, then
// by how many needs there are, then by name. It is pure.
func (s *Status) Judge() {
	for i := range s.Rows {
		r := &s.Rows[i]
		for j := range r.Secrets {
			x := &r.Secrets[j]
			x.Due = x.Rotate > 0 && !x.Since.IsZero() && s.At.Sub(x.Since) > x.Rotate
		}
		r.Needs = needs(r, s.At)
		r.State = StateFine
		if len(r.Needs) > 0 {
			r.State = r.Needs[0].State
		}
	}
	sort.SliceStable(s.Rows, func(i, j int) bool {
		return cmp.Or(cmp.Compare(rankOf(s.Rows[i].State), rankOf(s.Rows[j].State)), cmp.Compare(len(s.Rows[j].Needs), len(s.Rows[i].Needs)), strings.Compare(s.Rows[i].Shop, s.Rows[j].Shop)) < 0
	})
}

func rankOf(state ShopsState) int { return slices.Index(urgency, state) }

// longestDeploy is after how long a deploy that nobody finished is one whose process died.
const longestDeploy = time.Hour

// needs are the reasons to look at a shop, the most urgent first.
func needs(r *Row, now time.Time) []Need {
	var out []Need
	add := func(state ShopsState, kind, do, format string, args ...any) {
		out = append(out, Need{state, kind, fmt.Sprintf(format, args...), do})
	}
	held := len(r.Holds) > 0
	// A shop that leaves or moves is unreachable because somebody wants that.
	closed := slices.ContainsFunc(r.Holds, func(h StatusHold) bool { return h.By == "offboard" || h.By == "move" })
	if r.Health.Asked && !r.Health.OK && !closed && (r.Live != nil || len(r.Unread) > 0) {
		do := "shopfleet releases " + r.Shop
		if r.Live != nil && r.Live.Recorded && !held {
			do = "shopfleet rollback " + r.Shop
		}
		add(StateDown, "unhealthy", do, "does not answer as it should: %s", r.Health.Reason)
	}
	for _, what := range r.Unread {
		add(StateUnknown, "unread", "", "%s", what)
	}
	if r.Live == nil && len(r.Unread) == 0 && !closed && r.Worker != "" { // a branch with a bad name has no Worker
		add(StateAct, "nothing-live", "shopfleet deploy "+r.Shop, "nothing is live")
	}
	if l := r.Live; l != nil {
		switch {
		case l.Outside:
			add(StateAct, "outside", "shopfleet plan "+r.Shop, "version %s was released by somebody else", l.Version)
		case l.Recorded && !l.Good:
			add(StateAct, "unproven", "shopfleet deploy "+r.Shop, "the live release is not known to be good")
		case !l.Recorded && r.JournalRead:
			add(StateWatch, "unproven", "shopfleet deploy "+r.Shop, "the journal does not know the live release")
		}
		if l.Beside > 0 {
			add(StateWatch, "outside", "shopfleet plan "+r.Shop, "%d more versions take a part of the traffic", l.Beside)
		}
	}
	if x := r.Last; x != nil && (x.State == deploy.StateFailure || x.State == deploy.StateError) && (r.Live == nil || r.Live.Version != x.Version || !r.Live.Good) {
		what := "the last deploy failed"
		if x.Text != "" {
			what += ": " + x.Text
		}
		add(StateAct, "failed", "shopfleet plan "+r.Shop, "%s", what)
	}
	if x := r.Last; x != nil && (x.State == deploy.StateInProgress || x.State == "") && now.Sub(x.At) > longestDeploy && (r.Live == nil || r.Live.Version != x.Version) {
		add(StateAct, "failed", "shopfleet deploy "+r.Shop, "the last deploy did not come to its end")
	}
	for _, f := range r.Problems {
		if f.Level == deploy.LevelError {
			add(StateAct, "branch", "shopfleet plan "+r.Shop, "the branch cannot be deployed: %s [%s]", f.Message, f.Rule)
			break
		}
	}
	for _, h := range r.Holds {
		state, what, do := StateAct, "held by "+h.Owner, "shopfleet release-hold "+r.Shop
		switch {
		case h.Working:
			state, what, do = StateWatch, "a "+h.By+" of "+h.Owner+" is under way", ""
		case h.By == "offboard" || h.By == "move":
			state, do = StateWatch, "shopfleet "+h.By+" "+r.Shop
		}
		if !h.Since.IsZero() {
			what += " since " + h.Since.UTC().Format("2006-01-02")
		}
		if !h.Until.IsZero() {
			what += ", until " + h.Until.UTC().Format("2006-01-02 15:04 UTC")
		}
		if h.Reason != "" {
			what += ": " + h.Reason
		}
		add(state, "held", do, "%s", what)
	}
	if n := len(r.Pending); n > 0 && r.Live != nil {
		add(StateWatch, "pending", "shopfleet deploy "+r.Shop, "%s pending, from %s on", counted(n, "migration"), r.Pending[0])
	}
	if r.Live != nil && r.Live.Commit != "" && r.Commit != "" && r.Live.Commit != r.Commit && !held {
		add(StateWatch, "undeployed", "shopfleet deploy "+r.Shop, "the branch is at another commit than what is live")
	}
	if r.Behind > manyCommits || r.Behind > 0 && !r.Since.IsZero() && int(now.Sub(r.Since).Hours()/24) > manyDays {
		add(StateWatch, "behind", "shopfleet rebase "+r.Shop, "%s behind main", counted(r.Behind, "commit"))
	}
	var due []string
	for _, x := range r.Secrets {
		if x.Due {
			due = append(due, x.Name)
		}
	}
	if len(due) > 0 {
		add(StateWatch, "secrets", "shopfleet secrets rotate "+due[0]+" "+r.Shop, "older than fleet.yml lets them be: %s", strings.Join(due, ", "))
	}
	sort.SliceStable(out, func(i, j int) bool { return rankOf(out[i].State) < rankOf(out[j].State) })
	return out
}
