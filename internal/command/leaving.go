package command

// Leaving: how a shop goes out of the fleet, or to another account. Both take days, and are carried on by whoever comes next:
// how far it came is written in the shop's hold before and after every step, and what is there is looked at again. What comes
// next is decided here, from the hold alone, and done in offboard.go and move.go.

import (
	"fmt"
	"slices"
	"time"

	"github.com/kvick/shopfleet/internal/deploy"
)

// leaving is how far a shop that leaves has come. It is part of the text of its hold.
type leaving struct {
	Verb  string `json:"verb"` // offboard or move
	Stage stage  `json:"stage"`
	// Account is the name of the account that it leaves, To that of the one that it moves to.
	Account string `json:"account"`
	To      string `json:"to,omitempty"`
	// Commit is the tip of its branch when it began.
	Commit string `json:"commit,omitempty"`
	// Backup is the export that is made before it is closed.
	Backup *export `json:"backup,omitempty"`
	// Closed is since when it cannot be reached where it was, Opened since when it answers where it is now, and Due from when
	// on what is left of it may be deleted.
	Closed time.Time `json:"closed,omitzero"`
	Opened time.Time `json:"opened,omitzero"`
	Due    time.Time `json:"due,omitzero"`
	// Moved is the commit of the overlay that puts it into the new account, on top of Commit.
	Moved string `json:"moved,omitempty"`
	// Confirmed is who typed its name so that it is deleted, Plan the digest of what they saw, and Others what the other shops
	// of the account had then.
	Confirmed string    `json:"confirmed_by,omitempty"`
	Began     time.Time `json:"deletion_began,omitzero"`
	Plan      string    `json:"plan,omitempty"`
	Others    *others   `json:"others,omitempty"`
	// Deleted is what was deleted so far, a line each.
	Deleted []string `json:"deleted,omitempty"`
}

// export is a backup that a shop leaves behind.
type export struct {
	// Store is the name of the place in fleet.yml; "" is a folder, which only who made it knows.
	Store  string `json:"store,omitempty"`
	At     string `json:"at"`
	Digest string `json:"manifest_sha256"`
}

// stage is how far it came.
type stage string

// The stages. Each says what is done; the next step may be half done, and is done again.
const (
	stageHeld      stage = "held"      // nobody deploys it
	stageMade      stage = "made"      // move: what it needs is in the new account
	stageBackedUp  stage = "backed-up" // offboard: its export is made
	stageClosed    stage = "closed"    // it cannot be reached
	stageCopied    stage = "copied"    // move: its data is in the new account, and compared
	stageCommitted stage = "committed" // move: its branch names the new account
	stageMoved     stage = "moved"     // move: it answers from the new account, and the old one is kept
	stageReturning stage = "returning" // move: it goes back to the old account
	stageReturned  stage = "returned"  // move: it answers from the old account, and what is in the new one is kept
	stageDeleting  stage = "deleting"  // its name was typed: what is kept is deleted
)

const (
	verbOffboard = "offboard"
	verbMove     = "move"
)

// stagesOf are the stages of each verb, in their order.
func stagesOf(verb string) []stage {
	switch verb {
	case verbOffboard:
		return []stage{stageHeld, stageBackedUp, stageClosed, stageDeleting}
	case verbMove:
		return []stage{stageHeld, stageMade, stageClosed, stageCopied, stageCommitted, stageMoved, stageReturning, stageReturned, stageDeleting}
	}
	return nil
}

// valid says whether it can be believed. Whoever may write contents may write a hold.
func (l *leaving) valid() bool {
	switch {
	case !slices.Contains(stagesOf(l.Verb), l.Stage), l.Account == "":
		return false
	case l.Verb == verbMove:
		return l.To != "" && l.To != l.Account && (l.Stage != stageMoved || !l.Opened.IsZero()) && (!l.reached(stageCommitted) || l.Moved != "" || l.Stage == stageReturning || l.Stage == stageReturned || l.Stage == stageDeleting)
	}
	return l.To == "" && (!l.reached(stageBackedUp) || l.Backup != nil) && (!l.reached(stageClosed) || !l.Closed.IsZero() && !l.Due.Before(l.Closed))
}

// reached says whether it came as far as a stage.
func (l *leaving) reached(s stage) bool {
	all := stagesOf(l.Verb)
	return slices.Index(all, l.Stage) >= slices.Index(all, s)
}

// kept is the account that has what is deleted in the end.
func (l *leaving) kept() string {
	if l.Verb == verbMove && l.Opened.IsZero() {
		return l.To // it went back, or never came there
	}
	return l.Account
}

// A stride is one step on the way.
type stride string

// The steps.
const (
	stepHold   stride = "hold"
	stepBackup stride = "back up"
	stepMake   stride = "make"
	stepClose  stride = "close"
	stepCopy   stride = "copy"
	stepCommit stride = "commit"
	stepOpen   stride = "open"    // deploy where it is to be now
	stepReopen stride = "re-open" // deploy where it was
	stepDelete stride = "delete"
	stepDone   stride = "" // nothing
)

// asked is what somebody wants of a shop that leaves, or is to.
type asked struct {
	verb string // offboard or move
	what string // go, delete, cancel, confirm or back; see the constants
	slug string
	to   string // the account, of a move
	at   time.Time
	// now deletes before the time is over.
	now bool
}

const (
	askGo      = "go"      // offboard, move --to
	askDelete  = "delete"  // offboard --delete
	askCancel  = "cancel"  // offboard --cancel
	askConfirm = "confirm" // move --confirm
	askBack    = "back"    // move --back
)

// next is what comes next for a shop whose hold says l, nil where it does not leave. It is pure: the same hold, question and
// time give the same answer. Findings say why what is asked for cannot be.
//
// Storage is deleted only from where a shop was closed, after its time is over, and never where it answers: a move's old
// account once the shop answers from the new one, its new account once it went back.
func (l *leaving) next(a asked) (stride, deploy.Findings) {
	if l != nil && l.Verb != a.verb {
		return stepDone, deploy.Findings{l.finding(a.slug, map[string]string{verbOffboard: "offboarding", verbMove: "a move"}[a.verb])}
	}
	if a.verb == verbMove {
		return l.nextMove(a)
	}
	return l.nextOffboard(a)
}

func (l *leaving) nextOffboard(a asked) (stride, deploy.Findings) {
	switch {
	case l == nil && a.what == askGo:
		return stepHold, nil
	case l == nil:
		return stepDone, refuse("not-leaving", a.slug+" is not being offboarded", "shopfleet offboard "+a.slug+" begins it")
	}
	switch a.what {
	case askGo:
		switch l.Stage {
		case stageHeld:
			return stepBackup, nil
		case stageBackedUp:
			return stepClose, nil
		case stageDeleting:
			return stepDone, refuse("deletion-begun", "the deletion of "+a.slug+" has begun", "shopfleet offboard "+a.slug+" --delete goes on with it")
		}
		return stepDone, nil
	case askCancel:
		if l.Stage == stageDeleting {
			return stepDone, refuse("deletion-begun", "the deletion of "+a.slug+" has begun, and it cannot come back by itself",
				"finish with shopfleet offboard "+a.slug+" --delete, then onboard the shop anew and restore its export")
		}
		return stepReopen, nil
	}
	switch {
	case l.Stage == stageDeleting:
		return stepDelete, nil
	case l.Stage != stageClosed:
		return stepDone, refuse("not-closed", a.slug+" is not closed yet", "shopfleet offboard "+a.slug+" goes on: it is exported and closed first")
	case a.at.Before(l.Due) && !a.now:
		return stepDone, refuse("grace-period", fmt.Sprintf("%s may be deleted from %s on", a.slug, l.Due.UTC().Format("2006-01-02 15:04 UTC")),
			"wait; shopfleet offboard "+a.slug+" --cancel opens it again; a person at a terminal has --now")
	}
	return stepDelete, nil
}

func (l *leaving) nextMove(a asked) (stride, deploy.Findings) {
	switch {
	case l == nil && a.what == askGo:
		return stepHold, nil
	case l == nil:
		return stepDone, refuse("not-leaving", a.slug+" is not being moved", "shopfleet move "+a.slug+" --to ACCOUNT begins it")
	}
	switch a.what {
	case askConfirm:
		switch l.Stage {
		case stageMoved, stageReturned, stageDeleting:
			return stepDelete, nil
		}
		return stepDone, refuse("move-unfinished", a.slug+" has not come to its new account yet",
			fmt.Sprintf("shopfleet move %s --to %s goes on with it, --back returns", a.slug, l.To))
	case askBack:
		switch l.Stage {
		case stageReturned:
			return stepDone, nil
		case stageDeleting:
			return stepDone, refuse("deletion-begun", "what "+a.slug+" left behind is being deleted", "shopfleet move "+a.slug+" --confirm goes on with it; afterwards it can be moved again")
		}
		return stepReopen, nil
	}
	switch l.Stage {
	case stageReturned:
		return stepDone, refuse("move-copy-left", fmt.Sprintf("a copy of %s is still in account %s, which it came back from", a.slug, l.To),
			"shopfleet move "+a.slug+" --confirm deletes that copy; then it can be moved again")
	case stageReturning:
		return stepDone, refuse("move-returning", a.slug+" is on its way back to account "+l.Account, "shopfleet move "+a.slug+" --back goes on with it")
	case stageDeleting:
		return stepDone, refuse("deletion-begun", "what "+a.slug+" left behind is being deleted", "shopfleet move "+a.slug+" --confirm goes on with it")
	}
	if a.to != l.To {
		return stepDone, refuse("move-elsewhere", fmt.Sprintf("%s is on its way to account %s", a.slug, l.To),
			fmt.Sprintf("shopfleet move %s --to %s goes on with it, --back returns", a.slug, l.To))
	}
	return map[stage]stride{
		stageHeld: stepMake, stageMade: stepClose, stageClosed: stepCopy, stageCopied: stepCommit, stageCommitted: stepOpen, stageMoved: stepDone,
	}[l.Stage], nil
}

// refuse is one finding that stops what was asked for.
func refuse(rule, message, hint string) deploy.Findings {
	return deploy.Findings{{Rule: rule, Level: deploy.LevelError, Message: message, Hint: hint}}
}

// lift is how the hold of a shop that leaves ends.
func (l *leaving) lift(slug string) string {
	switch {
	case l.Verb == verbOffboard && l.Stage == stageDeleting:
		return "shopfleet offboard " + slug + " --delete finishes it"
	case l.Verb == verbOffboard:
		return "shopfleet offboard " + slug + " --cancel opens it again"
	case l.Stage == stageMoved, l.Stage == stageReturned, l.Stage == stageDeleting:
		return "shopfleet move " + slug + " --confirm deletes what it left behind, and lifts the hold"
	case l.Stage == stageReturning:
		return "shopfleet move " + slug + " --back goes on with it"
	}
	return fmt.Sprintf("shopfleet move %s --to %s goes on with it, --back returns", slug, l.To)
}

// reason is what others read in the hold.
func (l *leaving) reason() string {
	const day = "2006-01-02"
	if l.Verb == verbOffboard {
		switch l.Stage {
		case stageClosed:
			return "it is closed, and may be deleted from " + l.Due.UTC().Format(day) + " on"
		case stageDeleting:
			return "it is being deleted"
		}
		return "it is being closed"
	}
	switch l.Stage {
	case stageMoved:
		return fmt.Sprintf("it moved from account %s to %s, and the old one is kept until that is confirmed", l.Account, l.To)
	case stageReturning:
		return "it goes back to account " + l.Account
	case stageReturned:
		return fmt.Sprintf("it came back to account %s, and the copy in %s is kept until that is confirmed", l.Account, l.To)
	case stageDeleting:
		return "what it left in account " + l.kept() + " is being deleted"
	}
	return fmt.Sprintf("it is on its way from account %s to %s", l.Account, l.To)
}

// finding says of something else that it does not happen to a shop that leaves.
func (l *leaving) finding(slug, what string) deploy.Finding {
	return deploy.Finding{Rule: "shop-leaving", Level: deploy.LevelError,
		Message: fmt.Sprintf("%s of %s does not happen: %s", what, slug, l.reason()), Hint: l.lift(slug)}
}

// before is what is written down before a step is done, so that a run that is killed in the middle of it leaves the truth:
// what opens again is not closed any more, and what is being deleted cannot come back.
func (l leaving) before(s stride) leaving {
	switch {
	case s == stepReopen && l.Verb == verbOffboard:
		l.Stage, l.Closed, l.Due = stageHeld, time.Time{}, time.Time{}
	case s == stepReopen:
		l.Stage, l.Opened = stageReturning, time.Time{}
	case s == stepDelete:
		l.Stage = stageDeleting
	}
	return l
}
