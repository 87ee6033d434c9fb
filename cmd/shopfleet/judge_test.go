package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kvick/shopfleet/internal/sim"
)

// judges are the real tools that vouch for shopfleet.
type judges struct{ node, wrangler, workerd string }

// findJudges finds the installed tools, or skips the test.
func findJudges(t *testing.T) judges {
	t.Helper()
	dir := os.Getenv("SHOPFLEET_JUDGE_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "testdata", "judge")
	}
	modules, err := filepath.Abs(filepath.Join(dir, "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	arch := map[string]string{"amd64": "64", "arm64": "arm64"}[runtime.GOARCH]
	j := judges{
		node:     filepath.Join(modules, ".bin", "node"),
		wrangler: filepath.Join(modules, "wrangler", "bin", "wrangler.js"),
		workerd:  filepath.Join(modules, "@cloudflare", "workerd-"+runtime.GOOS+"-"+arch, "bin", "workerd"),
	}
	for _, file := range []string{j.node, j.wrangler, j.workerd} {
		if _, err := os.Stat(file); err != nil {
			if os.Getenv("SHOPFLEET_JUDGES") == "require" {
				t.Fatalf("the judges are required and one is missing: %v; make judges installs it", err)
			}
			t.Skipf("a judge is missing (%v): make judges installs it", err)
		}
	}
	return j
}

// TestJudged runs shopfleet and real wrangler in turn against the same account, whose Worker code runs in real workerd: what
// one did, the other has to understand. Beyond the commands of TestScripts there are:
//
//	wrangler ARG...             runs wrangler
//	visit HOST PATH STATUS RE   asks the edge; the answer's Location and body must match the expression
func TestJudged(t *testing.T) {
	j := findJudges(t)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "judged"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			if err := setUpWorld(env, sim.Options{Workerd: j.workerd}); err != nil {
				return err
			}
			home := filepath.Join(env.WorkDir, "home")
			for name, value := range map[string]string{
				"HOME": home, "CI": "true", "NO_COLOR": "1", "WRANGLER_SEND_METRICS": "false", "WRANGLER_HIDE_BANNER": "true", "DO_NOT_TRACK": "1",
			} {
				env.Setenv(name, value)
			}
			return os.Mkdir(home, 0o700)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"helm":   cmdHelm,
			"exits":  cmdExits,
			"writes": cmdWrites,
			"edit":   cmdEdit,
			"visit":  cmdVisit,
			"sqlite": cmdSQLite,
			"sql":    cmdSQL,
			"take":   cmdTake,
			"tag":    cmdTag,
			"kv":     cmdRecord,
			"r2":     cmdRecord,
			"tick":   cmdTick,
			"wrangler": func(ts *testscript.TestScript, neg bool, args []string) {
				err := ts.Exec(j.node, append([]string{j.wrangler}, args...)...)
				if (err != nil) != neg {
					ts.Fatalf("wrangler %v: %v", args, err)
				}
			},
		},
	})
}

func cmdVisit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: visit HOST PATH STATUS RE")
	}
	req, err := http.NewRequest(http.MethodGet, scriptWorld(ts).Edge+args[1], nil)
	ts.Check(err)
	req.Host = args[0]
	resp, err := http.DefaultTransport.RoundTrip(req) // redirects are looked at, not followed
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	got := fmt.Sprintf("%s\n%s", resp.Header.Get("Location"), body)
	if fmt.Sprint(resp.StatusCode) != args[2] || !regexp.MustCompile(args[3]).MatchString(got) {
		ts.Fatalf("%s%s answers %d:\n%s", args[0], args[1], resp.StatusCode, got)
	}
}
