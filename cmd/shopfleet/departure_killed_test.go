package main

// Shops that leave in runs that are killed, each at a later write than the one before: the next run goes on, nothing is left
// half done in the end, and nobody else is touched.

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/command"
	"github.com/kvick/shopfleet/internal/sim"
)

// cmdKilled runs shopfleet and kills it at one of its writes, if it comes so far; else it has to end well.
func cmdKilled(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: killed WRITE ARG...")
	}
	left, err := strconv.Atoi(args[0])
	ts.Check(err)
	ctx, die := context.WithCancel(context.Background())
	defer die()
	death, ended := make(chan struct{}), make(chan int, 1)
	var out strings.Builder // read only where the run has ended
	door := &command.Door{
		Args: args[1:], Getenv: ts.Getenv, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Dir: ts.MkAbs("."), Now: time.Now,
		Transport: &mortal{next: cloudflare.LoopbackOnly(http.DefaultTransport), left: left, die: func() { close(death) }},
	}
	go func() { ended <- command.Run(ctx, door) }()
	select {
	case <-death:
		die()
		<-ended // a process that is dead writes nothing any more, neither here nor into a folder
	case code := <-ended:
		if code != 0 {
			ts.Fatalf("it ended with %d: %s", code, out.String())
		}
	}
}

func TestLeavingKilled(t *testing.T) {
	noSecrets(t)
	const secrets = "\n-- secrets.json --\n" + `{"SESSION_KEY": "s3cr3t-session-key", "OAUTH_CLIENT_SECRET": "s3cr3t-oauth", "STRIPE_SECRET_KEY": "s3cr3t-stripe", "TWILIO_ACCOUNT_SID": "s3cr3t-twilio"}` + "\n"
	const world = `helm helm
account kvick-2 00000000000000000000000000000002 kvick-2.bike
cd helm
exec git checkout -q main
edit fleet.yml 'helm-{slug}.kvick.bike' 'helm-{slug}.{zone}'
exec sed -i 's|^shops:|  kvick-2: {id: "00000000000000000000000000000002", zone: kvick-2.bike}\nshops:|' fleet.yml
exec sh -c 'printf "\noffboard:\n  grace: 0s\n" >> fleet.yml'
exec git commit -qam 'another account'
hub .
exec shopfleet deploy swicked --secrets-file ../secrets.json
exec shopfleet deploy mike-s-bikes --secrets-file ../secrets.json
exec shopfleet adopt --all
`
	scripts := map[string]func(b *strings.Builder, kills func(upTo int, args string)){
		"offboard": func(b *strings.Builder, kills func(int, string)) {
			kills(14, "offboard mike-s-bikes --to ../vault")
			b.WriteString("stdout 'closed since'\n")
			kills(18, "offboard mike-s-bikes --delete --to ../vault --confirm-name mike-s-bikes")
			b.WriteString(`stdout '"status": "deleted"'
stdout '"others_before"'
has $CLOUDFLARE_ACCOUNT_ID
! stdout mike-s-bikes
ongithub branches
stdout 'refs/shopfleet/left/mike-s-bikes '
! stdout 'refs/shopfleet/left/mike-s-bikes\.'
! stdout 'refs/heads/shops/mike-s-bikes'
! stdout 'refs/shopfleet/holds/'
exec git branch -qD shops/mike-s-bikes
exec git fetch -q --prune origin
`)
		},
		"move": func(b *strings.Builder, kills func(int, string)) {
			kills(18, "move mike-s-bikes --to kvick-2 --secrets-file ../secrets.json")
			b.WriteString("exec git fetch -q origin\nexec git branch -qf shops/mike-s-bikes origin/shops/mike-s-bikes\nexec git log --oneline main..shops/mike-s-bikes\n")
			b.WriteString("stdout 'another account'\nexec git log --format=%s -1 shops/mike-s-bikes~1\n! stdout 'another account'\n") // one commit, however often it was killed
			kills(10, "move mike-s-bikes --confirm --confirm-name mike-s-bikes")
			b.WriteString(`has $CLOUDFLARE_ACCOUNT_ID
! stdout mike-s-bikes
has 00000000000000000000000000000002
stdout 'worker helm-mike-s-bikes, 3 crons'
ongithub branches
! stdout 'refs/shopfleet/holds/'
exec shopfleet plan mike-s-bikes
stdout 'unchanged'
`)
		},
	}
	var files []string
	for name, write := range scripts {
		var b strings.Builder
		b.WriteString(world)
		write(&b, func(upTo int, args string) {
			for n := 1; n <= upTo; n++ {
				fmt.Fprintf(&b, "killed %d %s\n", n, args)
			}
			if strings.Contains(args, "--confirm --") {
				return // the last one came to its end, and there is nothing to confirm any more
			}
			if strings.Contains(args, "--delete") {
				args = "offboard mike-s-bikes --delete --to ../vault --confirm-name mike-s-bikes --json"
			}
			fmt.Fprintf(&b, "exec shopfleet %s\n", args)
		})
		b.WriteString("exec shopfleet plan swicked\nstdout 'unchanged'\nexec shopfleet audit\n" + secrets)
		file := filepath.Join(t.TempDir(), name+".txtar")
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	testscript.Run(t, testscript.Params{
		Files: files, RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error { return setUpWorld(env, sim.Options{KeepBodies: true, RateLimit: -1}) },
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"helm": cmdHelm, "hub": cmdHub, "edit": cmdEdit, "account": cmdAccount, "has": cmdHas, "killed": cmdKilled, "ongithub": cmdOnGitHub,
		},
	})
}
