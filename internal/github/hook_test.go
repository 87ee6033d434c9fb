package github_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/github"
)

const (
	hookSecret = "It's a Secret to Everybody"
	guid       = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
	payloads   = "../../testdata/contracts/github/webhooks"
)

func signature(secret string, body []byte) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write(body)
	return "sha256=" + hex.EncodeToString(m.Sum(nil))
}

func delivered(kind string, body []byte) *http.Request {
	r := httptest.NewRequest("POST", "/hook", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-GitHub-Event", kind)
	r.Header.Set("X-GitHub-Delivery", guid)
	r.Header.Set("X-Hub-Signature-256", signature(hookSecret, body))
	return r
}

func newHook(t testing.TB, limit int64, secrets ...github.Secret) *github.Hook {
	t.Helper()
	h, err := github.NewHook(limit, secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func talk(body string) []byte {
	return fmt.Appendf(nil, `{"action":"created","issue":{"number":7,"state":"open","pull_request":{}},"comment":{"id":3,"body":%q,"user":{"login":"wanda","id":5,"type":"User"},
		"created_at":"2026-11-23T09:00:00Z","updated_at":"2026-11-23T09:00:00Z","issue_url":"https://api.github.com/repos/acme/helm/issues/7"},
		"repository":{"full_name":"acme/helm","default_branch":"main"},"sender":{"login":"wanda","id":5,"type":"User"},"installation":{"id":77}}`, body)
}

// The vector of GitHub's documentation, wire.md §2d. Its body is no JSON: the signature is judged first.
func TestHookVector(t *testing.T) {
	body := []byte("Hello, World!")
	const known = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	if got := signature(hookSecret, body); got != known {
		t.Fatalf("this test signs %s", got)
	}
	for value, status := range map[string]int{known: 400, known[:len(known)-1] + "8": 401} {
		r := delivered("ping", body)
		r.Header.Set("X-Hub-Signature-256", value)
		_, err := newHook(t, 0, hookSecret).Read(r)
		var e *github.HookError
		if !errors.As(err, &e) || e.Status != status {
			t.Errorf("%s: %v; want %d", value, err, status)
		}
	}
}

func TestHook(t *testing.T) {
	body := talk("/rollback")
	for _, h := range []*github.Hook{newHook(t, 0, hookSecret), newHook(t, int64(len(body)), "the new one", hookSecret), newHook(t, 0, hookSecret, "the old one")} {
		d, err := h.Read(delivered("issue_comment", body))
		if err != nil || d.GUID != guid || d.Kind != "issue_comment" || d.Installation != 77 {
			t.Fatalf("got %+v, %v", d, err)
		}
		e := d.Event
		if e.Action != "created" || e.Sender != "wanda" || e.SenderID != 5 || e.SenderBot || e.RepositoryName != "acme/helm" || !e.Issue.Pull || e.Comment.Body != "/rollback" || e.Comment.AuthorID != 5 || e.Comment.Bot || e.Comment.Issue != 7 {
			t.Errorf("got %+v, %+v", e, e.Comment)
		}
	}
	for name, secrets := range map[string][]github.Secret{"none": nil, "an empty one": {""}, "an empty one beside another": {"x", ""}, "white space": {" \t\n"}, "a line's end": {"x\n"}, "three": {"x", "y", "z"}} {
		if h, err := github.NewHook(0, secrets...); err == nil || h != nil || !errors.Is(err, github.ErrConfig) || strings.Contains(err.Error(), "x\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, h := range []*github.Hook{nil, {}} {
		if _, err := h.Read(delivered("issue_comment", body)); err == nil {
			t.Error("a hook that was not made takes everything")
		}
	}
}

func TestHookRefuses(t *testing.T) {
	body := talk("/rollback")
	old := hmac.New(sha1.New, []byte(hookSecret))
	old.Write(body)
	sha1Sum := "sha1=" + hex.EncodeToString(old.Sum(nil))
	set := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[http.CanonicalHeaderKey(name)] = values }
	}
	resign := func(text []byte) func(*http.Request) {
		return func(r *http.Request) {
			*r = *delivered("issue_comment", text)
		}
	}
	for _, tt := range []struct {
		name   string
		status int
		change func(*http.Request)
	}{
		{"GET", 405, func(r *http.Request) { r.Method = "GET" }},
		{"PUT", 405, func(r *http.Request) { r.Method = "PUT" }},
		{"a form", 415, set("Content-Type", "application/x-www-form-urlencoded")},
		{"no type", 415, set("Content-Type")},
		{"text", 415, set("Content-Type", "text/plain; application/json")},
		{"JSON in another alphabet", 415, set("Content-Type", "application/json; charset=utf-16")},
		{"packed", 415, set("Content-Encoding", "gzip")},
		{"no GUID", 400, set("X-GitHub-Delivery")},
		{"an odd GUID", 400, set("X-GitHub-Delivery", "a\nb")},
		{"a long GUID", 400, set("X-GitHub-Delivery", strings.Repeat("a", 65))},
		{"two GUIDs", 400, set("X-GitHub-Delivery", guid, guid)},
		{"no event", 400, set("X-GitHub-Event")},
		{"an odd event", 400, set("X-GitHub-Event", "Issue comment")},
		{"another event", 400, set("X-GitHub-Event", "check_run")},
		{"no signature", 401, set("X-Hub-Signature-256")},
		{"two signatures", 401, set("X-Hub-Signature-256", signature(hookSecret, body), signature(hookSecret, body))},
		{"another's signature", 401, set("X-Hub-Signature-256", signature("It's a secret to everybody", body))},
		{"the signature of nothing", 401, set("X-Hub-Signature-256", signature("", body))},
		{"half a signature", 401, set("X-Hub-Signature-256", signature(hookSecret, body)[:40])},
		{"no hex", 401, set("X-Hub-Signature-256", "sha256="+strings.Repeat("z", 64))},
		{"SHA-1 in its own header", 401, func(r *http.Request) {
			r.Header.Del("X-Hub-Signature-256")
			r.Header.Set("X-Hub-Signature", sha1Sum)
		}},
		{"SHA-1", 401, set("X-Hub-Signature-256", sha1Sum)},
		{"another body", 401, func(r *http.Request) {
			r.Body = io.NopCloser(bytes.NewReader(talk("/rollback!")))
			r.ContentLength = -1
		}},
		{"cut", 400, func(r *http.Request) { r.Body = io.NopCloser(bytes.NewReader(body[:len(body)-9])) }},
		{"cut, of no known length", 401, func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body[:len(body)-9])), -1 }},
		{"a connection that ends", 400, func(r *http.Request) { r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body[:9]), ending{})) }},
		{"too long by its word", 413, func(r *http.Request) { r.ContentLength = 4097 }},
		{"too long against its word", 413, func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(io.LimitReader(endless{}, 1<<40)), -1 }},
		{"cut before it was signed", 400, resign(body[:len(body)-1])},
		{"nothing", 400, resign(nil)},
		{"null", 400, resign([]byte("null"))},
		{"a list", 400, resign([]byte("[{}]"))},
		{"a text", 400, resign([]byte(`"x"`))},
		{"two documents", 400, resign(append(body[:len(body):len(body)], body...))},
		{"not UTF-8", 400, resign(bytes.Replace(body, []byte("/rollback"), []byte("/roll\xff"), 1))},
		{"a key twice", 400, resign(bytes.Replace(body, []byte(`"id":3,`), []byte(`"id":3,"body":"/help",`), 1))},
		{"a key twice, in other letters", 400, resign(bytes.Replace(body, []byte(`"id":3,`), []byte(`"id":3,"BODY":"/help",`), 1))},
		{"a key twice, escaped", 400, resign(bytes.Replace(body, []byte(`"id":3,`), []byte(`"id":3,"bo\u0064y":"/help",`), 1))},
		{"a key twice, by a letter that folds", 400, resign(bytes.Replace(body, []byte(`"sender":`), []byte(`"ſender":{"login":"x"},"sender":`), 1))},
		{"deep", 400, resign(bytes.Replace(body, []byte(`"id":3,`), []byte(`"id":3,"x":`+strings.Repeat("[", 500)+strings.Repeat("]", 500)+`,`), 1))},
		{"another issue's comment", 400, resign(bytes.Replace(body, []byte(`issues/7"`), []byte(`issues/8"`), 1))},
		{"no comment", 400, resign([]byte(`{"action":"created","repository":{"full_name":"acme/helm"}}`))},
		{"no repository", 400, resign(bytes.Replace(body, []byte(`"repository"`), []byte(`"repositories"`), 1))},
		{"a sender that is none", 400, resign(bytes.Replace(body, []byte(`"sender":{"login":"wanda"`), []byte(`"sender":{"login":"wa\nnda"`), 1))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := delivered("issue_comment", body)
			tt.change(r)
			d, err := newHook(t, 4096, "another", hookSecret).Read(r)
			var e *github.HookError
			if !errors.As(err, &e) || e.Status != tt.status || e.Why == "" || e.Error() != e.Why || d.GUID != "" || d.Event.Comment != nil {
				t.Errorf("got %+v, %v; want %d", d, err, tt.status)
			}
		})
	}
}

type ending struct{}

func (ending) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

type endless struct{}

func (endless) Read(b []byte) (int, error) { return copy(b, bytes.Repeat([]byte(" "), len(b))), nil }

// 25 MB are read, and one byte more is not.
func TestHookAtItsLimit(t *testing.T) {
	h := newHook(t, 0, hookSecret)
	head, tail := talk("/rollback"), 25<<20
	body := append(bytes.Repeat([]byte(" "), tail-len(head)), head...)
	if d, err := h.Read(delivered("issue_comment", body)); err != nil || d.Event.Comment == nil {
		t.Errorf("got %v", err)
	}
	r := delivered("issue_comment", append(body, ' '))
	r.ContentLength = -1
	var e *github.HookError
	if _, err := h.Read(r); !errors.As(err, &e) || e.Status != 413 {
		t.Errorf("got %v", err)
	}
}

// A real connection that is cut in the middle of a body.
func TestHookOverHTTP(t *testing.T) {
	h := newHook(t, 0, hookSecret)
	got := make(chan error, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := h.Read(r)
		got <- err
	}))
	defer s.Close()
	body := talk("/rollback")
	r, w := io.Pipe()
	req, _ := http.NewRequest("POST", s.URL, r)
	req.Header = delivered("issue_comment", body).Header
	req.ContentLength = int64(len(body))
	go func() {
		w.Write(body[:50])
		w.CloseWithError(errors.New("gone"))
	}()
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
	}
	var e *github.HookError
	if err := <-got; !errors.As(err, &e) || e.Status != 400 {
		t.Errorf("got %v", err)
	}
}

func recorded(t testing.TB) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(payloads + "/*.json")
	if err != nil || len(names) < 25 {
		t.Fatalf("found %d payloads, %v", len(names), err)
	}
	all := map[string][]byte{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(name), ".json")] = text
	}
	return all
}

func TestRecordedPayloads(t *testing.T) {
	h := newHook(t, 0, hookSecret)
	for name, text := range recorded(t) {
		kind, rest, _ := strings.Cut(name, ".")
		d, err := h.Read(delivered(kind, text))
		if err != nil {
			_, why := github.ParseEvent(kind, text)
			t.Errorf("%s: %v: %v", name, err, why)
			continue
		}
		e := d.Event
		if strings.HasSuffix(name, "with-installation") && d.Installation == 0 {
			t.Errorf("%s: no installation", name)
		}
		if kind != "ping" && kind != "push" && kind != "create" && kind != "delete" && kind != "workflow_dispatch" && !strings.HasPrefix(rest, e.Action) {
			t.Errorf("%s: the action is %q", name, e.Action)
		}
		if kind != "ping" && kind != "workflow_dispatch" && (e.Sender == "" || e.SenderID == 0) {
			t.Errorf("%s: from %q %d", name, e.Sender, e.SenderID)
		}
		switch name {
		case "check_run.requested_action":
			if k := e.CheckRun; k.ID == 0 || k.Name == "" || len(k.HeadSHA) != 40 || k.AppID == 0 || k.Requested == "" || k.HeadBranch == "" {
				t.Errorf("%s: %+v", name, k)
			}
		case "check_run.rerequested":
			if k := e.CheckRun; k.ID == 0 || k.Requested != "" || k.AppID == 0 {
				t.Errorf("%s: %+v", name, k)
			}
		case "deployment_status.created":
			if k := e.Deployment; k.ID == 0 || k.Environment == "" || k.Task == "" || k.State == "" || len(k.SHA) != 40 {
				t.Errorf("%s: %+v", name, k)
			}
		case "deployment.created":
			if k := e.Deployment; k.ID == 0 || k.State != "" {
				t.Errorf("%s: %+v", name, k)
			}
		case "issue_comment.created", "issue_comment.edited":
			if e.Comment.ID == 0 || e.Comment.AuthorID == 0 || e.Comment.Issue != e.Issue.Number || e.Edited != (rest == "edited") {
				t.Errorf("%s: %+v", name, e)
			}
		case "pull_request.opened":
			if e.PullRequest.Number == 0 || e.PullRequest.Head.Ref == "" {
				t.Errorf("%s: %+v", name, e.PullRequest)
			}
		case "push":
			if e.Ref == "" || len(e.After) != 40 {
				t.Errorf("%s: %+v", name, e)
			}
		}
	}
}

func TestParseEventOfOthers(t *testing.T) {
	// What is not used may look like anything below who and where.
	e, err := github.ParseEvent("star", []byte(`{"action":"created","comment":7,"issue":[],"inputs":"x","ref":1,"repository":{"full_name":"acme/helm"},"sender":{"login":"a[bot]","id":4,"type":"Bot"}}`))
	if err != nil || e.Action != "created" || e.RepositoryName != "acme/helm" || !e.SenderBot || e.SenderID != 4 {
		t.Errorf("got %+v, %v", e, err)
	}
	if e, err := github.ParseEvent("meta", []byte(`{}`)); err != nil || !e.SenderBot {
		t.Errorf("got %+v, %v", e, err)
	}
	for _, kind := range []string{"", "Push", "a b", "push\n"} {
		if _, err := github.ParseEvent(kind, []byte(`{}`)); err == nil {
			t.Errorf("%q is an event", kind)
		}
	}
	// People choose the keys of inputs.
	e, err = github.ParseEvent("workflow_dispatch", []byte(`{"inputs":{"a":"1","A":"2"},"ref":"refs/heads/main","repository":{"full_name":"acme/helm"}}`))
	if err != nil || len(e.Inputs) != 2 {
		t.Errorf("got %+v, %v", e, err)
	}
	if _, err := github.ParseEvent("check_run", []byte(`{"action":"requested_action","check_run":{"id":1,"head_sha":"`+sha+`"},"repository":{"full_name":"acme/helm"}}`)); err == nil {
		t.Error("a button that is none")
	}
}

func FuzzHook(f *testing.F) {
	for name, text := range recorded(f) {
		kind, _, _ := strings.Cut(name, ".")
		f.Add(kind, text, true)
	}
	f.Add("issue_comment", talk("/rollback"), false)
	f.Add("issue_comment", []byte(`{"a":{"b":[1,"\"",{"c":"\\"}],"B":null}}`), true)
	h := newHook(f, 1<<20, hookSecret)
	f.Fuzz(func(t *testing.T, kind string, body []byte, right bool) {
		r := delivered("ping", body)
		r.Header["X-Github-Event"] = []string{kind}
		if !right {
			r.Header.Set("X-Hub-Signature-256", signature("another", body))
		}
		d, err := h.Read(r)
		var e *github.HookError
		switch {
		case err == nil && !right:
			t.Error("took what is not signed by us")
		case err != nil && (!errors.As(err, &e) || e.Status < 400 || e.Status > 415):
			t.Errorf("got %v", err)
		case err == nil && d.Kind == "issue_comment" && (d.Event.Comment == nil || d.Event.Issue == nil || d.Event.RepositoryName == "" || d.Event.Comment.Issue != d.Event.Issue.Number):
			t.Errorf("got %+v", d.Event)
		case err == nil && d.Kind == "check_run" && d.Event.CheckRun == nil, err == nil && d.Kind == "pull_request" && d.Event.PullRequest == nil:
			t.Errorf("got %+v", d.Event)
		}
	})
}

func BenchmarkHook(b *testing.B) {
	h := newHook(b, 0, hookSecret)
	text := recorded(b)["issue_comment.created"]
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := h.Read(delivered("issue_comment", text)); err != nil {
			b.Fatal(err)
		}
	}
}
