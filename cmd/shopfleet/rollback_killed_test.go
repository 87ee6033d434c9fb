package main

// A rollback whose process is killed at each of its writes: what it left is found, the shop stays held, and the bad release
// does not come back.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/command"
	"github.com/kvick/shopfleet/internal/sim"
)

// mortal carries a number of writes, the last of them without an answer, and nothing behind that.
type mortal struct {
	next http.RoundTripper
	die  func()

	mu   sync.Mutex
	left int
	dead bool
}

var errDead = errors.New("the process is dead")

func (m *mortal) RoundTrip(r *http.Request) (*http.Response, error) {
	m.mu.Lock()
	if m.dead {
		m.mu.Unlock()
		return nil, errDead
	}
	if r.Method != http.MethodGet {
		m.left--
		m.dead = m.left == 0
	}
	last := m.dead
	m.mu.Unlock()
	resp, err := m.next.RoundTrip(r)
	if last {
		if err == nil {
			resp.Body.Close()
		}
		m.die()
		return nil, errDead
	}
	return resp, err
}

// cmdLater runs shopfleet some minutes from now, and kills it at one of its writes where WRITE is not 0: CODE is dead then.
func cmdLater(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: later MINUTES WRITE CODE ARG...")
	}
	minutes, err := strconv.Atoi(args[0])
	ts.Check(err)
	left, err := strconv.Atoi(args[1])
	ts.Check(err)
	ctx, die := context.WithCancel(context.Background())
	defer die()
	death, ended := make(chan struct{}), make(chan int, 1)
	door := &command.Door{
		Args: args[3:], Getenv: ts.Getenv, Stdin: strings.NewReader(""), Stdout: ts.Stdout(), Stderr: ts.Stderr(), Dir: ts.MkAbs("."),
		Now:       func() time.Time { return time.Now().Add(time.Duration(minutes) * time.Minute) },
		Transport: &mortal{next: cloudflare.LoopbackOnly(http.DefaultTransport), left: left, die: func() { close(death) }},
	}
	if left > 0 {
		door.Stdout, door.Stderr = &strings.Builder{}, &strings.Builder{} // of a process that the script is done with
	}
	go func() { ended <- command.Run(ctx, door) }()
	got := ""
	select {
	case <-death:
		got = "dead"
	case code := <-ended:
		got = strconv.Itoa(code)
	}
	if got != args[2] {
		ts.Fatalf("it ended with %s, want %s", got, args[2])
	}
}

func TestRollbackKilled(t *testing.T) {
	noSecrets(t)
	const ship = `edit shop-overrides/theme.json : ' :'
exec git commit -qam %d
exec git push -q origin shops/swicked
later %d 0 0 deploy swicked
`
	var files []string
	// The writes are those of the hold, of the journal, the release, and again the journal and the hold.
	for name, at := range map[string][]int{"free": {2, 4, 5, 6, 8}, "held": {3, 6, 8, 9, 12}} {
		var b strings.Builder
		b.WriteString("helm helm\nhub helm\ncd helm\nexec shopfleet deploy swicked --secrets-file ../secrets.json\nexec git checkout -q shops/swicked\n")
		fmt.Fprintf(&b, ship, 0, 0)
		minutes, theirs := 0, name == "held"
		for _, write := range at {
			fmt.Fprintf(&b, "\n# %d\n", write)
			fmt.Fprintf(&b, ship, write, minutes)
			if theirs {
				fmt.Fprintf(&b, "later %d 0 0 hold swicked stocktaking\n", minutes)
			}
			fmt.Fprintf(&b, "later %d %d dead rollback swicked\n", minutes, write)
			minutes += 20
			fmt.Fprintf(&b, "later %d 0 0 holds\nstdout 'swicked is held'\n", minutes)
			fmt.Fprintf(&b, "later %d 0 0 rollback swicked\n", minutes)
			// There is something to deploy: the bad release is not live.
			fmt.Fprintf(&b, "later %d 0 1 deploy swicked\nstdout 'shop-held'\n", minutes)
			if theirs {
				b.WriteString("stdout 'stocktaking'\n")
			}
			fmt.Fprintf(&b, "later %d 0 0 release-hold swicked\n", minutes)
		}
		b.WriteString("\n-- secrets.json --\n" + `{"SESSION_KEY": "s3cr3t-session-key", "OAUTH_CLIENT_SECRET": "s3cr3t-oauth", "STRIPE_SECRET_KEY": "s3cr3t-stripe", "TWILIO_ACCOUNT_SID": "s3cr3t-twilio"}` + "\n")
		file := filepath.Join(t.TempDir(), name+".txtar")
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	testscript.Run(t, testscript.Params{
		Files: files, RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error { return setUpWorld(env, sim.Options{KeepBodies: true}) },
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"helm": cmdHelm, "hub": cmdHub, "edit": cmdEdit, "later": cmdLater,
		},
	})
}
