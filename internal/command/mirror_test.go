package command

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/git"
	sim "github.com/kvick/shopfleet/internal/sim/github"
)

func TestMirror(t *testing.T) {
	w, err := sim.New(sim.Options{Unlimited: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	at, err := w.Start("")
	if err != nil {
		t.Fatal(err)
	}
	repo, err := w.Repository("acme", "helm")
	if err != nil {
		t.Fatal(err)
	}
	commit := func(branch, text string) string {
		t.Helper()
		id, err := repo.Commit(branch, text, map[string]string{"a": text})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	commit("main", "one")
	commit("shops/anna", "two")
	if _, err := w.AddUser("operator", "User"); err != nil {
		t.Fatal(err)
	}
	if err := repo.SetPermission("operator", "admin"); err != nil {
		t.Fatal(err)
	}
	if err := w.AddToken("ghp_secret", "operator"); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"GITHUB_API_URL": at.API, "GITHUB_SERVER_URL": at.Git, "GITHUB_REPOSITORY": "acme/helm", "GITHUB_TOKEN": "ghp_secret"}
	d := &Door{Getenv: func(name string) string { return env[name] }, Now: time.Now, Version: "test"}
	dir := t.TempDir()
	open := func() *Mirror {
		t.Helper()
		m, err := d.Mirror(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	tip := func(m *Mirror, branch string) string {
		t.Helper()
		r, err := git.Open(t.Context(), m.Dir())
		if err != nil {
			t.Fatal(err)
		}
		refs, err := r.Refs(t.Context(), "refs/heads/"+branch)
		if err != nil {
			t.Fatal(err)
		}
		return refs["refs/heads/"+branch]
	}
	m := open()
	if filepath.Dir(m.Dir()) != dir || tip(m, "shops/anna") == "" {
		t.Errorf("it is at %s, without shops/anna", m.Dir())
	}
	// Many who ask at a time see what was there when they asked.
	var all sync.WaitGroup
	for i := range 8 {
		id := commit("main", strings.Repeat("x", i+1))
		all.Go(func() {
			if err := m.Fetch(t.Context()); err != nil {
				t.Error(err)
			}
			if r, err := git.Open(t.Context(), m.Dir()); err != nil {
				t.Error(err)
			} else if there, err := r.Commit(t.Context(), id); err != nil || there.ID == "" {
				t.Errorf("commit %s is not there after a fetch: %v", id, err)
			}
		})
	}
	all.Wait()
	// A second start goes on with it; one after a process was killed while it wrote does not stumble.
	id := commit("main", "again")
	if m = open(); tip(m, "main") != id {
		t.Error("it is not up to date")
	}
	id = commit("main", "after the kill")
	if err := os.WriteFile(filepath.Join(m.Dir(), "refs", "heads", "main.lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if m = open(); tip(m, "main") != id {
		t.Error("it is not up to date after a process was killed in the middle")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v, %v: more than the copy is left", left, err)
	}
	// What is there is not lost to a token that is wrong.
	env["GITHUB_TOKEN"] = "ghp_wrong"
	if _, err := d.Mirror(t.Context(), dir); err == nil || strings.Contains(err.Error(), "ghp_wrong") {
		t.Errorf("a wrong token: %v", err)
	}
	if tip(m, "main") != id {
		t.Error("the copy is gone")
	}
	env["GITHUB_REPOSITORY"] = ""
	if _, err := d.Mirror(t.Context(), dir); exitCode(err) != ExitUsage {
		t.Errorf("without a repository: %v", err)
	}
}
