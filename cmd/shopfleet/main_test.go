package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/d1"
	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/sim/simtest"
	"github.com/kvick/shopfleet/internal/wrangler"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata/script")

// TestMain is three programs in one: the tests, the shopfleet that scripts run,
// and with SHOPFLEET_FIGURES set the measuring of `make bench`.
func TestMain(m *testing.M) {
	if only, ok := os.LookupEnv("SHOPFLEET_FIGURES"); ok {
		measure := func() error { return figures(only, os.Stdout) }
		switch only {
		case "child:rehearse":
			measure = func() error { return rehearseChild(os.Stdout) }
		case "child:rebase":
			measure = func() error { return rebaseChild(os.Stderr) }
		case "child:peak":
			measure = func() error { return peakChild(os.Stdout) }
		}
		if err := measure(); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// A script that would reach beyond this machine panics instead.
	program := func() {
		end := transcribe(os.Getenv(transcriptVariable))
		code := run(cloudflare.LoopbackOnly(http.DefaultTransport))
		end()
		os.Exit(code)
	}
	testscript.Main(m, map[string]func(){"shopfleet": program})
}

// TestScripts runs the real program against a simulated account of its own for
// each file of testdata/script. Beyond testscript's own commands there are:
//
//	helm DIR            writes Helm's repository into DIR
//	exits CODE CMD...   runs a command that must end with this exit code
//	fault JSON          adds a fault rule to the account
//	heal                removes all faults
//	writes N            requires that N calls since the last `writes` or `calls` may have changed something
//	outside WORKER      releases other code on a Worker, as somebody with the dashboard would
//	take NAME REGEXP    keeps what the group in REGEXP matches in the last standard output as $NAME
//	tick                waits for the next second: D1's CURRENT_TIMESTAMP counts in seconds
//	edit FILE OLD NEW   replaces text in a file
//	crlf FILE           ends its lines as on Windows
//	sqlite FILE [DIR] SQL   makes an SQLite file of the migrations in a folder, and of more SQL
//	forget              lets `writes` count from here
//	hub DIR             starts a GitHub that has the branches of a repository
//	push DIR BRANCH     pushes, and makes what follows a step of the workflow that this starts
//	unpush DIR BRANCH   the same, for a branch that goes
//	pull DIR HEAD BASE [fork]   the same, for a pull request
//	output NAME VALUE   requires an output of the step
//	inert FILE WORD     requires that a page of Markdown has a word only inside of code
//	ongithub WHAT       prints what GitHub has: deployments, statuses ID, checks SHA, comments NUMBER
//	githubcalls N       requires that GitHub was called N times since the step was set up
//	app                 installs an App, and gives the step its id and key
//	forge SHOP VERSION  has somebody write deployments that look like releases
//	githubfault [JSON]  adds a fault rule to GitHub, or removes them all
//	tag KIND ID OWNER   gives a resource an owner tag, or takes it away where OWNER is -
//	kv ID VALUE         puts an identity record into a KV namespace
//	r2 BUCKET VALUE     puts one into a bucket
//	reader WORKER SHOP  makes a Worker of nobody that is bound to a shop's database
//	remove WORKER       deletes a Worker
//	stock SHOP KEY VALUE OBJECT CONTENT   puts a key and an object into a shop's stores
//	kept SHOP KEY VALUE OBJECT CONTENT    requires that they are there
//	empty SHOP          deletes the objects of a shop
//	bucket ACCOUNT NAME   makes an account with a bucket
//	damage DIR          adds a byte to the first file in a folder that has something in it
//	carried NAME VALUE  requires that the last upload of a Worker has this secret
//	usage FROM UNTIL STEP JSON  has analytics say that something was used, again and again
//	withhold DATASET    takes a dataset from the account's analytics
//	account NAME ID ZONE   gives the world another account, with a zone
//	typed CODE LINE ARG...   runs shopfleet at a terminal, where somebody types a line; it must end with this exit code
//	has ACCOUNT-ID      prints what an account has
//	make KIND NAME ...  makes something in the account, as somebody with the dashboard would
//	token VALUE PERMISSION...  lets a token in that may do no more
//	sql SHOP SQL        runs SQL on a shop's database, as somebody with the dashboard would
func TestScripts(t *testing.T) {
	noSecrets(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setUp,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"helm":     cmdHelm,
			"make":     cmdMake,
			"token":    cmdToken,
			"exits":    cmdExits,
			"fault":    cmdFault,
			"heal":     cmdHeal,
			"writes":   cmdWrites,
			"outside":  cmdOutside,
			"take":     cmdTake,
			"tick":     cmdTick,
			"edit":     cmdEdit,
			"crlf":     cmdCRLF,
			"sql":      cmdSQL,
			"reader":   cmdReader,
			"remove":   cmdRemove,
			"lose":     cmdLose,
			"stock":    cmdStock,
			"kept":     cmdKept,
			"empty":    cmdEmpty,
			"bucket":   cmdBucket,
			"damage":   cmdDamage,
			"sqlite":   cmdSQLite,
			"account":  cmdAccount,
			"has":      cmdHas,
			"typed":    cmdTyped,
			"tag":      cmdTag,
			"kv":       cmdRecord,
			"r2":       cmdRecord,
			"usage":    cmdUsage,
			"withhold": cmdWithhold,

			"forget":       func(ts *testscript.TestScript, _ bool, _ []string) { scriptWorld(ts).ForgetRequests() },
			"hub":          cmdHub,
			"say":          cmdSay,
			"react":        cmdReact,
			"person":       cmdPerson,
			"press":        cmdPress,
			"push":         cmdPush,
			"unpush":       cmdUnpush,
			"pull":         cmdPull,
			"output":       cmdOutput,
			"inert":        cmdInert,
			"ongithub":     cmdOnGitHub,
			"githubcalls":  cmdGitHubCalls,
			"githubforget": cmdGitHubForget,
			"githubwrites": cmdGitHubWrites,
			"githubfault":  cmdGitHubFault,
			"forge":        cmdForge,
			"app":          cmdApp,
			"carried":      cmdCarried,
		},
	})
}

// actionOfScripts is what workflows name that scripts write. No such commit exists.
const actionOfScripts = "kvick/shopfleet@0123456789abcdef0123456789abcdef01234567"

type worldKey struct{}

type testKey struct{}

// runsKey is whether the world runs Worker code.
type runsKey struct{}

func setUp(env *testscript.Env) error { return setUpWorld(env, sim.Options{KeepBodies: true}) }

func setUpWorld(env *testscript.Env, o sim.Options) error {
	t, ok := env.T().(testing.TB)
	if !ok {
		return errors.New("the scripts need a testing.TB")
	}
	w := simtest.New(t, o)
	home, err := seed(w.World)
	if err != nil {
		return err
	}
	env.Values[worldKey{}], env.Values[testKey{}], env.Values[hubKey{}] = w, t, &hub{}
	env.Values[runsKey{}] = o.Workerd != ""
	env.Setenv("CLOUDFLARE_API_BASE_URL", w.URL)
	env.Setenv("CLOUDFLARE_ACCOUNT_ID", home.ID)
	if err := w.AddToken(sim.Token{Value: scriptToken, Name: "script"}); err != nil {
		return err
	}
	env.Setenv("CLOUDFLARE_API_TOKEN", scriptToken)
	env.Setenv(transcriptVariable, os.Getenv(transcriptVariable))
	env.Setenv("SHOPFLEET_EDGE_URL", w.Edge)
	env.Setenv("AGE_KEY", scriptIdentity)
	env.Setenv("OTHER_AGE_KEY", otherIdentity)
	env.Setenv("GIT_AUTHOR_NAME", "shop")
	env.Setenv("GIT_AUTHOR_EMAIL", "shop@example.invalid")
	env.Setenv("GIT_COMMITTER_NAME", "shop")
	env.Setenv("GIT_COMMITTER_EMAIL", "shop@example.invalid")
	env.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	env.Setenv("ACTION", actionOfScripts)
	return nil
}

func scriptWorld(ts *testscript.TestScript) *simtest.World {
	return ts.Value(worldKey{}).(*simtest.World)
}

func cmdHelm(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: helm DIR")
	}
	ts.Check(repository(context.Background(), ts.MkAbs(args[0]), ts.Value(runsKey{}).(bool)))
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE CMD [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("running %s: %v", args[1], err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func cmdFault(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fault JSON")
	}
	var rule sim.Rule
	ts.Check(json.Unmarshal([]byte(args[0]), &rule))
	_, err := scriptWorld(ts).Fault(rule)
	ts.Check(err)
}

func cmdHeal(ts *testscript.TestScript, neg bool, args []string) { scriptWorld(ts).ClearFaults() }

func cmdWrites(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: writes N")
	}
	w := scriptWorld(ts)
	var list []string
	for _, r := range w.Requests() {
		if r.Write {
			list = append(list, r.Op)
		}
	}
	w.ForgetRequests()
	if want, err := strconv.Atoi(args[0]); err != nil || len(list) != want {
		ts.Fatalf("%d writes, want %s:\n%s", len(list), args[0], strings.Join(list, "\n"))
	}
}

func cmdOutside(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: outside WORKER")
	}
	body := "--x\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n" +
		`{"main_module":"index.js","bindings":[],"compatibility_date":"2026-06-01","compatibility_flags":[]}` +
		"\r\n--x\r\nContent-Disposition: form-data; name=\"index.js\"; filename=\"index.js\"\r\nContent-Type: application/javascript+module\r\n\r\n" +
		"export default { fetch() { return new Response('other') } }\r\n--x--\r\n"
	w := scriptWorld(ts)
	req, err := w.Request(context.Background(), "PUT", fmt.Sprintf("/accounts/%s/workers/scripts/%s", ts.Getenv("CLOUDFLARE_ACCOUNT_ID"), args[0]), []byte(body))
	ts.Check(err)
	req.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	resp, err := http.DefaultTransport.RoundTrip(req)
	ts.Check(err)
	resp.Body.Close()
	if resp.StatusCode != 200 {
		ts.Fatalf("uploading: status %d", resp.StatusCode)
	}
}

func cmdSQLite(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: sqlite FILE [DIR] SQL")
	}
	db, err := d1.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()
	if len(args) == 3 {
		files, err := wrangler.ReadMigrations(ts.MkAbs(args[1]))
		ts.Check(err)
		for _, f := range files {
			_, err := db.Query(context.Background(), f.SQL)
			ts.Check(err)
		}
	}
	_, err = db.Query(context.Background(), args[len(args)-1])
	ts.Check(err)
}

func cmdSQL(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sql SHOP SQL")
	}
	cf := &cloudflare.Client{BaseURL: ts.Getenv("CLOUDFLARE_API_BASE_URL"), AccountID: ts.Getenv("CLOUDFLARE_ACCOUNT_ID"), Token: demoToken}
	ctx := context.Background()
	list, err := cf.D1Databases(ctx, "")
	ts.Check(err)
	for _, db := range list {
		if strings.Contains(db.Name, "-"+args[0]) {
			_, err := cf.D1Exec(ctx, db.ID, args[1])
			ts.Check(err)
			return
		}
	}
	ts.Fatalf("shop %s has no database", args[0])
}

// scriptClient is somebody else's client of the account.
func scriptClient(ts *testscript.TestScript) *cloudflare.Client {
	return &cloudflare.Client{BaseURL: ts.Getenv("CLOUDFLARE_API_BASE_URL"), AccountID: ts.Getenv("CLOUDFLARE_ACCOUNT_ID"), Token: demoToken}
}

func cmdTag(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: tag KIND ID OWNER")
	}
	tags := map[string]string{"team": "bikes"}
	if args[2] != "-" {
		tags["shop"] = args[2]
	}
	ts.Check(scriptClient(ts).PutTags(context.Background(), cloudflare.ResourceTags{Type: args[0], ID: args[1], Tags: tags}))
}

func cmdRecord(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: kv ID VALUE, or r2 BUCKET VALUE")
	}
	cf, ctx := scriptClient(ts), context.Background()
	if len(args[0]) == 32 { // a namespace's id
		ts.Check(cf.PutKVValue(ctx, args[0], "shop_identity", args[1]))
		return
	}
	ts.Check(cf.PutR2Object(ctx, args[0], "", "shop_identity", []byte(args[1])))
}

func cmdTake(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: take NAME REGEXP")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	m := re.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("the output has no %s", args[1])
	}
	ts.Setenv(args[0], m[1])
}

func cmdTick(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: tick")
	}
	now := time.Now()
	time.Sleep(now.Truncate(time.Second).Add(time.Second).Sub(now))
}

func cmdEdit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: edit FILE OLD NEW")
	}
	file := ts.MkAbs(args[0])
	text, err := os.ReadFile(file)
	ts.Check(err)
	if !strings.Contains(string(text), args[1]) {
		ts.Fatalf("%s has no %q", filepath.Base(file), args[1])
	}
	ts.Check(os.WriteFile(file, []byte(strings.ReplaceAll(string(text), args[1], args[2])), 0o644))
}

func cmdCRLF(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: crlf FILE")
	}
	text := ts.ReadFile(args[0])
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.ReplaceAll(text, "\n", "\r\n")), 0o644))
}
