package git

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sim "github.com/kvick/shopfleet/internal/sim/github"
	"github.com/kvick/shopfleet/internal/sim/simtest"
)

// world is a repository on the simulated GitHub with a shop, an App that may write it, and a clone of it.
type world struct {
	*simtest.GitHub
	helm      *sim.Repository
	main, tip string
	password  string
	remote    Remote
	bare      *Repository
}

const hidden = "ghs_not_to_be_seen.in.anything"

func newWorld(t *testing.T, permissions map[string]string) *world {
	t.Helper()
	w := &world{GitHub: simtest.NewGitHub(t, sim.Options{Unlimited: true})}
	w.helm = w.Repository(t, "acme", "helm")
	commit := func(branch string, files map[string]string) string {
		sha, err := w.helm.Commit(branch, "commit on "+branch, files)
		if err != nil {
			t.Fatal(err)
		}
		return sha
	}
	w.main = commit("main", map[string]string{"a": "1\n"})
	w.tip = commit("shops/swicked", map[string]string{"s": "1\n"})
	var err error
	if w.password, err = w.helm.ActionsToken(permissions); err != nil {
		t.Fatal(err)
	}
	w.remote = Remote{URL: w.helm.CloneURL(), Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }, Password: func(context.Context) (string, error) { return w.password, nil }}
	if w.bare, err = Bare(t.Context(), filepath.Join(t.TempDir(), "bare.git")); err != nil {
		t.Fatal(err)
	}
	if err := w.bare.Fetch(t.Context(), w.remote, "+refs/heads/*:refs/heads/*"); err != nil {
		t.Fatal(err)
	}
	return w
}

// next writes a commit onto main here.
func (w *world) next(t *testing.T, files map[string][]byte) string {
	t.Helper()
	ids, err := w.bare.Write(t.Context(), Draft{Branch: "local", From: "main", Files: files})
	if err != nil {
		t.Fatal(err)
	}
	return ids[0]
}

func TestOverHTTP(t *testing.T) {
	w := newWorld(t, map[string]string{"contents": "write"})
	var echo bytes.Buffer
	w.bare.Echo = &echo
	next := w.next(t, files(map[string]string{"s": "2\n"}))
	if err := w.bare.Push(t.Context(), w.remote, []RefUpdate{{"refs/heads/shops/swicked", w.tip, next}, {"refs/heads/backup/swicked/1", "", w.tip}}); err != nil {
		t.Fatal(err)
	}
	refs := refsOf(t, w.bare, w.remote)
	if refs["refs/heads/shops/swicked"] != next || refs["refs/heads/backup/swicked/1"] != w.tip {
		t.Errorf("GitHub has %v", refs)
	}
	err := w.bare.Push(t.Context(), w.remote, []RefUpdate{{"refs/heads/shops/swicked", w.tip, w.main}, {"refs/heads/backup/swicked/2", "", w.tip}})
	var refused *PushError
	if !errors.As(err, &refused) || len(refused.Refs) != 1 || refused.Refs[0].Why != Stale || refused.Refs[0].Now != next {
		t.Errorf("got %v", err)
	}
	basic := base64.StdEncoding.EncodeToString([]byte(PasswordUser + ":" + w.password))
	if said := echo.String(); strings.Contains(said, w.password) || strings.Contains(said, basic) || !strings.Contains(said, w.remote.URL) {
		t.Errorf("it echoes %s", said)
	}
}

// The password is refused, in words that do not hold it.
func TestPasswordsThatAreRefused(t *testing.T) {
	w := newWorld(t, map[string]string{"contents": "write"})
	for _, password := range []string{hidden, "", "two\nlines"} {
		w.password = password
		_, err := w.bare.RemoteRefs(t.Context(), w.remote, "refs/")
		if err == nil || strings.Contains(err.Error(), hidden) {
			t.Errorf("%q: %v", password, err)
		}
		var e *Error
		if password == hidden && (!errors.As(err, &e) || !strings.Contains(e.Hint(), "contents")) {
			t.Errorf("no hint for %v", err)
		}
	}
	failed := errors.New("no key")
	w.remote.Password = func(context.Context) (string, error) { return "", failed }
	if err := w.bare.Fetch(t.Context(), w.remote, "+refs/heads/*:refs/heads/*"); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	read := newWorld(t, map[string]string{"contents": "read"})
	if err := read.bare.Push(t.Context(), read.remote, []RefUpdate{{"refs/heads/x", "", read.main}}); err == nil || errors.As(err, new(*PushError)) {
		t.Errorf("with a token that reads only: %v", err)
	}
}

// What a hostile server sends back is not taken for anything, and what it learned is not shown.
func TestHostileServer(t *testing.T) {
	var got string
	target := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { got = r.Header.Get("Authorization") }))
	defer target.Close()
	basic := base64.StdEncoding.EncodeToString([]byte(PasswordUser + ":" + hidden))
	tests := map[string]http.HandlerFunc{
		"a redirect": func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, target.URL+r.URL.Path, http.StatusMovedPermanently)
		},
		"what it was sent": func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "text/plain")
			rw.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(rw, "you sent %s and %s\n", r.Header.Get("Authorization"), hidden)
		},
		"HTML": func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, "<html>") },
		"no protocol": func(rw http.ResponseWriter, r *http.Request) {
			fmt.Fprint(rw, "001e# service=git-upload-pack\n0000zzzz")
		},
		"a fault": func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(http.StatusBadGateway) },
		"names that are none": func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			line := strings.Repeat("1", 40) + " refs/heads/\x1b[2J\x00agent=x\n"
			fmt.Fprintf(rw, "001e# service=git-upload-pack\n0000%04x%s0000", len(line)+4, line)
		},
	}
	for name, handler := range tests {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(handler)
			defer s.Close()
			r := newRepo(t)
			remote := Remote{URL: s.URL + "/acme/helm.git", Password: func(context.Context) (string, error) { return hidden, nil }}
			refs, err := r.RemoteRefs(t.Context(), remote, "refs/heads/")
			if err == nil && name != "names that are none" {
				t.Errorf("it lists %v", refs)
			}
			if got != "" || err != nil && (strings.Contains(err.Error(), hidden) || strings.Contains(err.Error(), basic)) {
				t.Errorf("the password got out: %q, %v", got, err)
			}
		})
	}
}

func TestPushIsRefusedForWorkflows(t *testing.T) {
	w := newWorld(t, map[string]string{"contents": "write"})
	next := w.next(t, files(map[string]string{".github/workflows/deploy.yml": "on: push\n"}))
	err := w.bare.Push(t.Context(), w.remote, []RefUpdate{{"refs/heads/rebase/acme", "", w.main}, {"refs/heads/rebase/swicked", "", next}})
	var refused *PushError
	if !errors.As(err, &refused) || len(refused.Refs) != 1 || refused.Refs[0].Why != Workflows || refused.Refs[0].File != ".github/workflows/deploy.yml" ||
		refused.Refs[0].Name != "refs/heads/rebase/swicked" || !strings.Contains(refused.Hint(), "workflows: write") {
		t.Errorf("got %+v", err)
	}
	if refs := refsOf(t, w.bare, w.remote); refs["refs/heads/rebase/acme"] != "" {
		t.Error("a part of it was pushed")
	}
}

func TestFetchAgain(t *testing.T) {
	w := newWorld(t, map[string]string{"contents": "write"})
	for _, rule := range []sim.Rule{{Method: "GET", Path: "upload-pack", Status: 502}, {Method: "POST", Path: "upload-pack", Drop: true}, {Method: "POST", Path: "upload-pack", Status: 504}} {
		if _, err := w.Fault(rule); err != nil {
			t.Fatal(err)
		}
		if err := w.bare.Fetch(t.Context(), w.remote, "+refs/heads/*:refs/heads/*"); err != nil {
			t.Errorf("%+v: %v", rule, err)
		}
		w.ClearFaults()
		if _, err := w.Fault(rule); err != nil {
			t.Fatal(err)
		}
		if refs, err := w.bare.RemoteRefs(t.Context(), w.remote, "refs/heads/main"); err != nil || len(refs) != 1 {
			t.Errorf("%+v: %v, %v", rule, refs, err)
		}
		w.ClearFaults()
	}
	waits := 0
	w.remote.Sleep = func(context.Context, time.Duration) error { waits++; return nil }
	if _, err := w.Fault(sim.Rule{Path: "upload-pack", Status: 500, Count: -1}); err != nil {
		t.Fatal(err)
	}
	if err := w.bare.Fetch(t.Context(), w.remote, "+refs/heads/*:refs/heads/*"); err == nil || waits != 2 {
		t.Errorf("got %v after %d waits", err, waits)
	}
}

func TestPushWhoseAnswerIsLost(t *testing.T) {
	tests := []struct {
		name string
		rule sim.Rule
		done bool
	}{
		{"cut behind the effect", sim.Rule{Method: "POST", Path: "receive-pack", Cut: true}, true},
		{"a fault behind the effect", sim.Rule{Method: "POST", Path: "receive-pack", Status: 502, After: true}, true},
		{"cut before", sim.Rule{Method: "POST", Path: "receive-pack", Drop: true, Count: -1}, false},
		{"a fault before", sim.Rule{Method: "POST", Path: "receive-pack", Status: 503, Count: 2}, true},
		{"no listing", sim.Rule{Method: "GET", Path: "receive-pack", Status: 500}, true},
		{"a limit", sim.Rule{Method: "POST", Path: "receive-pack", Status: 429}, true},
		{"a fault that stays", sim.Rule{Method: "POST", Path: "receive-pack", Status: 503, Count: -1}, false},
		{"forbidden", sim.Rule{Method: "POST", Path: "receive-pack", Status: 403}, false},
		{"nothing to be seen afterwards", sim.Rule{Path: "pack", Status: 500, Count: -1}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, map[string]string{"contents": "write"})
			next := w.next(t, files(map[string]string{"s": "2\n"}))
			if _, err := w.Fault(tt.rule); err != nil {
				t.Fatal(err)
			}
			moves := []RefUpdate{{"refs/heads/shops/swicked", w.tip, next}, {"refs/heads/backup/swicked/1", "", w.tip}}
			err := w.bare.Push(t.Context(), w.remote, moves)
			if tt.done != (err == nil) || errors.As(err, new(*PushError)) {
				t.Errorf("got %v", err)
			}
			w.ClearFaults()
			if err := w.bare.Push(t.Context(), w.remote, moves); err != nil {
				t.Errorf("again: %v", err)
			}
			if refs := refsOf(t, w.bare, w.remote); refs["refs/heads/shops/swicked"] != next || refs["refs/heads/backup/swicked/1"] != w.tip {
				t.Errorf("GitHub has %v", refs)
			}
		})
	}
}

// A push that is stopped is not carried on by the processes that git started for it.
func TestPushIsStopped(t *testing.T) {
	w := newWorld(t, map[string]string{"contents": "write"})
	began, left := make(chan struct{}), make(chan struct{})
	stuck := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.World.Git().ServeHTTP(rw, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body) // else nobody sees that the client is gone
		close(began)
		<-r.Context().Done()
		close(left)
	}))
	defer stuck.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	remote := w.remote
	remote.URL = stuck.URL + "/acme/helm.git"
	if err := w.bare.Push(ctx, remote, []RefUpdate{{"refs/heads/x", "", w.main}}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-left
	if refs := refsOf(t, w.bare, w.remote); refs["refs/heads/x"] != "" {
		t.Errorf("GitHub has %v", refs)
	}
}

func TestPushIsRefusedByARule(t *testing.T) {
	w := newWorld(t, map[string]string{"contents": "write"})
	if err := w.helm.Protect(sim.Ruleset{Name: "shops", Include: []string{"refs/heads/shops/**"}, Rules: []string{"non_fast_forward", "deletion"}}); err != nil {
		t.Fatal(err)
	}
	next := w.next(t, files(map[string]string{"s": "2\n"}))
	for _, after := range []string{next, ""} {
		err := w.bare.Push(t.Context(), w.remote, []RefUpdate{{"refs/heads/backup/swicked/1", "", w.tip}, {"refs/heads/shops/swicked", w.tip, after}})
		var refused *PushError
		if !errors.As(err, &refused) || len(refused.Refs) != 1 || refused.Refs[0].Why != Protected || refused.Refs[0].Name != "refs/heads/shops/swicked" ||
			!strings.Contains(refused.Said, "Repository rule violations found for refs/heads/shops/swicked") || refused.Hint() == "" {
			t.Errorf("got %+v", err)
		}
	}
	if refs := refsOf(t, w.bare, w.remote); refs["refs/heads/backup/swicked/1"] != "" || refs["refs/heads/shops/swicked"] != w.tip {
		t.Errorf("GitHub has %v", refs)
	}
}

// A pack that does not fit git's buffer travels in another way, after a probe.
func TestLargePush(t *testing.T) {
	w := newWorld(t, map[string]string{"contents": "write"})
	big := make([]byte, 3<<20)
	source := rand.NewChaCha8([32]byte{1})
	if _, err := source.Read(big); err != nil {
		t.Fatal(err)
	}
	next := w.next(t, map[string][]byte{"big": big})
	if err := w.bare.Push(t.Context(), w.remote, []RefUpdate{{"refs/heads/shops/swicked", w.tip, next}}); err != nil {
		t.Fatal(err)
	}
	bare, err := Bare(t.Context(), filepath.Join(t.TempDir(), "b.git"))
	if err != nil {
		t.Fatal(err)
	}
	if err := bare.Fetch(t.Context(), w.remote, "+refs/heads/shops/*:refs/heads/shops/*"); err != nil {
		t.Fatal(err)
	}
	if f, err := bare.Files(t.Context(), "big", next); err != nil || !bytes.Equal(f[0].Data, big) {
		t.Errorf("it did not arrive: %v", err)
	}
}
