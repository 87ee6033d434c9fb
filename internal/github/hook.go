package github

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"
)

// Delivery is a webhook as it came in.
type Delivery struct {
	GUID  string // X-GitHub-Delivery, the same when it is delivered again
	Kind  string // X-GitHub-Event: issue_comment, check_run, …
	Event Event
	// Installation is the App's on the repository; 0 for events about none.
	Installation int64
}

// Hook verifies webhooks. Secrets are the one in use and, while it is rotated, the one before; an empty one is refused.
type Hook struct {
	secrets []Secret
	limit   int64
}

const maxHookSecrets = 2

// NewHook makes a Hook. limit is the most bytes of a body, 0 means 25 MB, more than which GitHub does not send (wire.md §2d).
func NewHook(limit int64, secrets ...Secret) (*Hook, error) {
	if len(secrets) == 0 || len(secrets) > maxHookSecrets {
		return nil, fmt.Errorf("%w: a webhook needs its secret, and while it is changed the one before: there are %d", ErrConfig, len(secrets))
	}
	for i, s := range secrets {
		switch {
		case strings.TrimSpace(string(s)) == "": // what anybody can sign with
			return nil, fmt.Errorf("%w: webhook secret %d is empty", ErrConfig, i+1)
		case strings.TrimSpace(string(s)) != string(s):
			return nil, fmt.Errorf("%w: webhook secret %d begins or ends with white space", ErrConfig, i+1)
		}
	}
	if limit < 0 {
		return nil, fmt.Errorf("%w: the limit of a webhook's size is negative", ErrConfig)
	}
	if limit == 0 {
		limit = maxEvent
	}
	return &Hook{secrets: append([]Secret(nil), secrets...), limit: limit}, nil
}

// HookError says why a request is no webhook of ours. Status is what to answer.
type HookError struct {
	Status int
	Why    string // without anything of the request's
}

func (e *HookError) Error() string { return e.Why }

var (
	guidRule  = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z-]{0,63}$`)
	eventRule = regexp.MustCompile(`^[a-z][a-z_]{0,63}$`)
)

// Read reads and verifies a request: POST, application/json, X-Hub-Signature-256 of the raw body in constant time, and the
// names of event and delivery. X-Hub-Signature, which is SHA-1, counts for nothing. Nothing of the body is looked at before
// its signature is right. The error is a *HookError: 405, 415, 413, 400 and, for the signature, 401.
func (h *Hook) Read(r *http.Request) (Delivery, error) {
	if h == nil || len(h.secrets) == 0 {
		return Delivery{}, &HookError{http.StatusInternalServerError, "no secret is set"}
	}
	media, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := parameters["charset"]
	encoding := r.Header.Get("Content-Encoding")
	guid, kind := only(r.Header, "X-Github-Delivery"), only(r.Header, "X-Github-Event")
	signature, signed := strings.CutPrefix(only(r.Header, "X-Hub-Signature-256"), "sha256=")
	mac, hexErr := hex.DecodeString(signature)
	switch {
	case r.Method != http.MethodPost:
		return Delivery{}, &HookError{http.StatusMethodNotAllowed, "a webhook is a POST"}
	case err != nil || media != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") || encoding != "" && encoding != "identity":
		return Delivery{}, &HookError{http.StatusUnsupportedMediaType, "the body is not application/json"}
	case r.ContentLength > h.limit:
		return Delivery{}, &HookError{http.StatusRequestEntityTooLarge, "the body is too large"}
	case !guidRule.MatchString(guid):
		return Delivery{}, &HookError{http.StatusBadRequest, "X-GitHub-Delivery is missing, or is no delivery's name"}
	case !eventRule.MatchString(kind):
		return Delivery{}, &HookError{http.StatusBadRequest, "X-GitHub-Event is missing, or is no event's name"}
	case !signed || hexErr != nil || len(mac) != sha256.Size:
		return Delivery{}, &HookError{http.StatusUnauthorized, "X-Hub-Signature-256 is missing, or is no signature"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, h.limit))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return Delivery{}, &HookError{http.StatusRequestEntityTooLarge, "the body is too large"}
	case err != nil || r.ContentLength >= 0 && int64(len(body)) != r.ContentLength:
		return Delivery{}, &HookError{http.StatusBadRequest, "the body ends early"}
	case !h.signed(body, mac):
		return Delivery{}, &HookError{http.StatusUnauthorized, "the signature is not that of a secret of ours"}
	}
	e, err := ParseEvent(kind, body)
	if err != nil {
		return Delivery{}, &HookError{http.StatusBadRequest, "the payload is not one of its event"}
	}
	return Delivery{GUID: guid, Kind: kind, Event: e, Installation: e.Installation}, nil
}

// only is the value of a header that is there once; "" otherwise.
func only(h http.Header, name string) string {
	if values := h[name]; len(values) == 1 {
		return values[0]
	}
	return ""
}

// signed tries every secret, whichever fits.
func (h *Hook) signed(body, mac []byte) bool {
	fits := 0
	for _, s := range h.secrets {
		m := hmac.New(sha256.New, []byte(s))
		m.Write(body)
		if hmac.Equal(m.Sum(nil), mac) {
			fits++
		}
	}
	return fits > 0
}
