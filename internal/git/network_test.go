package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// local is a bare repository to push to, and one to push from that has a history of main and two shops.
func local(t *testing.T) (r *Repository, remote Remote, ids []string) {
	t.Helper()
	r = newRepo(t)
	ids = write(t, r,
		Draft{Branch: "main", Message: "first", Files: files(map[string]string{"a": "1\n"})},
		Draft{Branch: "shops/swicked", From: "main", Files: files(map[string]string{"s": "1\n"})},
		Draft{Branch: "shops/acme", From: "main", Files: files(map[string]string{"s": "2\n"})},
		Draft{Branch: "main", Files: files(map[string]string{"a": "2\n"})})
	bare, err := Bare(t.Context(), filepath.Join(t.TempDir(), "remote.git"))
	if err != nil {
		t.Fatal(err)
	}
	return r, Remote{URL: bare.Dir}, ids
}

func refsOf(t *testing.T, r *Repository, remote Remote) map[string]string {
	t.Helper()
	refs, err := r.RemoteRefs(t.Context(), remote, "refs/")
	if err != nil {
		t.Fatal(err)
	}
	return refs
}

func TestPushAndFetch(t *testing.T) {
	r, remote, ids := local(t)
	ctx := t.Context()
	err := r.Push(ctx, remote, []RefUpdate{
		{"refs/heads/main", "", ids[3]}, {"refs/heads/shops/swicked", "", ids[1]}, {"refs/heads/shops/acme", "", ids[2]},
		{"refs/shopfleet/resolutions/1", "", ids[0]},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"refs/heads/main": ids[3], "refs/heads/shops/swicked": ids[1], "refs/heads/shops/acme": ids[2], "refs/shopfleet/resolutions/1": ids[0]}
	if got := refsOf(t, r, remote); !maps.Equal(got, want) {
		t.Errorf("the remote has %v", got)
	}
	if got, err := r.RemoteRefs(ctx, remote, "refs/heads/shops/", "refs/heads/ma"); err != nil || len(got) != 3 || got["refs/heads/main"] != ids[3] {
		t.Errorf("by prefix: %v, %v", got, err)
	}

	bare, err := Bare(ctx, filepath.Join(t.TempDir(), "bare.git"))
	if err != nil {
		t.Fatal(err)
	}
	if err := bare.Fetch(ctx, remote, "+refs/heads/*:refs/heads/*", "+refs/shopfleet/*:refs/shopfleet/*"); err != nil {
		t.Fatal(err)
	}
	here := refsOf(t, r, Remote{URL: bare.Dir})
	if !maps.Equal(here, want) {
		t.Errorf("fetched %v", here)
	}
	if base, err := bare.MergeBase(ctx, ids[1], ids[3]); err != nil || base != ids[0] {
		t.Errorf("the history is not whole: %s, %v", base, err)
	}

	// A move that is no fast-forward, one that removes, and one that writes a backup, at once.
	if err := r.Push(ctx, remote, []RefUpdate{
		{"refs/heads/shops/swicked", ids[1], ids[2]}, {"refs/heads/shops/acme", ids[2], ""}, {"refs/heads/backup/swicked/1", "", ids[1]},
	}); err != nil {
		t.Fatal(err)
	}
	if err := bare.Fetch(ctx, remote, "+refs/heads/*:refs/heads/*"); err != nil {
		t.Fatal(err)
	}
	here = refsOf(t, r, Remote{URL: bare.Dir})
	if here["refs/heads/shops/swicked"] != ids[2] || here["refs/heads/shops/acme"] != ids[2] {
		t.Errorf("fetched %v", here)
	}
	if err := bare.Mirror(ctx, remote, "+refs/heads/shops/*:refs/heads/shops/*"); err != nil {
		t.Fatal(err)
	}
	here = refsOf(t, r, Remote{URL: bare.Dir})
	if _, ok := here["refs/heads/shops/acme"]; ok || here["refs/shopfleet/resolutions/1"] == "" || here["refs/heads/main"] == "" {
		t.Errorf("mirrored %v", here)
	}
}

func TestPushIsAllOrNothing(t *testing.T) {
	r, remote, ids := local(t)
	ctx := t.Context()
	if err := r.Push(ctx, remote, []RefUpdate{{"refs/heads/main", "", ids[3]}, {"refs/heads/shops/swicked", "", ids[1]}}); err != nil {
		t.Fatal(err)
	}
	before := refsOf(t, r, remote)
	tests := []struct {
		name  string
		moves []RefUpdate
		stale []string
		now   string
	}{
		{"moved by others", []RefUpdate{{"refs/heads/rebase/acme", "", ids[2]}, {"refs/heads/shops/swicked", ids[0], ids[2]}}, []string{"refs/heads/shops/swicked"}, ids[1]},
		{"made by others", []RefUpdate{{"refs/heads/shops/swicked", "", ids[2]}, {"refs/heads/x", "", ids[2]}}, []string{"refs/heads/shops/swicked"}, ids[1]},
		{"removed by others", []RefUpdate{{"refs/heads/shops/acme", ids[1], ids[2]}, {"refs/heads/x", "", ids[2]}}, []string{"refs/heads/shops/acme"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := r.Push(ctx, remote, tt.moves)
			var refused *PushError
			if !errors.As(err, &refused) || !refused.Has(Stale) || refused.Hint() == "" {
				t.Fatalf("got %v", err)
			}
			var names []string
			for _, ref := range refused.Refs {
				names = append(names, ref.Name)
				if ref.Now != tt.now || ref.Why != Stale {
					t.Errorf("%+v; it is at %q", ref, tt.now)
				}
			}
			if !slices.Equal(names, tt.stale) {
				t.Errorf("refused are %v", names)
			}
			if got := refsOf(t, r, remote); !maps.Equal(got, before) {
				t.Errorf("the remote has %v", got)
			}
		})
	}
}

func TestPushAgain(t *testing.T) {
	r, remote, ids := local(t)
	moves := []RefUpdate{{"refs/heads/main", "", ids[3]}, {"refs/heads/shops/swicked", "", ids[1]}}
	for range 2 {
		if err := r.Push(t.Context(), remote, moves); err != nil {
			t.Fatal(err)
		}
	}
	gone := []RefUpdate{{"refs/heads/shops/swicked", ids[1], ""}}
	for range 2 {
		if err := r.Push(t.Context(), remote, gone); err != nil {
			t.Fatal(err)
		}
	}
	if got := refsOf(t, r, remote); len(got) != 1 {
		t.Errorf("the remote has %v", got)
	}
	// Nothing to do is no process, not even one that would find the remote missing.
	if err := r.Push(t.Context(), Remote{URL: "/nowhere"}, []RefUpdate{{"refs/heads/main", ids[3], ids[3]}}); err != nil {
		t.Error(err)
	}
	// What is not here is an error before anything is sent, also among others that are.
	var none *NotFoundError
	if err := r.Push(t.Context(), remote, []RefUpdate{{"refs/heads/a", "", ids[0]}, {"refs/heads/b", "", strings.Repeat("1", 40)}}); !errors.As(err, &none) {
		t.Errorf("got %v", err)
	}
	// Some had been done before, one of them a removal.
	if err := r.Push(t.Context(), remote, []RefUpdate{{"refs/heads/c", "", ids[0]}, {"refs/heads/shops/swicked", ids[1], ""}, {"refs/heads/main", "", ids[3]}}); err != nil {
		t.Error(err)
	}
	if got := refsOf(t, r, remote); len(got) != 2 || got["refs/heads/c"] != ids[0] {
		t.Errorf("the remote has %v", got)
	}
	if err := r.Push(t.Context(), Remote{URL: "/nowhere"}, []RefUpdate{{"refs/heads/main", "", ids[3]}}); err == nil || errors.As(err, new(*PushError)) {
		t.Errorf("a remote that is not there: %v", err)
	}
}

func TestPushTwoThousandRefs(t *testing.T) {
	r, remote, ids := local(t)
	var moves []RefUpdate
	for i := range 2000 {
		moves = append(moves, RefUpdate{fmt.Sprintf("refs/heads/rebase/a-shop-with-quite-a-long-name-for-a-slug-%04d", i), "", ids[i%4]})
	}
	var echo bytes.Buffer
	r.Echo = &echo
	if err := r.Push(t.Context(), remote, moves); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(echo.String(), " push "); n != 1 {
		t.Errorf("it took %d pushes", n)
	}
	r.Echo = nil
	if got := refsOf(t, r, remote); len(got) != 2000 {
		t.Errorf("the remote has %d refs", len(got))
	}
	// An error of so many does not repeat them all.
	for i := range moves {
		moves[i].Before, moves[i].After = ids[(i+1)%4], ids[(i+2)%4]
	}
	err := r.Push(t.Context(), remote, moves)
	var refused *PushError
	if !errors.As(err, &refused) || len(refused.Refs) != 2000 || len(err.Error()) > 1000 {
		t.Errorf("got %.2000s", err)
	}
}

func TestNamesThatAreNoRefs(t *testing.T) {
	r, remote, ids := local(t)
	for _, name := range []string{"", "main", "refs/", "--exec=x", "refs/heads/a b", "refs/heads/a:b", "refs/heads/a\nb", "refs/heads/*", "refs/heads/a..b", "refs/heads/a/", "+refs/heads/a", "refs/heads/a^"} {
		if err := r.Push(t.Context(), remote, []RefUpdate{{name, "", ids[0]}}); err == nil || errors.As(err, new(*Error)) {
			t.Errorf("%q was given to git: %v", name, err)
		}
	}
	for _, u := range []RefUpdate{{"refs/heads/a", "", "main"}, {"refs/heads/a", "HEAD", ids[0]}, {"refs/heads/a", "", ids[0][:12]}} {
		if err := r.Push(t.Context(), remote, []RefUpdate{u}); err == nil || errors.As(err, new(*Error)) {
			t.Errorf("%+v was given to git: %v", u, err)
		}
	}
	if err := r.Push(t.Context(), remote, []RefUpdate{{"refs/heads/a", "", ids[0]}, {"refs/heads/a", "", ids[1]}}); err == nil {
		t.Error("a ref was there twice")
	}
	for _, spec := range []string{"main", "--upload-pack=x", "refs/heads/*:refs/heads/x", "refs/heads/a", "^refs/heads/a", "refs/heads/a:refs/heads/b\nrefs/heads/c:refs/heads/d", ":refs/heads/a"} {
		if err := r.Fetch(t.Context(), remote, spec); err == nil || errors.As(err, new(*Error)) {
			t.Errorf("%q was given to git: %v", spec, err)
		}
	}
	for _, filter := range []string{"sparse:oid=x", "--exec", "blob:none --x"} {
		if err := r.Fetch(t.Context(), Remote{URL: remote.URL, Filter: filter}, ids[0]); err == nil || errors.As(err, new(*Error)) {
			t.Errorf("the filter %q was given to git: %v", filter, err)
		}
	}
}

func TestAddressesThatAreRefused(t *testing.T) {
	r := newRepo(t)
	const secret = "hunter2hunter2"
	for _, url := range []string{
		"", "git@github.com:acme/helm.git", "ssh://github.com/acme/helm", "git://github.com/acme/helm", "ext::sh -c x", "file:///tmp/x", "relative/path", "--upload-pack=x",
		"http://github.com/acme/helm.git", "http://127.0.0.1.example.com/x", "https://x:" + secret + "@github.com/acme/helm.git", "https://github.com/acme/helm.git?a=b",
		"https://github.com/acme/helm.git#x", "https:///x", "https://github.com/a b", "https://%zz:" + secret + "@x/", "https:github.com",
	} {
		_, err := r.RemoteRefs(t.Context(), Remote{URL: url, Password: func(context.Context) (string, error) { t.Error("the password was asked for"); return secret, nil }}, "refs/")
		if err == nil || errors.As(err, new(*Error)) || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// A repository with settings of its own could send the password anywhere.
func TestSettingsHaveNoSay(t *testing.T) {
	for _, setting := range [][2]string{
		{"url.http://127.0.0.1:1/.insteadOf", "https://github.com/"}, {"http.proxy", "http://127.0.0.1:1"}, {"http.https://github.com/.extraheader", "x: y"},
		{"include.path", "/nowhere/x"}, {"credential.helper", "!x"}, {"core.sshCommand", "x"}, {"remote.origin.url", "https://github.com/x/y"}, {"core.askPass", "x"},
	} {
		r := newRepo(t)
		git(t, r, "", "config", setting[0], setting[1])
		_, err := r.RemoteRefs(t.Context(), Remote{URL: "https://github.com/acme/helm.git"}, "refs/")
		var refused *SettingsError
		if !errors.As(err, &refused) || !strings.EqualFold(refused.Key, setting[0]) || refused.Hint() == "" {
			t.Errorf("%s: %v", setting[0], err)
		}
		s, err := r.Scratch(t.Context(), filepath.Join(t.TempDir(), "s"))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.plain(t.Context()); err != nil {
			t.Errorf("a scratch repository is refused: %v", err)
		}
	}
}

func TestBareBorrows(t *testing.T) {
	r, remote, ids := local(t)
	bare, err := Bare(t.Context(), filepath.Join(t.TempDir(), "bare.git"), r)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Push(t.Context(), remote, []RefUpdate{{"refs/heads/main", "", ids[3]}}); err != nil {
		t.Fatal(err)
	}
	if err := bare.Fetch(t.Context(), remote, "+refs/heads/*:refs/heads/*"); err != nil {
		t.Fatal(err)
	}
	if out := git(t, bare, "", "count-objects", "-v"); !strings.Contains(out, "count: 0\n") || !strings.Contains(out, "packs: 0\n") {
		t.Errorf("what was here was fetched again: %s", out)
	}
	if _, err := Bare(t.Context(), bare.Dir); err == nil {
		t.Error("a bare repository was made in one")
	}
	if err := os.WriteFile(filepath.Join(r.Dir, ".git", "shallow"), []byte(ids[3]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var shallow *ShallowError
	if _, err := Bare(t.Context(), filepath.Join(t.TempDir(), "x.git"), r); !errors.As(err, &shallow) || shallow.Hint() == "" {
		t.Errorf("a shallow clone lends its objects: %v", err)
	}
	s, err := r.Scratch(t.Context(), filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	if is, err := s.Shallow(t.Context()); err != nil || !is {
		t.Errorf("the scratch of a shallow clone does not know: %v, %v", is, err)
	}
}

func TestFetchWithFilter(t *testing.T) {
	r, remote, ids := local(t)
	if err := r.Push(t.Context(), remote, []RefUpdate{{"refs/heads/main", "", ids[3]}}); err != nil {
		t.Fatal(err)
	}
	far := &Repository{Dir: remote.URL}
	git(t, far, "", "config", "uploadpack.allowFilter", "true")
	git(t, far, "", "config", "uploadpack.allowAnySHA1InWant", "true")
	bare, err := Bare(t.Context(), filepath.Join(t.TempDir(), "bare.git"))
	if err != nil {
		t.Fatal(err)
	}
	remote.Filter = "blob:none"
	if err := bare.Fetch(t.Context(), remote, "+refs/heads/*:refs/heads/*"); err != nil {
		t.Fatal(err)
	}
	blob := git(t, r, "", "rev-parse", ids[3]+":a")
	if f, err := bare.Files(t.Context(), "a", ids[3]); err == nil || !strings.Contains(err.Error(), blob) {
		t.Fatalf("what was left out is here, or was fetched by itself: %q, %v", f, err)
	}
	remote.Filter = ""
	if err := bare.Fetch(t.Context(), remote, blob); err != nil {
		t.Fatal(err)
	}
	if f, err := bare.Files(t.Context(), "a", ids[3]); err != nil || string(f[0].Data) != "2\n" {
		t.Errorf("got %q, %v", f, err)
	}
}

func TestReadRefusals(t *testing.T) {
	const id = "1111111111111111111111111111111111111111"
	rules := "remote: error: GH013: Repository rule violations found for refs/heads/shops/a.\nremote: \nremote: - Cannot force-push to this branch\n"
	workflow := "remote: error: GH013: x\nremote: refusing to allow a GitHub App to create or update workflow `.github/workflows/b.yml` without `workflows` permission\n"
	tests := []struct {
		line, errs string
		want       RefusedRef
	}{
		{"!\t" + id + ":refs/heads/a\t[rejected] (stale info)", "", RefusedRef{Why: Stale, Reason: "stale info"}},
		{"!\t" + id + ":refs/heads/a\t[remote rejected] (cannot lock ref 'refs/heads/a': is at 22 but expected 33)", "", RefusedRef{Why: Stale, Reason: "cannot lock ref 'refs/heads/a': is at 22 but expected 33"}},
		{"!\t" + id + ":refs/heads/a\t[remote rejected] (push declined due to repository rule violations)", rules, RefusedRef{Why: Protected, Reason: "push declined due to repository rule violations"}},
		{"!\t:refs/heads/a\t[remote rejected] (protected branch hook declined)", "", RefusedRef{Why: Protected, Reason: "protected branch hook declined"}},
		{"!\t" + id + ":refs/heads/a\t[remote rejected] (pre-receive hook declined)", workflow, RefusedRef{Why: Workflows, File: ".github/workflows/b.yml", Reason: "pre-receive hook declined"}},
		{"!\t" + id + ":refs/heads/a\t[remote rejected] (pre-receive hook declined)", "remote: no\n", RefusedRef{Why: Refused, Reason: "pre-receive hook declined"}},
		{"!\t" + id + ":refs/heads/a\t[remote rejected]", "", RefusedRef{Why: Refused, Reason: "no reason was given"}},
		{"!\t" + id + ":refs/heads/a\t[rejected] (atomic push failed)", "", RefusedRef{}},
		{"!\t" + id + ":refs/heads/a\t[remote failure] (remote failed to report status)", "", RefusedRef{}},
		{" \t" + id + ":refs/heads/a\t1..2", "", RefusedRef{}},
		{"Done", "", RefusedRef{}},
	}
	for _, tt := range tests {
		got := readRefusals("To x\n"+tt.line+"\n", tt.errs)
		if tt.want.Why == "" {
			if len(got) != 0 {
				t.Errorf("%q: %+v", tt.line, got)
			}
			continue
		}
		tt.want.Name = "refs/heads/a"
		if len(got) != 1 || got["refs/heads/a"] != tt.want {
			t.Errorf("%q: %+v", tt.line, got)
		}
	}
	if got := remoteSaid(rules + "error: x\n"); got != "error: GH013: Repository rule violations found for refs/heads/shops/a.\n- Cannot force-push to this branch" {
		t.Errorf("said %q", got)
	}
}

// What a remote says about a push is other people's text.
func FuzzReadRefusals(f *testing.F) {
	f.Add("!\t1:refs/heads/a\t[remote rejected] (stale info)\n", "remote: x\n")
	f.Add("!\t:\t[] ()\n!\t\t\n", "remote: \nto create or update workflow ``")
	f.Fuzz(func(t *testing.T, out, errs string) {
		for name, r := range readRefusals(out, errs) {
			if name == "" || r.Name != name || r.Why == "" || r.Reason == "" || strings.Contains(r.Reason, "\n") || (r.Why == Workflows) != (r.File != "") && r.File != "" {
				t.Errorf("%q: %+v", name, r)
			}
		}
		remoteSaid(errs)
	})
}

func TestWhatIsTriedAgain(t *testing.T) {
	for said, want := range map[string]bool{
		"error: RPC failed; HTTP 502 curl 22 The requested URL returned error: 502\nfatal: the remote end hung up unexpectedly": true,
		"fatal: unable to access 'https://x/': The requested URL returned error: 429":                                           true,
		"fatal: unable to access 'https://x/': Could not resolve host: x":                                                       true,
		"error: RPC failed; curl 18 transfer closed with outstanding read data remaining":                                       true,
		"fatal: unable to access 'https://x/': Failed to connect to x port 443":                                                 true,
		"error: RPC failed; HTTP 403 curl 22 The requested URL returned error: 403\nfatal: the remote end hung up unexpectedly": false,
		"fatal: unable to access 'https://x/': The requested URL returned error: 401":                                           false,
		"fatal: repository 'https://x/' not found":                                                                              false,
		"fatal: unable to update url base from redirection":                                                                     false,
	} {
		m := Remote{URL: "https://x/", Sleep: func(context.Context, time.Duration) error { return nil }}
		err := fmt.Errorf("pushing: %w", &Error{Stderr: said})
		if got := m.again(t.Context(), 1, err); got != want {
			t.Errorf("%q: %v", said, got)
		}
		if m.again(t.Context(), attempts, err) || (Remote{URL: "/local"}).again(t.Context(), 1, err) || m.again(t.Context(), 1, errors.New(said)) {
			t.Errorf("%q is tried for ever, or where nothing is in the way", said)
		}
	}
}

// The commit that a ref must be at need not be here.
func TestPushOverWhatIsNotHere(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	r, remote, ids := local(t)
	other := &Repository{Dir: remote.URL}
	theirs := write(t, other, Draft{Branch: "shops/swicked", Message: "theirs", Files: files(map[string]string{"x": "1"})}, Draft{Branch: "shops/acme", Message: "theirs", Files: files(map[string]string{"y": "1"})})
	moves := []RefUpdate{{"refs/heads/shops/swicked", theirs[0], ids[1]}, {"refs/heads/shops/acme", theirs[0], ids[2]}}
	var refused *PushError
	if err := r.Push(t.Context(), remote, moves); !errors.As(err, &refused) || len(refused.Refs) != 1 || refused.Refs[0].Now != theirs[1] {
		t.Errorf("got %v", err)
	}
	moves[1].Before = theirs[1]
	if err := r.Push(t.Context(), remote, moves); err != nil {
		t.Fatal(err)
	}
	if got := refsOf(t, r, remote); got["refs/heads/shops/swicked"] != ids[1] || got["refs/heads/shops/acme"] != ids[2] {
		t.Errorf("the remote has %v", got)
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "shopfleet-push-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
