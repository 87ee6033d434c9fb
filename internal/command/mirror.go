package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/github"
)

// Mirror is a bare copy of the repository's branches on this machine, for a door that stays open: what is carried out there
// needs commits, and a clone for each order would take longer than the order. Safe for concurrent use.
type Mirror struct {
	repo *git.Repository
	from git.Remote

	mu   sync.Mutex
	next *fetching // one that has not begun
	one  sync.Mutex
}

// fetching is a fetch, and who waits for it.
type fetching struct {
	done chan struct{}
	err  error
}

const longestFetch = 10 * time.Minute

// mirrored are all branches. Commits that no branch has any more stay: nothing is collected.
var mirrored = []string{"+refs/heads/*:refs/heads/*"}

// Mirror opens or makes the copy in a directory of its own below dir, and brings it up to date. One that cannot be brought up to
// date, since a process was killed in the middle of it, is made anew. GITHUB_REPOSITORY names the repository.
func (d *Door) Mirror(ctx context.Context, dir string) (*Mirror, error) {
	if d.Getenv(envRepository) == "" {
		return nil, Usage(fmt.Errorf("%s is not set", envRepository), "set it to owner/name")
	}
	client, err := d.githubAs(ctx, nil, permissions{"contents": "read"}, d.Getenv(envAppID) != "")
	if err != nil {
		return nil, err
	}
	if client == nil {
		return nil, Usage(errors.New("there is no token for GitHub"), "set SHOPFLEET_APP_ID and SHOPFLEET_APP_PRIVATE_KEY")
	}
	server := strings.TrimRight(d.Getenv("GITHUB_SERVER_URL"), "/")
	if server == "" {
		server = "https://github.com"
	}
	m := &Mirror{from: git.Remote{URL: server + "/" + client.Owner + "/" + client.Repo + ".git", Password: func(ctx context.Context) (string, error) {
		token, err := client.GitPassword(ctx)
		return string(token), err
	}}}
	if err := m.open(ctx, client, filepath.Join(dir, strings.ToLower(client.Owner+"-"+client.Repo)+".git")); err != nil {
		return nil, fmt.Errorf("copying the repository: %w", err)
	}
	return m, nil
}

func (m *Mirror) open(ctx context.Context, client *github.Client, dir string) (err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return err
	}
	switch _, err := os.Stat(filepath.Join(dir, "HEAD")); {
	case err == nil:
		if m.repo, err = git.Open(ctx, dir); err == nil && m.repo.Dir == dir {
			if err = m.Fetch(ctx); err == nil {
				return nil
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	fresh := dir + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if m.repo, err = git.Bare(ctx, fresh); err != nil {
		return err
	}
	if err := m.Fetch(ctx); err != nil {
		var why *github.Error // git only says that it was asked for a password
		if _, said := client.Tip(ctx, "main"); errors.As(said, &why) && why.Status != 0 && why.Status != 404 {
			return errors.Join(said, os.RemoveAll(fresh))
		}
		return errors.Join(err, os.RemoveAll(fresh))
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Rename(fresh, dir); err != nil {
		return err
	}
	m.repo, err = git.Open(ctx, dir)
	return err
}

// Dir is where the copy is.
func (m *Mirror) Dir() string { return m.repo.Dir }

// Fetch brings the copy up to date with what the remote has when it is called or later. Of many that wait at a time, all
// get the same fetch.
func (m *Mirror) Fetch(ctx context.Context) error {
	m.mu.Lock()
	f := m.next
	if f == nil {
		f = &fetching{done: make(chan struct{})}
		m.next = f
		go m.run(context.WithoutCancel(ctx), f)
	}
	m.mu.Unlock()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return fmt.Errorf("fetching the branches: %w", ctx.Err())
	}
}

func (m *Mirror) run(ctx context.Context, f *fetching) {
	m.one.Lock()
	defer m.one.Unlock()
	m.mu.Lock()
	m.next = nil // who comes from now on may want to see what this one does not
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, longestFetch)
	defer cancel()
	if err := m.repo.Mirror(ctx, m.from, mirrored...); err != nil {
		f.err = fmt.Errorf("fetching the branches: %w", err)
	}
	close(f.done)
}
