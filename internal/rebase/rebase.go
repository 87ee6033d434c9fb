// Package rebase carries the shops' branches onto a new main.
//
// Survey looks at every shop's branch over real git and says for each what carrying it onto main takes: a Move, which is
// data. Nothing but objects is written, in a scratch repository, and no ref is moved; who pushes, opens pull requests and
// lands is the caller. Plan decides, from moves and from what became of those that landed, which land now.
//
//	moves, err := rebase.Survey(ctx, rebase.Input{Repo: scratch, Policy: policy, Main: tip, Branches: branches})
//
// The same branches on the same main make the same commits, on every machine and at any time: a rerun pushes nothing.
package rebase

import (
	"slices"
	"time"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// State is what became of a shop's branch in a survey. From the first to the last each needs a person more than the one
// before.
type State string

// The states.
const (
	Current    State = "current"    // main is an ancestor, and only the shop's own commits are ahead of it
	Clean      State = "clean"      // the commits fit as they are; the tree is the one that git rebase makes
	Resolved   State = "resolved"   // wrangler.jsonc was merged by its structure, or a conflict as it was resolved before
	Diverged   State = "diverged"   // main had been merged by hand, or commits were there twice: sorted out
	Drifted    State = "drifted"    // the branch changes files that are main's
	Conflicted State = "conflicted" // both sides changed the same, and a person has to decide
	Unusable   State = "unusable"   // nothing could be carried; Move.Problem says why
)

// Input is what Survey looks at. Nothing of it is changed, but objects are written into Repo.
type Input struct {
	Repo     *git.Repository // has every commit that is named here; see git.Repository.Scratch
	Policy   *fleet.Policy
	Main     string   // the commit of main that branches are carried onto
	Branches []Branch // one for each shop
	// Resolutions are what Resolutions read: how conflicts were resolved before, by Conflict.Key.
	Resolutions map[string]Resolution
}

// Branch is a shop's branch as it was fetched.
type Branch struct {
	Shop fleet.Shop
	Tip  string // commit of the shop's branch
	Head string // commit of its rebase branch, see HeadBranch; "" when there is none
}

// HeadBranch is the branch that holds a shop's move until it lands: rebase/<slug>.
func HeadBranch(slug string) string { return "rebase/" + slug }

// Ours says whether a commit was made by a survey, as far as its committer says; anybody can write that name.
func Ours(c git.RawCommit) bool { return ours(c) }

// Move is one shop branch carried onto a new main.
type Move struct {
	Slug  string `json:"shop"`
	State State  `json:"state"`
	Main  string `json:"main"`           // the commit that it is carried onto
	From  string `json:"from"`           // the branch's commit that was surveyed; landing compares with it
	Base  string `json:"base,omitempty"` // the newest commit of main that From has in it; "" when there is none
	// To is the commit that the branch becomes: From when the branch is current, "" when there is none. With conflicts it
	// has their markers in it, and must not land.
	To string `json:"to,omitempty"`
	// Commits are what To has over main, the oldest first; Dropped are commits of the branch that are not among them, each
	// with the reason: nothing else of the branch is left out.
	Commits []Carried `json:"commits,omitempty"`
	Dropped []Dropped `json:"dropped,omitempty"`
	// Choices are keys of wrangler.jsonc that main and the shop changed differently, and whose value was taken.
	Choices   []wrangler.Choice `json:"choices,omitempty"`
	Conflicts []Conflict        `json:"conflicts,omitempty"`
	// Replayed are conflicts that were resolved as they had been on another shop.
	Replayed []Replayed `json:"replayed,omitempty"`
	Drift    []string   `json:"drift,omitempty"` // paths outside of the overlay in which To is not main
	// Start is the merge that the commits stand on in the merging style: main's tree, with the branch as it was for its first
	// parent. "" in the other style.
	Start string `json:"start,omitempty"`
	// Sorted says, for a diverged branch, what was found in it.
	Sorted string `json:"sorted,omitempty"`
	// Touched says that To is the rebase branch as people left it, with commits of theirs on top.
	Touched bool `json:"touched,omitempty"`
	// Kept says why the rebase branch must stay as it is, with To only the commit that would have been there: people
	// committed to it, and what they did cannot be carried further.
	Kept string `json:"kept,omitempty"`
	// Problem says why nothing could be carried.
	Problem string `json:"problem,omitempty"`
	// Lessons are the conflicts that the people's commits on the rebase branch resolve, for others that have the same.
	Lessons []Lesson `json:"-"`
}

// Carried is a commit on its new base.
type Carried struct {
	From    string `json:"from"` // the commit of the branch; "" for one that was made to keep a merge's resolution
	To      string `json:"to"`
	Subject string `json:"subject"`
}

// Dropped is a commit of the branch that is not carried.
type Dropped struct {
	Commit  string `json:"commit"`
	Subject string `json:"subject"`
	Why     string `json:"why"` // "main has it", "a newer copy is carried", "nothing of it is left", "merge"
}

// Side is one side of a conflict: a file as git keeps it. The zero value is no file.
type Side struct {
	Mode git.Mode `json:"mode"`
	Blob string   `json:"blob"`
}

// Conflict is a file that both sides changed.
type Conflict struct {
	Path string `json:"path"`
	// Key is the same for the same path with the same three sides, on whatever shop.
	Key    string `json:"key"`
	Commit string `json:"commit"` // of the branch, that does not fit
	Base   Side   `json:"base"`
	Main   Side   `json:"main"`
	Shop   Side   `json:"shop"`
	// Values are what is in conflict in wrangler.jsonc, when its structure could be read; Why says why it could not.
	Values []wrangler.Choice `json:"values,omitempty"`
	Why    string            `json:"why,omitempty"`
}

// Resolution is how a conflict was resolved, as it landed on a shop.
type Resolution struct {
	Key    string
	Path   string
	Result Side   // the zero value removes the file
	Shop   string // on which it landed first
	Branch string // that shop's
	Commit string // that landed
}

// Replayed is a conflict that was resolved by a Resolution.
type Replayed struct {
	Conflict
	Shop string `json:"resolved_on"` // where it had been resolved
	// Unproven says that nothing in that shop's history tells that it had this very conflict: a person has to agree, whatever
	// the policy says.
	Unproven bool `json:"unproven,omitempty"`
}

// Lesson is a Resolution that is worth keeping once the move has landed: Object is a commit to push to Ref.
type Lesson struct {
	Ref, Object string
	Resolution
}

// Landable says whether the move may land at all; the reason why not is for people. What has to be green, and who has to
// agree, is not asked here.
func (m *Move) Landable() (ok bool, why string) {
	switch {
	case m.State == Current:
		return false, "the branch is on main already"
	case m.Problem != "":
		return false, m.Problem
	case len(m.Conflicts) > 0:
		return false, "conflicts are not resolved"
	case m.Kept != "":
		return false, m.Kept
	case m.To == "":
		return false, "nothing was carried"
	}
	return true, ""
}

// NeedsPerson says whether a person has to look at the move before it lands, where the policy applies no resolution by itself.
func (m *Move) NeedsPerson() bool { return !m.Settled() && m.Decision(fleet.ReplayOffer) != "" }

// Cluster is one decision: a conflict, and the shops that have it.
type Cluster struct {
	Conflict
	Shops []string `json:"shops"` // sorted
}

// Command is a word of a person to a round: pause, resume or skip. Who may say it has been checked.
type Command struct {
	Verb string // "pause", "resume" or "skip"
	Shop string // of skip
	By   string
	At   time.Time
	URL  string
}

// Settled says that the branch is where it should be: nothing is to be moved.
func (m *Move) Settled() bool { return m.From != "" && m.To == m.From }

// Gravity orders states: the more, the more a person is needed.
func (s State) Gravity() int {
	return slices.Index([]State{Current, Clean, Resolved, Diverged, Drifted, Conflicted, Unusable}, s)
}

// Made are the commits that a survey made for the move; all others that To has were on main, on the shop's branch or on its
// rebase branch.
func (m *Move) Made() []string {
	ids := []string{m.Start}
	for _, c := range m.Commits {
		ids = append(ids, c.To)
	}
	return ids
}
