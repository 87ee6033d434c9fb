package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/command"
	"github.com/kvick/shopfleet/internal/github"
	sim "github.com/kvick/shopfleet/internal/sim/github"
)

// TestMain plays a process of its own where a test asks for one, to be killed.
func TestMain(m *testing.M) {
	switch os.Getenv("SHOPFLEET_TEST_PROCESS") {
	case "":
		os.Exit(m.Run())
	case "deskhand":
		os.Exit(playDeskhand())
	case "serve":
		os.Exit(playServe())
	}
}

// playServe is shopfleet serve, as the program has it.
func playServe() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ahead, _ := time.ParseDuration(os.Getenv("SHOPFLEET_TEST_AHEAD")) // in a world that is ahead too
	d := &command.Door{
		Args: os.Args[1:], Getenv: os.Getenv, Stdin: strings.NewReader(""), Stdout: os.Stdout, Stderr: os.Stderr, Dir: os.TempDir(), Version: "test",
		Now: func() time.Time { return time.Now().Add(ahead) },
	}
	return command.Run(ctx, d, Commands(d)...)
}

// playDeskhand is a server with a deskhand.
func playDeskhand() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	wire := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	client := &github.Client{
		BaseURL: os.Getenv("GITHUB_API_URL"), Owner: "acme", Repo: "helm", App: &github.App{ID: os.Getenv(envAppID), Key: github.Secret(os.Getenv(envAppKey))},
		Permissions: map[string]string{"issues": "write", "pull_requests": "write"}, Transport: wire.Transport,
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
	hook, err := github.NewHook(0, secret)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	desk := &deskhand{client: client, api: os.Getenv("GITHUB_API_URL"), wire: wire, pause: 20 * time.Millisecond}
	s := &Server{
		Hook: hook, Repository: "acme/helm", Sender: client, Log: NewLog(os.Stderr), Every: 2 * time.Second, Pause: -1,
		Open: func(context.Context) (Desk, error) { return desk, nil },
	}
	if err := s.Serve(ctx, l); err != nil {
		return 3
	}
	return 0
}

// process is a server in a process of its own, which may be killed and started again at the same address.
type process struct {
	addr string
	args []string
	env  []string
	log  *os.File
	cmd  *exec.Cmd
}

// reserve is an address on which nobody listens.
func reserve(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func newProcess(t *testing.T, h *hub, kind, addr string, args ...string) *process {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	p := &process{addr: addr, args: args, log: log, env: append(os.Environ(),
		"SHOPFLEET_TEST_PROCESS="+kind, "GITHUB_API_URL="+h.api, "GITHUB_SERVER_URL="+h.git, "GITHUB_REPOSITORY=acme/helm", "GITHUB_TOKEN=", "GITHUB_ACTIONS=",
		envAppID+"="+fmt.Sprint(h.app.ID), envAppKey+"="+string(h.key), envSecret+"="+secret)}
	t.Cleanup(func() {
		if p.cmd != nil {
			p.cmd.Process.Kill()
			p.cmd.Wait()
		}
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s", text[max(0, len(text)-8000):])
		}
	})
	return p
}

func (p *process) start(t *testing.T) {
	t.Helper()
	p.cmd = exec.Command(os.Args[0], p.args...)
	p.cmd.Env, p.cmd.Stderr = p.env, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the process does not begin", func() bool {
		resp, err := http.Get("http://" + p.addr + "/healthz")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil && resp.StatusCode == 200
	})
}

// kill is kill -9.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.cmd.Wait()
	p.cmd = nil
}

// end is SIGTERM, and returns the exit code.
func (p *process) end(t *testing.T) int {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.cmd.Wait()
	code := p.cmd.ProcessState.ExitCode()
	p.cmd = nil
	return code
}

// TestKilled writes 10,000 comments, one in twenty of them an order, and kills the server in the middle of it, again and
// again. Every order is carried out once.
func TestKilled(t *testing.T) {
	deliveries, kills := 10_000, 5
	if testing.Short() {
		deliveries, kills = 1_000, 2
	}
	addr := reserve(t)
	h := newHub(t, "http://"+addr+WebhookPath, sim.Options{})
	p := newProcess(t, h, "deskhand", addr, addr)
	p.start(t)
	began := time.Now()
	var orders []int64
	for i := range deliveries {
		text := "it looks fine to me"
		if i%20 == 0 {
			text = fmt.Sprintf("/plan shop%d", i%40)
		}
		if id := h.comment(t, text); text[0] == '/' {
			orders = append(orders, id)
		}
		if i%(deliveries/(kills+1)) == deliveries/(kills+1)-1 && kills > 0 {
			kills--
			eventually(t, "nothing is under way", func() bool { return len(h.answers(t)) > 0 })
			p.kill(t)
			time.Sleep(200 * time.Millisecond) // what comes now nobody takes
			p.start(t)
		}
	}
	h.Settle()
	var answers map[string]int
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if answers = h.answers(t); len(answers) == len(orders) {
			break
		}
	}
	wrong := 0
	for _, id := range orders {
		if n := answers[answerTo(id)]; n != 1 {
			wrong++
			t.Errorf("order %d was carried out %d times", id, n)
		}
	}
	t.Logf("%d deliveries, %d orders, %d of them wrong, in %s", deliveries, len(orders), wrong, time.Since(began).Round(time.Millisecond))
	if code := p.end(t); code != 0 {
		t.Errorf("exit code %d, want that nothing is left", code)
	}
}
