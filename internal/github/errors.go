package github

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

var (
	ErrConfig         = errors.New("the client is not set up")             // nothing was sent
	ErrArgument       = errors.New("refused before sending")               // nothing was sent
	ErrMalformed      = errors.New("the answer is not one this API gives") // not JSON, cut, too large, or without what it must hold
	ErrPaging         = errors.New("the list is longer than can be read")  // a list that does not end
	errRedirect       = errors.New("the answer is a redirect")             // never followed
	errHost           = errors.New("the address is not that of the API")   // never sent
	errClearText      = errors.New("the token would travel in clear text") // never sent
	errNoInstallation = errors.New("the App is not installed on the repository")
	errTooMany        = errors.New("not sent, because a rate limit was hit") // never sent
)

// Error is a call that failed: with what GitHub answered, or with the cause when there was no answer.
type Error struct {
	Method, Path string
	Status       int    // of the answer; 0 when there was none
	Code         string // of the first detail of a 422, as "already_exists"
	Message      string // GitHub's, cleaned and short
	RequestID    string // what GitHub's support asks for
	Accepted     string // X-Accepted-GitHub-Permissions: what the call needs
	Unclear      bool   // a write that may have happened
	Err          error  // the cause when GitHub did not answer; never holds a token

	transient bool      // worth another attempt
	limited   bool      // by a rate limit: certainly without effect
	until     time.Time // when the limit ends
	settled   bool      // was repeated already, or must not be
	said      bool      // GraphQL's, inside an answer with status 200
	token     bool      // it was about getting a token, and says nothing about what was asked for
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "GitHub: %s %s: ", e.Method, e.Path)
	switch {
	case e.Status != 0:
		fmt.Fprintf(&b, "%d %s", e.Status, orDefault(e.Message, http.StatusText(e.Status)))
	case e.Err != nil:
		b.WriteString(e.Err.Error())
		if e.Message != "" {
			b.WriteString("; " + e.Message)
		}
	default:
		b.WriteString(orDefault(e.Message, "failed"))
	}
	if e.Status != 0 && e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.RequestID != "" {
		b.WriteString(" (request " + e.RequestID + ")")
	}
	if e.Unclear {
		b.WriteString("; it may have happened")
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// NotFoundError says that what was asked for is not there, or that the token may not see it: GitHub answers the same.
type NotFoundError struct {
	What string // in words, as "the branch shops/swicked"; "" when there are no better ones than the Error's
	Err  *Error
}

func (e *NotFoundError) Error() string {
	if e.What == "" {
		return e.Err.Error()
	}
	return e.What + " is not there: " + e.Err.Error()
}

func (e *NotFoundError) Unwrap() error { return e.Err }

// Hint says what to do next, in one line.
func (e *NotFoundError) Hint() string {
	if e.Err.Accepted != "" {
		return "check the name, and that the token has " + permissions(e.Err.Accepted) + ": GitHub says the same when it may not see it"
	}
	return "check the name; GitHub says the same when the token may not see it"
}

// RateLimitError says that GitHub wants to be left alone for longer than a run should wait. Nothing happened.
type RateLimitError struct {
	Until time.Time
	Err   *Error
}

func (e *RateLimitError) Error() string {
	return fmt.Sprintf("GitHub's rate limit is used up until %s: %s", e.Until.UTC().Format(time.RFC3339), e.Err.Error())
}

func (e *RateLimitError) Unwrap() error { return e.Err }

// Hint says what to do next, in one line.
func (e *RateLimitError) Hint() string {
	return "run it again after " + e.Until.UTC().Format("15:04:05 MST") + ", or use a token with a limit of its own"
}

// typed gives e the type that callers ask for.
func typed(e *Error) error {
	switch {
	case e.limited:
		return &RateLimitError{Until: e.until, Err: e}
	case e.Status == http.StatusNotFound && !e.token:
		return &NotFoundError{Err: e}
	}
	return e
}

// missing puts words on a NotFoundError; any other error stays as it is.
func missing(err error, format string, args ...any) error {
	var absent *NotFoundError
	if errors.As(err, &absent) {
		absent.What = fmt.Sprintf(format, args...)
	}
	return err
}

// Hint says what to do next, in one line; "" when there is nothing useful to say.
func (e *Error) Hint() string {
	switch {
	case errors.Is(e.Err, ErrConfig), errors.Is(e.Err, errHost), errors.Is(e.Err, errClearText):
		return "check the token, the repository's name and the address of the API"
	case errors.Is(e.Err, errNoInstallation):
		return "install the App on the repository, in the App's settings, or check the App's id"
	case errors.Is(e.Err, errRedirect):
		return "the repository was renamed or moved: use its present name"
	case e.Status == http.StatusUnauthorized:
		return "the token is wrong or no longer valid; for an App, check its id, its key and this machine's clock"
	case e.Status == http.StatusForbidden && e.Accepted != "":
		return "the token needs " + permissions(e.Accepted) + "; in a workflow, grant it under permissions: of the job; for an App, in its settings, and have the change accepted"
	case e.Status == http.StatusForbidden:
		return "the token may not do this; check its permissions"
	case e.Status == http.StatusAccepted:
		return "look at the repository: GitHub may have merged the default branch into what was to be deployed"
	case e.Status == http.StatusConflict:
		return "something else changed at the same time, or the commit does not merge; look at it and run again"
	case e.Status == http.StatusGone:
		return "switch issues on in the repository's settings"
	case e.Status == http.StatusUnprocessableEntity:
		return "GitHub refuses what was sent; the message says which part"
	case e.Status >= 500:
		return "GitHub had a fault; try again later, and see www.githubstatus.com"
	case e.Unclear:
		return "look whether it happened before repeating it"
	case e.transient:
		return "GitHub could not be reached; check the network and any proxy, and try again"
	}
	return ""
}

// permissions turns "contents=read,deployments=write; administration=write" into words: a comma is and, a semicolon or.
func permissions(accepted string) string {
	var ways []string
	for way := range strings.SplitSeq(accepted, ";") {
		var all []string
		for one := range strings.SplitSeq(way, ",") {
			if name, level, ok := strings.Cut(strings.TrimSpace(one), "="); ok {
				all = append(all, name+": "+level)
			}
		}
		if len(all) > 0 {
			ways = append(ways, strings.Join(all, " and "))
		}
	}
	if len(ways) == 0 {
		return "other permissions"
	}
	return strings.Join(ways, ", or ")
}
