package sim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// runner keeps workerd processes: one for each version that was asked for, started by the first request, at most
// maxProcesses while none of them is busy. It is safe for concurrent use.
type runner struct {
	e       *edge
	binary  string
	newest  string // the newest compatibility date that binary was made for
	dir     string // configurations, one directory each
	gateway *gateway

	mu        sync.Mutex
	processes map[string]*process
	clock     uint64 // counts uses, to know the least recent one
	closed    bool
	running   sync.WaitGroup
}

// maxProcesses bounds the memory of a fleet on a laptop: an idle workerd takes some 60 to 90 MB.
const maxProcesses = 6

// startTimeout is how long a process may take to listen. It is a bound for a hanging binary; starting takes 0.1 to 0.3 s.
const startTimeout = 30 * time.Second

func newRunner(e *edge, binary string) (*runner, error) {
	out, err := exec.Command(binary, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("asking %s for its version: %w", binary, err)
	}
	// "workerd 2026-11-17"
	version := strings.TrimSpace(strings.TrimPrefix(string(out), "workerd"))
	if _, err := time.Parse(time.DateOnly, version); err != nil {
		return nil, fmt.Errorf("%s says that its version is %q, expected workerd and a date", binary, version)
	}
	dir, err := os.MkdirTemp("", "shopfleet-edge-")
	if err != nil {
		return nil, err
	}
	g, err := newGateway(e)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &runner{e: e, binary: binary, newest: version, dir: dir, gateway: g, processes: map[string]*process{}}, nil
}

func (r *runner) Close() error {
	r.mu.Lock()
	r.closed = true
	for _, p := range r.processes {
		p.kill()
	}
	r.mu.Unlock()
	r.running.Wait()
	return errors.Join(r.gateway.Close(), os.RemoveAll(r.dir))
}

// processKey tells versions apart, also when two accounts have a Worker of the same name.
func processKey(s *servedScript, v *servedVersion) string { return s.ID + "/" + v.ID }

// acquire returns a running process for a version. It stays alive until release is called, then it may be stopped.
func (r *runner) acquire(ctx context.Context, s *servedScript, v *servedVersion) (p *process, release func(), err error) {
	key := processKey(s, v)
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, nil, errors.New("the world is closed")
	}
	p = r.processes[key]
	if p == nil {
		r.makeRoom()
		p = &process{key: key, runner: r, ready: make(chan struct{})}
		p.transport.DisableCompression = true
		p.transport.MaxIdleConnsPerHost = 64
		r.processes[key] = p
		r.running.Add(1)
		go p.run(s, v)
	}
	p.users++
	r.clock++
	p.used = r.clock
	r.mu.Unlock()

	release = func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if p.users--; p.users == 0 && p.retired {
			p.kill()
		}
	}
	select {
	case <-p.ready:
	case <-ctx.Done():
		release()
		return nil, nil, ctx.Err()
	}
	if p.failure != nil {
		release()
		return nil, nil, p.failure
	}
	return p, release, nil
}

// makeRoom retires idle processes, least recently used first, until there is room for one more. r.mu is held.
func (r *runner) makeRoom() {
	for len(r.processes) >= maxProcesses {
		var oldest *process
		for _, p := range r.processes {
			if p.users == 0 && (oldest == nil || p.used < oldest.used) {
				oldest = p
			}
		}
		if oldest == nil {
			return // all are busy; nobody's request is cut off for the sake of memory
		}
		r.retire(oldest)
	}
}

// retain retires every process whose key is not in live.
func (r *runner) retain(live map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, p := range r.processes {
		if !live[key] {
			r.retire(p)
		}
	}
}

// retire lets no new request reach p and stops it when the last one has been answered. r.mu is held.
func (r *runner) retire(p *process) {
	if r.processes[p.key] == p {
		delete(r.processes, p.key)
	}
	p.retired = true
	if p.users == 0 {
		p.kill()
	}
}

// process is one workerd that runs one version.
type process struct {
	key    string
	runner *runner

	users   int    // guarded by runner.mu, like the next four
	used    uint64 // runner.clock at the last use
	retired bool
	killed  bool
	command *exec.Cmd

	ready   chan struct{} // closed when target or failure is set
	target  *url.URL
	failure error

	transport http.Transport // of this process alone: its port may be another's tomorrow
	traces    traceBook
}

// kill ends the process at once. r.mu is held.
func (p *process) kill() {
	p.killed = true
	if p.command != nil {
		p.command.Process.Kill() // it may have ended by itself
	}
}

// run starts the process, reports through ready and stays until it has ended.
func (p *process) run(s *servedScript, v *servedVersion) {
	defer p.runner.running.Done()
	dir, err := os.MkdirTemp(p.runner.dir, "version-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = p.runIn(dir, s, v)
	}
	p.runner.mu.Lock()
	p.runner.retire(p)
	p.runner.mu.Unlock()
	if p.target == nil {
		p.failure = err
		close(p.ready)
	}
}

// runIn returns when the process has ended, with the reason when it never got ready.
func (p *process) runIn(dir string, s *servedScript, v *servedVersion) error {
	log := p.runner.e.logger(s, v)
	if v.CompatibilityDate > p.runner.newest {
		log.Warn("edge: this workerd is older than the Worker's compatibility date and runs it at its own",
			"wanted", v.CompatibilityDate, "used", p.runner.newest)
	}
	var tokens []string
	defer func() { p.runner.gateway.disconnect(tokens) }()
	config := workerdConfig{dir: dir, gateway: p.runner.gateway.address, newest: p.runner.newest}
	name, err := config.write(v, s, p.runner.e.w.blob, func(b bindingEnd) string {
		b.process, b.log = p, log
		if b.script == nil {
			b.account, b.script, b.version = s.Account, s, v
		}
		token := p.runner.gateway.connect(b)
		tokens = append(tokens, token)
		return token
	})
	if err != nil {
		return fmt.Errorf("preparing the Worker's code: %w", err)
	}
	events, control, err := os.Pipe()
	if err != nil {
		return err
	}
	defer events.Close()
	words := &lastWords{}
	// --experimental: the bindings wrap modules that are internal to workerd, and entry.js needs a flag.
	command := exec.Command(p.runner.binary, "serve", filepath.Base(name), "--experimental", "--control-fd=3")
	command.Dir = dir
	command.Env = []string{} // nothing of this machine is the Worker's business
	command.ExtraFiles = []*os.File{control}
	command.Stderr = words // standard output is console.log, which the traces carry with its level
	defer withParent(command)()

	p.runner.mu.Lock()
	if p.killed {
		p.runner.mu.Unlock()
		control.Close()
		return errors.New("it was stopped before it started")
	}
	err = command.Start()
	p.command = command
	p.runner.mu.Unlock()
	control.Close()
	if err != nil {
		return fmt.Errorf("starting workerd: %w", err)
	}
	timer := time.AfterFunc(startTimeout, func() { command.Process.Kill() })
	port, err := listenEvent(events)
	timer.Stop()
	if err != nil {
		command.Process.Kill()
		_ = command.Wait() // its words say more than its exit status
		if words.String() == "" {
			return fmt.Errorf("starting the Worker's code: %w", err)
		}
		return fmt.Errorf("the Worker's code did not start:\n%s", words)
	}
	p.target = &url.URL{Scheme: "http", Host: "127.0.0.1:" + strconv.Itoa(port)}
	close(p.ready)

	err = command.Wait()
	p.transport.CloseIdleConnections()
	p.runner.mu.Lock()
	killed := p.killed
	p.runner.mu.Unlock()
	if !killed {
		log.Error("edge: workerd ended by itself", "error", err, "stderr", words.String())
	}
	return nil
}

// listenEvent reads the control pipe until workerd says where it listens. An end of file means that it gave up.
func listenEvent(r io.Reader) (port int, err error) {
	line, err := bufio.NewReader(r).ReadBytes('\n')
	if err != nil {
		return 0, err
	}
	var event struct {
		Event string
		Port  int
	}
	if err := json.Unmarshal(line, &event); err != nil || event.Event != "listen" || event.Port == 0 {
		return 0, fmt.Errorf("unexpected event %s", line)
	}
	return event.Port, nil
}

// lastWords keeps the beginning of what a process writes to its standard error.
type lastWords struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lastWords) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if room := 8<<10 - l.b.Len(); room > 0 {
		l.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (l *lastWords) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(l.b.String())
}

// fetch lets the Worker answer a request, websockets included, and returns what traffic should say of it.
func (p *process) fetch(rw http.ResponseWriter, r *http.Request) (status int, outcome string) {
	outcome = "ok"
	proxy := &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host = p.target.Scheme, p.target.Host
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery // Rewrite is given a cleaned one
			pr.Out.Host = pr.In.Host
			pr.Out.Header["X-Forwarded-Proto"] = pr.In.Header["X-Forwarded-Proto"]
			pr.Out.Header["X-Forwarded-For"] = pr.In.Header["X-Real-Ip"]
			pr.Out.Header.Set(cfHeader, edgeCF)
		},
		Transport:     &p.transport,
		FlushInterval: -1, // a Worker that streams is heard as it speaks
		ModifyResponse: func(resp *http.Response) error {
			if resp.Header.Get(exceptionHeader) != "" {
				outcome = "exception"
				return becomeException(resp)
			}
			status = resp.StatusCode
			resp.Header.Del("Server") // the edge has said these
			resp.Header.Del("Cf-Ray")
			return nil
		},
		ErrorHandler: func(rw http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				status, outcome = 499, "canceled" // the client left; nobody reads an answer
				return
			}
			status, outcome = http.StatusInternalServerError, "exception"
			http.Error(rw, "error code: 1101\nThe runtime gave no answer: "+err.Error(), status)
		},
	}
	proxy.ServeHTTP(rw, r)
	if outcome == "exception" {
		status = http.StatusInternalServerError
	}
	return status, outcome
}

// becomeException turns entry.js's note of an uncaught exception into what a client gets to see.
func becomeException(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return err
	}
	resp.Body.Close()
	body := "error code: 1101\nThe Worker threw an exception: " + string(text) + "\n"
	resp.StatusCode = http.StatusInternalServerError
	resp.Header = http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "Content-Length": {strconv.Itoa(len(body))}}
	resp.ContentLength = int64(len(body))
	resp.Body = io.NopCloser(strings.NewReader(body))
	return nil
}

// scheduled runs the scheduled handler.
func (p *process) scheduled(ctx context.Context, cron string, at time.Time) error {
	traced := p.traces.expect(cron, at)
	defer p.traces.forget(cron, at)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.target.String()+"/", nil)
	if err != nil {
		return err
	}
	req.Header.Set(cronHeader, cron)
	req.Header.Set(scheduledHeader, strconv.FormatInt(at.UnixMilli(), 10))
	resp, err := p.transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("delivering the event: %w", err)
	}
	defer resp.Body.Close()
	var result struct{ Outcome string }
	if err := json.NewDecoder(resp.Body).Decode(&result); err != nil {
		return fmt.Errorf("reading the outcome of the event: %w", err)
	}
	if result.Outcome == "ok" {
		return nil
	}
	// The trace that says why follows the outcome.
	select {
	case t := <-traced:
		if len(t.Exceptions) > 0 {
			return fmt.Errorf("the scheduled handler threw %s: %s", t.Exceptions[0].Name, t.Exceptions[0].Message)
		}
	case <-ctx.Done():
	case <-time.After(traceTimeout):
	}
	return fmt.Errorf("the scheduled handler ended with %q", result.Outcome)
}
