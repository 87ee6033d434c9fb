package main

// An onboarding whose process is killed at each of its writes: the same command again finishes the same shop, and in the end
// the account holds nothing that belongs to nobody.

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kvick/shopfleet/internal/sim"
)

// onboardWrites is how many calls an onboarding makes that are no GET: those that write, and questions that are asked by POST.
const onboardWrites = 26

func TestOnboardKilled(t *testing.T) {
	noSecrets(t)
	var files []string
	// Two worlds, since GitHub takes eighty writes of content in a minute.
	for _, part := range [][2]int{{1, onboardWrites / 2}, {onboardWrites/2 + 1, onboardWrites}} {
		var b strings.Builder
		b.WriteString("helm helm\nhub helm\ncd helm\nexec shopfleet deploy swicked --secrets-file ../secrets.json\nexec shopfleet deploy mike-s-bikes --secrets-file ../secrets.json\nexec shopfleet adopt --all\n")
		for write := part[0]; write <= part[1]; write++ {
			slug := fmt.Sprintf("new-%02d", write)
			fmt.Fprintf(&b, "\n# %d\nlater 0 %d dead onboard %s --secrets-file ../secrets.json\nexec git fetch -q origin\n", write, write, slug)
			fmt.Fprintf(&b, "exec shopfleet onboard %s --secrets-file ../secrets.json\nstdout '%s  ready'\n! stdout 'still to do'\n", slug, slug)
		}
		// One more write than there are, so that none was left out.
		fmt.Fprintf(&b, "\nlater 0 %d 0 onboard whole --secrets-file ../secrets.json\n", onboardWrites+1)
		b.WriteString("exec git fetch -q origin\nexec shopfleet deploy --all\nstdout 'unchanged'\n! stdout 'released'\nexec shopfleet audit --deep\n! stdout 'error:'\n! stdout 'orphan'\n")
		b.WriteString("\n-- secrets.json --\n" + `{"SESSION_KEY": "s3cr3t-session-key", "OAUTH_CLIENT_SECRET": "s3cr3t-oauth", "STRIPE_SECRET_KEY": "s3cr3t-stripe", "TWILIO_ACCOUNT_SID": "s3cr3t-twilio"}` + "\n")
		file := filepath.Join(t.TempDir(), fmt.Sprintf("killed-%d.txtar", part[0]))
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	testscript.Run(t, testscript.Params{
		Files: files, RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error { return setUpWorld(env, sim.Options{KeepBodies: true, RateLimit: -1}) },
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"helm": cmdHelm, "hub": cmdHub, "later": cmdLater,
		},
	})
}
