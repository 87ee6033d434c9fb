package deploy

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
)

// keptHistory is how far back Time Travel reaches on paid plans; 7 days on free ones
// (developers.cloudflare.com/d1/reference/time-travel).
const keptHistory = 30 * 24 * time.Hour

// RestoreTarget names a state of a database. Exactly one field is set.
type RestoreTarget struct {
	// Bookmark is D1's own name of the state.
	Bookmark string
	// Time stands for the state at the end of its second.
	Time time.Time
	// Release is a version id of the shop's Worker, or at least the first 8 characters of one. It stands for the last
	// state of the database before the next release took its place.
	Release string
}

var (
	bookmarkForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{32}$`)
	releaseForm  = regexp.MustCompile(`^[0-9a-f]{8}[0-9a-f-]{0,28}$`)
	ageForm      = regexp.MustCompile(`^(\d{1,4}d)?(\d{1,4}h)?(\d{1,5}m)?(\d{1,7}s)?$`)
	zonelessForm = []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04"}
)

// RestoreTargetForms says in one line what ParseRestoreTarget reads.
const RestoreTargetForms = "a bookmark, a time such as 2026-11-23T09:30:00Z or \"2026-11-23 09:30\" (UTC), an age such as 90m or 3d, or a version id of the shop's Worker"

// ParseRestoreTarget reads what a person types: a bookmark; a time in RFC 3339, or as "2006-01-02 15:04[:05]" in UTC; an
// age before now, in days, hours, minutes and seconds such as 1d12h; a version id or the beginning of one. Times must lie
// in the past and within the 30 days that D1 keeps. "live" and "previous" name nothing that stays the same, and are refused.
func ParseRestoreTarget(text string, now time.Time) (RestoreTarget, error) {
	at, ok := time.Time{}, false
	switch text = strings.TrimSpace(text); {
	case text == "":
		return RestoreTarget{}, errors.New("no target is given")
	case bookmarkForm.MatchString(text):
		return RestoreTarget{Bookmark: text}, nil
	case slices.Contains([]string{"live", "previous", "latest", "now"}, strings.ToLower(text)):
		return RestoreTarget{}, fmt.Errorf("%q names another state every time; a restore needs one that stays the same", text)
	case ageForm.MatchString(text):
		at, ok = now.Add(-age(text)), true
	case releaseForm.MatchString(text):
		return RestoreTarget{Release: text}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		at, ok = t, true
	}
	for _, form := range zonelessForm {
		if t, err := time.ParseInLocation(form, text, time.UTC); err == nil {
			at, ok = t, true
		}
	}
	switch {
	case !ok:
		return RestoreTarget{}, fmt.Errorf("%q is neither a bookmark, a time, an age nor a version id", text)
	case at.After(now):
		return RestoreTarget{}, fmt.Errorf("%s is in the future", at.UTC().Format(time.RFC3339))
	case now.Sub(at) > keptHistory:
		return RestoreTarget{}, fmt.Errorf("%s is more than 30 days ago, and D1 keeps no more", at.UTC().Format(time.RFC3339))
	}
	return RestoreTarget{Time: at.UTC().Truncate(time.Second)}, nil
}

// age is the duration that a text of ageForm stands for.
func age(text string) time.Duration {
	units := map[byte]time.Duration{'d': 24 * time.Hour, 'h': time.Hour, 'm': time.Minute, 's': time.Second}
	var sum time.Duration
	for text != "" {
		i := strings.IndexAny(text, "dhms")
		n, _ := strconv.Atoi(text[:i]) // a few digits: ageForm
		sum += time.Duration(n) * units[text[i]]
		text = text[i+1:]
	}
	return sum
}

// endOfSecond is the last millisecond of a time's second. D1's CURRENT_TIMESTAMP counts in seconds, so only there do the
// rows of the state and those made since differ in it.
func endOfSecond(t time.Time) time.Time {
	return t.UTC().Truncate(time.Second).Add(999 * time.Millisecond)
}

// replaced finds the last time at which a release was live among a Worker's deployments, newest first: its version id,
// and the deployment that took its place. The error is Findings.
func replaced(deployments []cloudflare.Deployment, prefix string) (version string, next cloudflare.Deployment, err error) {
	unknown := func(message, hint string) error {
		return Findings{{Rule: "restore-release", Level: LevelError, Message: message, Expected: "a version that was released, and is not now", Hint: hint}}
	}
	at := -1
	for i, d := range deployments {
		for _, v := range taking(d) {
			switch {
			case !strings.HasPrefix(v.VersionID, prefix):
			case version != "" && v.VersionID != version:
				return "", next, unknown(fmt.Sprintf("versions %s and %s both begin with %s", version, v.VersionID, prefix), "give more of the id")
			case version == "":
				version, at = v.VersionID, i
			}
		}
	}
	switch at {
	case -1:
		return "", next, unknown("no release that Cloudflare still lists is of version "+prefix, "see wrangler deployments list; or give a time or a bookmark")
	case 0:
		return "", next, unknown("version "+version+" is live now, so its last state is the present", "give a time or a bookmark")
	}
	return version, deployments[at-1], nil
}

// history is the past of one database, as far as bookmarks tell.
type history struct {
	cf       *cloudflare.Client
	database string
	created  time.Time // when the database was made
	now      time.Time
	present  string // bookmark
}

// bookmarkAt is the bookmark of the state at a time. ok is false, and refusal what D1 said, when it has none.
func (h *history) bookmarkAt(ctx context.Context, at time.Time) (bookmark string, ok bool, refusal error, err error) {
	if at.After(h.now) {
		at = h.now
	}
	bookmark, err = h.cf.D1Bookmark(ctx, h.database, at)
	var api *cloudflare.Error
	switch {
	case err == nil:
		return bookmark, true, nil, nil
	case errors.As(err, &api) && api.Outcome == cloudflare.Refused && api.Code != 0 && !errors.Is(err, cloudflare.ErrUnauthorized) &&
		!errors.Is(err, cloudflare.ErrRateLimited) && !errors.Is(err, cloudflare.ErrNotFound):
		return "", false, err, nil
	}
	return "", false, nil, fmt.Errorf("asking for the bookmark of %s: %w", at.Format(time.RFC3339), err)
}

// errBeforeHistory says that a bookmark is older than what D1 keeps.
var errBeforeHistory = errors.New("the bookmark is older than the history that D1 keeps")

// since finds when the database came to the state of a bookmark. D1 does not tell; but the bookmarks of a database sort
// as text in the order of its history (field.md section 5), so the time is found by halving: to the second in about 22
// reads, and to the millisecond in 10 more where a second holds several states. matched is false when no time has exactly
// this bookmark: it may be another database's, or name a state that no time does.
func (h *history) since(ctx context.Context, bookmark string) (at time.Time, matched bool, err error) {
	begin := h.now.Add(-keptHistory + time.Minute)
	if h.created.After(begin) {
		begin = h.created.Add(-2 * time.Second)
	}
	var first time.Time // the earliest time that D1 knew a bookmark of
	begins := true      // D1 knew none at all before the present bounds
	found := ""
	before := func(t time.Time) (bool, error) {
		b, ok, refusal, err := h.bookmarkAt(ctx, t)
		switch {
		case err != nil:
			return false, err
		case !ok && !first.IsZero() && t.After(first):
			return false, fmt.Errorf("asking for the bookmark of %s: %w", t.Format(time.RFC3339), refusal)
		case !ok:
			return true, nil
		case first.IsZero() || t.Before(first):
			first = t
		}
		if b < bookmark {
			begins = false
			return true, nil
		}
		found = b
		return false, nil
	}
	// halve narrows (low, high] to the first step at which the bookmark is reached.
	halve := func(low, high int64, step func(int64) time.Time) (int64, error) {
		for high-low > 1 {
			middle := low + (high-low)/2
			earlier, err := before(step(middle))
			if err != nil {
				return 0, err
			}
			if earlier {
				low = middle
			} else {
				high = middle
			}
		}
		return high, nil
	}
	second := func(n int64) time.Time { return endOfSecond(time.Unix(n, 0)) }
	n := begin.Unix()
	earlier, err := before(second(n))
	if err != nil {
		return time.Time{}, false, err
	}
	if earlier {
		found = h.present
		if n, err = halve(n, h.now.Unix(), second); err != nil {
			return time.Time{}, false, err
		}
	} else if found != bookmark {
		return time.Time{}, false, errBeforeHistory
	}
	if found == bookmark {
		return second(n), true, nil
	}
	start := second(n).Add(-999 * time.Millisecond)
	milli := func(n int64) time.Time { return start.Add(time.Duration(n) * time.Millisecond) }
	n, err = halve(-1, min(999, h.now.Sub(start).Milliseconds()), milli)
	switch {
	case err != nil:
		return time.Time{}, false, err
	case found != bookmark && begins:
		return time.Time{}, false, errBeforeHistory
	}
	return milli(n), found == bookmark, nil
}
