package command

// Holds: locks on shops, with an owner and a reason, kept as refs of the repository, so that everybody who may deploy sees
// the same and two who come at once are told apart by GitHub.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/report"
)

// Hold is a lock on a shop, with an owner and a reason.
type Hold struct {
	Shop    string    `json:"shop,omitempty"` // "" is all shops
	Owner   string    `json:"owner"`
	Reason  string    `json:"reason"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	By      string    `json:"by"`    // rollback, hold, offboard or move
	State   string    `json:"state"` // held, or working while a rollback is under way
	Order   string    `json:"order,omitempty"`
	Bad     string    `json:"bad_version,omitempty"`
	// Before is the hold whose place a rollback took while it is under way. It comes back when nothing was released,
	// also where another run takes this one's place.
	Before *Hold `json:"before,omitempty"`
	// Leaving is how far the shop has come that is taken out of the fleet, or to another account; nil for all others.
	Leaving *leaving `json:"leaving,omitempty"`

	sha string // of the commit that it is written in; what a swap compares
	ref string // where that is not the shop's own; "" otherwise
	cut bool   // it is of a rollback that did not come to its end
}

// The states of a hold.
const (
	holdHeld    = "held"
	holdWorking = "working"
)

const (
	// holdRefs is where holds are: each is a ref that names a commit without parents, whose message is the hold.
	holdRefs   = "refs/shopfleet/holds/"
	fleetHold  = "_fleet" // no slug begins so
	holdFormat = 1
	maxReason  = 500 // characters
	// longestWork is how long something may be under way, clocksDiffer how far in the future a hold may have been written.
	longestWork  = time.Hour
	clocksDiffer = time.Hour
)

// holds keeps holds as refs of the repository. Safe for concurrent use.
type holds struct {
	client *github.Client
	now    func() time.Time
	like   string // a commit that GitHub has: a hold has its tree, since every commit has one
}

func holdName(slug string) string {
	if slug == "" {
		slug = fleetHold
	}
	return holdRefs + slug
}

func (x Hold) name() string {
	if x.ref != "" {
		return x.ref
	}
	return holdName(x.Shop)
}

// written is a hold as its commit's message has it.
type written struct {
	Format int `json:"shopfleet_hold"`
	Hold
}

func (x Hold) text() (string, error) {
	text, err := json.MarshalIndent(written{holdFormat, x}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("writing a hold: %w", err)
	}
	return string(text) + "\n", nil
}

// readHold reads a hold. Whoever may write contents may write one: what cannot be read is a hold all the same, and so is one
// that says it is about another shop than its ref does.
func readHold(slug, sha, text string, now time.Time) Hold {
	var w written
	if err := json.Unmarshal([]byte(text), &w); err != nil || w.Format != holdFormat {
		w.Hold = Hold{}
	}
	x := w.checked(slug, now)
	x.sha = sha
	return x
}

// checked is a hold as far as it is to be believed.
func (x Hold) checked(slug string, now time.Time) Hold {
	odd := x.Shop != slug || x.Owner == "" || x.State != holdHeld && x.State != holdWorking
	// A clock that is wrong by days, or a hold that was over before it began, would be one that nobody meets or that no
	// release-hold may lift.
	odd = odd || x.Leaving != nil && (!x.Leaving.valid() || x.State != holdHeld || !x.Expires.IsZero() || x.Before != nil)
	odd = odd || x.Created.IsZero() || x.Created.After(now.Add(clocksDiffer)) || !x.Expires.IsZero() && x.Expires.Before(x.Created)
	if odd {
		return Hold{Shop: slug, Owner: "somebody", Reason: "a hold that cannot be read", State: holdHeld, By: "hold"}
	}
	x.Owner, x.Reason = oneLineOf(x.Owner, 100), oneLineOf(x.Reason, maxReason)
	if b := x.Before; b != nil {
		b.Before = nil
		before := b.checked(slug, now)
		x.Before = &before
	}
	if x.State != holdWorking {
		return x
	}
	if most := x.Created.Add(longestWork); x.Expires.IsZero() || x.Expires.After(most) {
		x.Expires = most
	}
	if !x.counts(now) {
		// Its process died, and perhaps behind the release: who deploys now may bring back what was taken down.
		x.State, x.Expires, x.cut = holdHeld, time.Time{}, true
		x.Reason = oneLineOf("a rollback began and did not end, so look at what is live: "+x.Reason, maxReason)
	}
	return x
}

// oneLineOf is other people's text on one line, cut.
func oneLineOf(s string, most int) string {
	s = report.Clean(strings.Join(strings.Fields(s), " "))
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}

// counts says whether the hold is not over yet.
func (x Hold) counts(now time.Time) bool { return x.Expires.IsZero() || now.Before(x.Expires) }

// all reads the refs of holds; those of slugs, or of everybody where that is nil, are read whole.
func (h *holds) all(ctx context.Context, slugs []string) ([]Hold, error) {
	refs, err := h.client.Refs(ctx, holdRefs)
	if err != nil {
		return nil, fmt.Errorf("reading the holds: %w", err)
	}
	var out []Hold
	for _, ref := range refs {
		// While there is a ref below its name git has no place for the shop's own: what is there holds the shop.
		slug, _, below := strings.Cut(strings.TrimPrefix(ref.Name, holdRefs), "/")
		if slug == fleetHold {
			slug = ""
		}
		if slugs != nil && !slices.Contains(slugs, slug) {
			continue
		}
		text, err := h.client.CommitMessage(ctx, ref.SHA)
		var none *github.NotFoundError
		if errors.As(err, &none) || errors.Is(err, github.ErrMalformed) { // or its message is larger than what is read
			text = "" // it names no commit, or is gone by now: somebody else's word for it comes with the next look
		} else if err != nil {
			return nil, fmt.Errorf("reading the hold of %s: %w", report.Clean(ref.Name), err)
		}
		x := readHold(slug, ref.SHA, text, h.now())
		if below {
			x.ref = ref.Name
		}
		out = append(out, x)
	}
	return out, nil
}

// there is the hold of a shop whether it counts or not; nil when there is no ref.
func (h *holds) there(ctx context.Context, slug string) (*Hold, error) {
	list, err := h.all(ctx, []string{slug})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// of is the hold of a shop alone, nil when there is none that still counts.
func (h *holds) of(ctx context.Context, slug string) (*Hold, error) {
	x, err := h.there(ctx, slug)
	if err != nil || x == nil || !x.counts(h.now()) {
		return nil, err
	}
	return x, nil
}

// list are all holds that count, sorted by shop.
func (h *holds) list(ctx context.Context) ([]Hold, error) {
	list, err := h.all(ctx, nil)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(x Hold) bool { return !x.counts(h.now()) })
	sort.Slice(list, func(i, j int) bool { return list[i].Shop < list[j].Shop })
	return list, nil
}

// note writes a hold into a commit.
func (h *holds) note(ctx context.Context, x Hold) (*Hold, error) {
	text, err := x.text()
	if err != nil {
		return nil, err
	}
	if x.sha, err = h.client.NewNote(ctx, h.like, text); err != nil {
		return nil, fmt.Errorf("writing the hold: %w", err)
	}
	return &x, nil
}

// place writes a hold. placed is false when somebody else holds the shop: that hold is returned then. Of several that come at
// once one places it.
func (h *holds) place(ctx context.Context, x Hold) (now *Hold, placed bool, err error) {
	mine, err := h.note(ctx, x)
	if err != nil {
		return nil, false, err
	}
	for range 3 {
		made, err := h.client.CreateRef(ctx, github.Ref{Name: holdName(x.Shop), SHA: mine.sha})
		if err != nil && ctx.Err() == nil {
			if there, _ := h.there(ctx, x.Shop); there != nil && there.ref != "" {
				err = nil // a ref below its name is in the way
			}
		}
		if err != nil {
			if ctx.Err() != nil { // it may be there all the same, and nobody would lift it
				late, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
				defer cancel()
				_, _ = h.client.SwapRef(late, holdName(x.Shop), mine.sha, "")
			}
			return nil, false, fmt.Errorf("placing the hold: %w", err)
		}
		if made {
			return mine, true, nil
		}
		there, err := h.there(ctx, x.Shop)
		switch {
		case err != nil:
			return nil, false, err
		case there == nil:
			continue // lifted since
		case there.counts(h.now()):
			return there, false, nil
		}
		mine.ref = there.ref
		swapped, err := h.client.SwapRef(ctx, there.name(), there.sha, mine.sha)
		if err != nil {
			return nil, false, fmt.Errorf("taking the place of a hold that is over: %w", err)
		}
		if swapped {
			return mine, true, nil
		}
	}
	return nil, false, errors.New("placing the hold: it changes all the time")
}

// replace puts a hold in the place of one that was read.
func (h *holds) replace(ctx context.Context, before *Hold, x Hold) (now *Hold, swapped bool, err error) {
	mine, err := h.note(ctx, x)
	if err != nil {
		return nil, false, err
	}
	mine.ref = before.ref
	if mine.sha == before.sha {
		// The same words, within the second in which they were written first: a run that goes on where another one died.
		there, err := h.there(ctx, x.Shop)
		if err != nil {
			return nil, false, fmt.Errorf("replacing the hold: %w", err)
		}
		return mine, there != nil && there.sha == mine.sha, nil
	}
	swapped, err = h.client.SwapRef(ctx, before.name(), before.sha, mine.sha)
	if err != nil {
		return nil, false, fmt.Errorf("replacing the hold: %w", err)
	}
	return mine, swapped, nil
}

// lift removes a hold that was read.
func (h *holds) lift(ctx context.Context, x *Hold) (lifted bool, err error) {
	lifted, err = h.client.SwapRef(ctx, x.name(), x.sha, "")
	if err != nil {
		return false, fmt.Errorf("lifting the hold: %w", err)
	}
	return lifted, nil
}

// Held makes holds a deploy.Locker.
func (h *holds) Held(ctx context.Context, shop fleet.Shop) (*deploy.Held, error) {
	list, err := h.all(ctx, []string{shop.Slug, ""})
	if err != nil {
		return nil, err
	}
	var found *deploy.Held
	for _, x := range list {
		if !x.counts(h.now()) || found != nil && !found.Working {
			continue
		}
		found = &deploy.Held{Owner: x.Owner, Reason: x.Reason, Since: x.Created, Until: x.Expires, Fleet: x.Shop == "", Working: x.State == holdWorking}
		if x.Leaving != nil {
			found.Lift = x.Leaving.lift(x.Shop)
		}
	}
	return found, nil
}
