// Package github is a GitHub organisation on localhost: the REST API, GraphQL's updateRefs and smart HTTP over real bare
// git repositories, with users, Apps, workflow tokens, webhooks, limits, and the rule which events start workflows.
//
// It is written from outside facts only (contracts/github/wire.md, GitHub's OpenAPI and recorded webhooks), never from
// what a client of ours happens to send, and it imports nothing of ours. Where the contract is silent it refuses rather
// than guesses. What it does only because somebody knew it, without a source at hand, is marked [K] as in wire.md.
//
//	w, _ := github.New(github.Options{})
//	defer w.Close()
//	helm, _ := w.Repository("kvick", "helm")
//	helm.Commit("main", "first", map[string]string{"README.md": "hello"})
//	token, _ := helm.ActionsToken(map[string]string{"contents": "read", "deployments": "write"})
//	l, _ := w.Start("")
//	// GITHUB_API_URL=l.API, GITHUB_SERVER_URL=l.Git, GITHUB_TOKEN=token
//
// Start reading at world.go (what a world holds), then route.go (the table of endpoints with their permissions), serve.go
// (how a request travels) and move.go (what follows when a branch moves).
package github

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// Options configure a world. The zero value is a world in a temporary directory on the system clock, with GitHub's limits.
type Options struct {
	// Dir is where the bare repositories are made; it is created when missing and outlives the world. Empty means a
	// temporary directory that Close removes. Everything but git is in memory only.
	Dir string
	// Now is the clock of the world: timestamps, expiry and limits. Nil means time.Now.
	Now func() time.Time
	// Random fills b; tokens and GUIDs are made from it. Nil means crypto/rand. Calls are serialised.
	Random func(b []byte)
	// Log receives what an operator of the simulator wants to know. Nil discards it.
	Log *slog.Logger
	// Wrap stands between the listener and the REST API, for who wants to see every request and answer. Nil changes nothing.
	Wrap func(api http.Handler) http.Handler
	// Unlimited switches all rate limits off.
	Unlimited bool
	// KeepBodies records the bodies of writes in the request log (Request.Body).
	KeepBodies bool
}

// Listening tells where a started world can be reached, on loopback only.
type Listening struct {
	// API is the base of the REST API, for GITHUB_API_URL: http://127.0.0.1:port. GraphQL is at API + "/graphql".
	API string
	// Git is the host of clone URLs, for GITHUB_SERVER_URL: http://127.0.0.1:port; a repository is at Git + "/owner/name.git".
	Git string
}

// New opens an empty world. It needs a git binary on PATH.
func New(o Options) (*World, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("looking for git: %w", err)
	}
	w := &World{
		now: o.Now, random: o.Random, log: o.Log, wrap: o.Wrap, unlimited: o.Unlimited, keepBodies: o.KeepBodies,
		git: git, dir: o.Dir, lastID: 1000, userByLogin: map[string]*User{}, repoByName: map[string]*Repository{},
		tokens: map[string]*credential{}, apiURL: "http://127.0.0.1", gitURL: "http://127.0.0.1",
	}
	if w.now == nil {
		w.now = time.Now
	}
	if w.random == nil {
		w.random = func(b []byte) { rand.Read(b) }
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	if w.dir == "" {
		if w.dir, err = os.MkdirTemp("", "github-sim-"); err != nil {
			return nil, fmt.Errorf("making a directory for the repositories: %w", err)
		}
		w.ownDir = true
	} else if w.dir, err = filepath.Abs(w.dir); err == nil {
		err = os.MkdirAll(w.dir, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("making a directory for the repositories: %w", err)
	}
	w.limits.world = w
	w.routes = routes()
	w.hooks.start(w)
	return w, nil
}

// Start serves the API on addr and git on a free port, until Close. An empty address means a free port on 127.0.0.1; an
// address that is not loopback is refused. URLs in answers name the servers that were started last.
func (w *World) Start(addr string) (*Listening, error) {
	api, err := listenLoopback(addr)
	if err != nil {
		return nil, fmt.Errorf("listening for the API: %w", err)
	}
	git, err := listenLoopback("")
	if err != nil {
		api.Close()
		return nil, fmt.Errorf("listening for git: %w", err)
	}
	l := &Listening{API: "http://" + api.Addr().String(), Git: "http://" + git.Addr().String()}
	w.mu.Lock()
	w.apiURL, w.gitURL = l.API, l.Git
	w.mu.Unlock()
	handler := w.API()
	if w.wrap != nil {
		handler = w.wrap(handler)
	}
	w.serve(api, handler)
	w.serve(git, w.Git())
	return l, nil
}

func listenLoopback(addr string) (net.Listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%s is not a loopback address", addr)
	}
	return net.Listen("tcp", addr)
}

func (w *World) serve(l net.Listener, h http.Handler) {
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelWarn)}
	w.mu.Lock()
	w.servers = append(w.servers, s)
	w.mu.Unlock()
	go func() {
		if err := s.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			w.log.Error("github: serving stopped", "address", l.Addr().String(), "error", err)
		}
	}()
}

// Close stops the servers and the deliveries of webhooks, and removes the repositories when New made their directory.
func (w *World) Close() error {
	w.mu.Lock()
	servers := w.servers
	w.servers = nil
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	var errs []error
	for _, s := range servers {
		if err := s.Shutdown(ctx); err != nil {
			errs = append(errs, s.Close())
		}
	}
	w.hooks.stop()
	if w.ownDir {
		errs = append(errs, os.RemoveAll(w.dir))
	}
	return errors.Join(errs...)
}

// World is an organisation (or several) with its repositories. Its methods may be called at any time, side by side.
type World struct {
	now        func() time.Time
	random     func([]byte)
	log        *slog.Logger
	wrap       func(http.Handler) http.Handler
	unlimited  bool
	keepBodies bool
	git        string // the binary
	dir        string
	ownDir     bool
	routes     []route

	requests requestLog
	faults   faultBook
	hooks    hooks

	// mu guards everything below and what it points to, the git repositories included: one request at a time changes or
	// reads the world.
	mu          sync.Mutex
	servers     []*http.Server
	apiURL      string
	gitURL      string
	lastID      int64
	users       []*User
	userByLogin map[string]*User // by lower-case login
	repos       []*Repository
	repoByName  map[string]*Repository // by lower-case owner/name
	apps        []*App
	manifests   map[string]pending // by code
	grants      map[string]grant   // by code
	browsers    map[string]*User   // by the cookie of who is signed in
	teams       []*team
	tokens      map[string]*credential
	limits      limits
}
