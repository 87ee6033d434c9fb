package cloudflare

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// What callers act on: errors.Is(err, …) with any error of this package.
var (
	ErrNotFound       = errors.New("not found")                              // the API knows the call, and the thing named in it does not exist
	ErrConflict       = errors.New("already there, or held by another")      // a name, hostname or record is taken; repeating will not help
	ErrRateLimited    = errors.New("rate limited")                           // not applied; RetryAfter says how long the API wants to be left alone
	ErrUnauthorized   = errors.New("not authorised")                         // the token is wrong, or lacks a permission
	ErrUnknownOutcome = errors.New("may have happened")                      // a write without a clear answer: look before repeating it
	ErrReadOnly       = errors.New("refused: this client only reads")        // nothing was sent
	ErrConfig         = errors.New("the client is not set up")               // nothing was sent
	ErrArgument       = errors.New("refused before sending")                 // nothing was sent
	ErrMalformed      = errors.New("the answer is not one this API gives")   // HTML, cut JSON, no "success", a result that lacks what it must have
	ErrPaging         = errors.New("the list does not end where it says so") // a cursor or a page came twice
)

// Outcome says what is known about the effect of a failed call.
type Outcome int

const (
	NotSent Outcome = iota // certainly no effect: nothing reached the API, or the call only reads and got no answer
	Refused                // the API answered no
	Unknown                // may have happened: look before repeating
)

func (o Outcome) String() string {
	switch o {
	case NotSent:
		return "not sent"
	case Refused:
		return "refused"
	}
	return "unknown"
}

// Error is a call that did not succeed. It never holds a secret, a body or a query string.
type Error struct {
	Op        string // the method of Client, such as PutSchedules
	Method    string // HTTP
	Path      string // escaped, without base URL and query
	Status    int    // HTTP; 0 when there was no answer
	Code      int    // the first error code of the answer; 0 none
	Codes     []int  // all of them, those of error chains included
	Message   string // what the API said, joined by "; "
	Ray       string // the cf-ray header, which Cloudflare's support asks for
	Statement int    // D1: the number of the statement that failed, 1-based; 0 unknown

	RetryAfter time.Duration // how long the API asked us to wait; 0 when it did not say
	Outcome    Outcome
	Attempts   int   // how often it was tried
	Err        error // the cause, when it was not an answer of the API

	service   string
	envelope  bool // the answer was the API's own, not a proxy's or a web page
	transient bool // worth another attempt, when the endpoint may be repeated
	challenge bool
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", e.Op, e.Method, e.Path)
	sep := ": "
	say := func(s string) { b.WriteString(sep + s); sep = ", " }
	if e.Statement > 0 {
		say(fmt.Sprintf("statement %d", e.Statement))
		sep = ": "
	}
	if e.Message != "" {
		say(e.Message)
	}
	if e.Err != nil {
		say(e.Err.Error())
	}
	if e.Status != 0 {
		say(fmt.Sprintf("HTTP %d", e.Status))
	}
	if e.Ray != "" {
		say("ray " + e.Ray)
	}
	if e.Attempts > 1 {
		say(fmt.Sprintf("%d attempts", e.Attempts))
	}
	if e.Outcome == Unknown {
		say("it may have happened")
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Is answers for the sentinels that follow from status and codes; ErrReadOnly and the like are found by unwrapping.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrNotFound:
		return e.notFound()
	case ErrConflict:
		return e.envelope && (e.Status == http.StatusConflict || e.Status == http.StatusPreconditionFailed || e.has(conflictCodes[e.service]))
	case ErrRateLimited:
		return e.rateLimited()
	case ErrUnauthorized:
		return e.unauthorized()
	case ErrUnknownOutcome:
		return e.Outcome == Unknown
	}
	return false
}

// The codes of each product that mean one thing, from error-codes.json and wire.md §2. A code counts only for calls to
// that product: 10013, for one, is a missing namespace to KV and a bad message to Queues.
var (
	notFoundCodes = map[string][]int{
		"workers": {10007, 10090, 10092, 10009, 10056, 10071, 10336, 100114, 100146},
		"d1":      {7404},
		"r2":      {10006, 10085},
		"kv":      {10013},
	}
	conflictCodes = map[string][]int{
		"workers": {10036, 100116, 100117},
		"d1":      {7502},
		"r2":      {10004},
		"kv":      {10014},
		"dns":     {81057, 81058},
	}
)

// codeRateLimit is the API's general rate limit, which arrives under any HTTP status, 200 included.
const codeRateLimit = 971

func (e *Error) has(codes []int) bool {
	return slices.ContainsFunc(e.Codes, func(c int) bool { return slices.Contains(codes, c) })
}

// notFound leaves out 7003, "could not route": a wrong account id or base URL must not pass for "no such Worker", which
// would read as a first deploy. For the same reason a 404 that is not the API's own answer does not count.
func (e *Error) notFound() bool {
	if !e.envelope || e.has([]int{7003}) {
		return false
	}
	return e.Status == http.StatusNotFound || e.has(notFoundCodes[e.service])
}

func (e *Error) rateLimited() bool {
	return e.Status == http.StatusTooManyRequests || e.has([]int{codeRateLimit})
}

func (e *Error) unauthorized() bool {
	if e.challenge || e.rateLimited() {
		return false
	}
	switch {
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden, e.has([]int{10000, 9106}):
		return true
	case e.has([]int{9109}):
		return !strings.Contains(e.Message, "zone identifier")
	}
	return e.has([]int{10001}) && strings.Contains(e.Message, "not allowed")
}

// hints says what to do next, by product and code; product "" is any. Facts: wire.md §2, error-codes.json, field.md §5.
var hints = map[string]map[int]string{
	"": {
		971:   "the API's rate limit is reached (1,200 calls in 5 minutes for a token); wait, and let fewer programs share the token",
		1000:  "this is an account token: verify it with VerifyAccountToken",
		7003:  "the account, zone or resource id in the path is not one the API can route; check account_id and the ids in fleet.yml",
		9106:  "the Authorization header is missing or malformed; check the token",
		9109:  "the token is invalid, or lacks the permission for this resource",
		10000: "the token was refused; check that it is right, not expired, and may act on this account or zone",
		10001: "either the token may not use this method, or Cloudflare had an internal error; the message tells which",
	},
	"workers": {
		10007:  "there is no Worker of this name in the account; deploy it first, or check name and account_id",
		10090:  "there is no Worker of this name in the account; deploy it first, or check name and account_id",
		10021:  "Cloudflare could not start the script; run it locally (wrangler dev) and look at what the message names",
		10027:  "the script is larger than the plan allows; look for big dependencies in the bundle",
		10041:  "a binding names a KV namespace that the account does not have",
		10056:  "the Worker has no secret of this name",
		10057:  "a binding is to be inherited, and the live Worker has none of this name; usually a required secret is not set yet",
		10071:  "the version does not exist (any more); only the newest 100 can be released",
		10085:  "a binding names an R2 bucket that the account does not have",
		10181:  "a binding names a D1 database that the account does not have",
		10214:  "the newest version is not deployed; set the secret on that version, or deploy it first",
		10215:  "the newest version is not deployed; set the secrets on that version, or deploy it first",
		10220:  "secrets have changed since that version was made; releasing it would put the old ones back: accept with Force",
		10222:  "the Worker has no version yet; deploy it first",
		100116: "the hostname belongs to another Worker; detach it there first, shopfleet never takes one",
		100117: "the hostname already has DNS records or another origin; remove them first, shopfleet never takes one",
		100146: "the version does not exist (any more); only the newest 100 can be released",
	},
	"d1": {
		7400: "D1 does not accept this property or bookmark; bookmarks and timestamps reach back 30 days at most",
		7404: "there is no such database in the account; check database_id",
		7406: "the account has as many databases as its plan allows",
		7500: "D1 could not run the SQL; the message is SQLite's",
		7502: "a database of this name exists already; use it, or choose another name",
	},
	"r2": {
		10004: "a bucket of this name exists already; use it, or choose another name",
		10006: "there is no such bucket in the account; check the name and the jurisdiction",
		10085: "there is no such bucket in the account; check the name and the jurisdiction",
	},
	"kv": {
		10013: "there is no such namespace in the account; check the id",
		10014: "a namespace of this title exists already; use it, or choose another title",
	},
	"dns": {
		81057: "an identical DNS record exists already",
		81058: "an identical DNS record exists already",
	},
}

// Hint says what to do next, in one line; "" when there is nothing useful to say.
func (e *Error) Hint() string {
	if e.service == "workers" && e.Code == 10021 && strings.Contains(strings.ToLower(e.Message), "startup") {
		return "the script needs too long, or fails, while it starts (limit 1 s); move work out of the top level of the module"
	}
	if e.Op == "AccountSubdomain" && e.Code == 10007 {
		return "the account has no workers.dev subdomain yet; choose one in the dashboard, or set workers_dev to false"
	}
	if need := e.Permission(); need != "" && !strings.Contains(e.Message, "Invalid access token") {
		return "the token was refused: give it the permission " + need + " for this account and zone, or check that it is the right one and not expired"
	}
	for _, code := range e.Codes {
		for _, service := range []string{e.service, ""} {
			if h := hints[service][code]; h != "" {
				return h
			}
		}
	}
	switch {
	case errors.Is(e.Err, ErrReadOnly):
		return "this run only looks; repeat it without the read-only switch to change anything"
	case e.challenge:
		return "Cloudflare's web firewall challenged the call; run from another address, or allow this one in the account"
	case e.rateLimited():
		return hints[""][codeRateLimit]
	case e.unauthorized():
		return "the token lacks the permission for this call; check its permission groups and the account or zone it is limited to"
	case e.Status != 0 && !e.envelope && e.Status < 500:
		return "something other than the Cloudflare API answered; check the base URL and any proxy on the way"
	case e.Status >= 500:
		return "Cloudflare had a fault; try again later, and see www.cloudflarestatus.com"
	case e.Outcome == Unknown:
		return "look whether it happened before repeating it"
	}
	return ""
}
