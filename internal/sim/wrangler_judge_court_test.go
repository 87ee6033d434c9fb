package sim_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/sim/simtest"
)

// wrangler is the installed tool.
type wrangler struct{ node, script, cache string }

// findWrangler finds the judge, or skips the test.
func findWrangler(t *testing.T) *wrangler {
	t.Helper()
	dir := os.Getenv("SHOPFLEET_JUDGE_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "testdata", "judge")
	}
	modules, err := filepath.Abs(filepath.Join(dir, "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	tool := &wrangler{
		node: filepath.Join(modules, ".bin", "node"), script: filepath.Join(modules, "wrangler", "bin", "wrangler.js"),
		cache: t.TempDir(), // compiled once for all runs
	}
	for _, file := range []string{tool.node, tool.script} {
		if _, err := os.Stat(file); err != nil {
			if os.Getenv("SHOPFLEET_JUDGES") == "require" {
				t.Fatalf("wrangler is required and missing: %v; make judges installs it", err)
			}
			t.Skipf("wrangler is missing (%v): make judges installs it", err)
		}
	}
	return tool
}

// command is a run of wrangler in dir. It inherits nothing: neither credentials nor settings of whoever runs the tests.
func (w *wrangler) command(t *testing.T, dir, home, api string, env []string, args ...string) *exec.Cmd {
	vars := map[string]string{
		"PATH": filepath.Dir(w.node) + string(filepath.ListSeparator) + os.Getenv("PATH"), "HOME": home, "TMPDIR": home, "NODE_COMPILE_CACHE": w.cache,
		"CI": "true", "WRANGLER_SEND_METRICS": "false", "WRANGLER_HIDE_BANNER": "true", "DO_NOT_TRACK": "1", "NO_COLOR": "1", "TERM": "dumb",
		"CLOUDFLARE_API_BASE_URL": api, "CLOUDFLARE_API_TOKEN": simtest.Token, "CLOUDFLARE_ACCOUNT_ID": recAccount,
	}
	for _, pair := range env {
		if k, v, _ := strings.Cut(pair, "="); v != "" {
			vars[k] = v
		} else {
			delete(vars, k)
		}
	}
	cmd := exec.CommandContext(t.Context(), w.node, append([]string{w.script}, args...)...)
	cmd.Dir = dir
	for _, k := range slices.Sorted(maps.Keys(vars)) {
		cmd.Env = append(cmd.Env, k+"="+vars[k])
	}
	return cmd
}

// court is where the trials of a session happen: a world, a directory with the sample project, and notes.
type court struct {
	*client
	tool      *wrangler
	clock     *clock
	account   *sim.Account
	dir, home string
	notes     map[string]string
	last      string // version that served helm-swicked before the run, "" for none
	rules     []sim.Rule
}

const (
	judgedWorker = "/accounts/" + recAccount + "/workers/scripts/" + recWorker
	judgedD1     = "/accounts/" + recAccount + "/d1/database"
	judgedKV     = "/accounts/" + recAccount + "/storage/kv/namespaces"
	judgedR2     = "/accounts/" + recAccount + "/r2/buckets"
)

func openCourt(t *testing.T, tool *wrangler, s session) *court {
	c := &court{tool: tool, home: t.TempDir(), notes: map[string]string{}, clock: newClock()}
	// Two days back, so that hours may pass between two trials and nothing lies in wrangler's future.
	c.clock.t = time.Now().UTC().AddDate(0, 0, -2)
	s.options.Now = c.clock.now
	w := simtest.New(t, s.options)
	c.client = connect(t, w)
	c.dir = filepath.Join(t.TempDir(), "helm")
	if err := os.CopyFS(c.dir, os.DirFS(filepath.Join("..", "..", "testdata", "wrangler-sample"))); err != nil {
		t.Fatal(err)
	}
	// The sample names the zone by an id that the recordings' server made up; no real one looks like it.
	routes := filepath.Join(c.dir, "wrangler.mixedroutes.jsonc")
	if err := os.WriteFile(routes, []byte(strings.ReplaceAll(c.read(filepath.Base(routes)), recZone, replayZone)), 0o600); err != nil {
		t.Fatal(err)
	}
	c.account = w.Account(t, recAccount, "Stub Account")
	a := c.account
	for _, err := range []error{
		a.AddZone("kvick.bike", replayZone), a.AddD1("helm-swicked-db", recD1, "wnam"), a.AddKV("helm-swicked-cache", recKV),
		a.AddR2("helm-swicked-assets"), a.SetSubdomain(recSubdomain), a.AddQueue("my-queue"), a.AddDispatchNamespace("ns1"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if s.open != nil {
		s.open(c)
	}
	return c
}

// try runs a trial.
func (c *court) try(t *testing.T, tr trial) {
	c.client.t = t
	rec, args := loadCommand(t, tr.recording)
	if tr.before != nil {
		tr.before(c)
	}
	if tr.args != nil {
		args = nil
		for _, a := range tr.args {
			args = append(args, os.Expand(a, func(name string) string {
				if c.notes[name] == "" {
					t.Fatalf("nobody noted %s", name)
				}
				return c.notes[name]
			}))
		}
	}
	c.last = c.serving(recWorker)
	c.w.ForgetRequests()
	faults := c.sabotage()
	var out string
	if tr.run != nil {
		out = tr.run(c, args)
	} else {
		out = c.wrangler(tr, args)
	}
	requests := c.w.Requests()
	c.w.ClearFaults()
	if want, got := wanted(rec), made(requests); !slices.Equal(want, got) {
		t.Errorf("wrangler %s made other calls than recorded:\n%s\n%s", strings.Join(args, " "), difference(want, got), out)
	}
	for _, id := range faults {
		if !slices.ContainsFunc(requests, func(r sim.Request) bool { return r.Fault == id }) {
			t.Errorf("fault rule %d met no call", id)
		}
	}
	if tr.check != nil {
		tr.check(c, out)
	}
	if t.Failed() {
		t.Logf("wrangler %s\n%s", strings.Join(args, " "), out)
	}
}

// wrangler runs the tool to its end, which must be exit code 0, and returns what it printed.
func (c *court) wrangler(tr trial, args []string) string {
	c.t.Helper()
	cmd := c.tool.command(c.t, c.dir, c.home, c.w.URL, tr.env, args...)
	cmd.Stdin = strings.NewReader(tr.stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := error(nil)
	if tr.terminal {
		err = runOnTerminal(c.t, cmd, &out)
	} else {
		err = cmd.Run()
	}
	if err != nil {
		var asked strings.Builder
		for _, r := range c.w.Requests() {
			fmt.Fprintf(&asked, "\t%s %s %d\n", r.Method, r.Path, r.Status)
		}
		c.w.ClearFaults()
		c.t.Fatalf("wrangler %s: %v\n%s\ncalls:\n%s", strings.Join(args, " "), err, out.String(), asked.String())
	}
	return out.String()
}

// difference shows two lists side by side where they part.
func difference(want, got []string) string {
	i := 0
	for i < min(len(want), len(got)) && want[i] == got[i] {
		i++
	}
	return fmt.Sprintf("the first %d agree\nrecorded:\n\t%s\nmade:\n\t%s", i, strings.Join(want[i:], "\n\t"), strings.Join(got[i:], "\n\t"))
}

// fault adds a rule for the run that is being prepared; calls of the preparation do not meet it.
func (c *court) fault(r sim.Rule) { c.rules = append(c.rules, r) }

// sabotage puts the rules in force and returns their numbers.
func (c *court) sabotage() []int {
	c.t.Helper()
	var numbers []int
	for _, r := range c.rules {
		n, err := c.w.Fault(r)
		if err != nil {
			c.t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	c.rules = nil
	return numbers
}

// put makes a Worker, or replaces its code, as wrangler's upload does; more is merged over the metadata.
func (c *court) put(worker string, bindings []any, more map[string]any) {
	c.t.Helper()
	c.upload("PUT", worker, bindings, more, "User-Agent", "wrangler/4.164.0")
}

const judgedCode = "export default { async fetch() {}, async scheduled() {} }; export class Named {}; export class Other {}\n"

func (c *court) upload(method, worker string, bindings []any, more map[string]any, header ...string) *answer {
	c.t.Helper()
	meta := map[string]any{"main_module": "index.js", "bindings": emptyList(bindings), "compatibility_date": "2026-06-01"}
	maps.Copy(meta, more)
	path := "/accounts/" + recAccount + "/workers/scripts/" + worker
	if method == "POST" {
		path += "/versions"
	}
	return c.ok(method, path, newForm(c.t, meta, part{"index.js", module, judgedCode}), header...)
}

// remove deletes helm-swicked if it is there.
func (c *court) remove() {
	c.t.Helper()
	if c.serving(recWorker) != "" {
		c.ok("DELETE", judgedWorker+"?force=true", nil)
	}
}

// sampleBindings are what wrangler.jsonc binds in env swicked.
func sampleBindings() []any {
	return []any{
		binding("ENVIRONMENT", "plain_text", "text", "swicked"),
		binding("FLAGS", "json", "json", map[string]any{"beta": true, "list": []any{1, 2}}),
		binding("KV", "kv_namespace", "namespace_id", recKV),
		binding("ASSETS_BUCKET", "r2_bucket", "bucket_name", "helm-swicked-assets"),
		binding("DB", "d1", "id", recD1),
	}
}

// live makes helm-swicked as a deploy of wrangler.jsonc leaves it, but for its hostname and crons.
func (c *court) live() {
	c.t.Helper()
	c.put(recWorker, sampleBindings(), nil)
	c.ok("PATCH", judgedWorker+"/script-settings", map[string]any{"tags": []string{"cf:service=helm", "cf:environment=swicked"}})
}

// serving is the version that serves most of a Worker, "" when there is no such Worker.
func (c *court) serving(worker string) string {
	c.t.Helper()
	a, err := c.send(c.raw, "GET", "/accounts/"+recAccount+"/workers/scripts/"+worker+"/deployments", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return a.text("deployments.0.versions.0.version_id")
}

// absent requires that there is no such Worker.
func (c *court) absent(worker string) {
	c.t.Helper()
	if v := c.serving(worker); v != "" {
		c.t.Errorf("version %s of %s serves", v, worker)
	}
}

// shares are what serves helm-swicked: version → percent.
func (c *court) shares() map[string]float64 {
	c.t.Helper()
	out := map[string]float64{}
	list, _ := c.ok("GET", judgedWorker+"/deployments", nil).get("deployments.0.versions").([]any)
	for _, x := range list {
		v := x.(map[string]any)
		out[v["version_id"].(string)] = v["percentage"].(float64)
	}
	return out
}

// serves requires that one version serves all of helm-swicked.
func (c *court) serves(version string) {
	c.t.Helper()
	if got := c.shares(); len(got) != 1 || got[version] != 100 {
		c.t.Errorf("%v serve, want %s alone", got, version)
	}
}

// released requires that helm-swicked is served by another version than before the run, and by one that the sample project
// describes: its bindings, crons and hostname.
func (c *court) released() {
	c.t.Helper()
	if now := c.serving(recWorker); now == "" || now == c.last {
		c.t.Errorf("version %q serves after the deploy, %q before", now, c.last)
	}
	c.binds(recWorker, "ASSETS_BUCKET=r2_bucket helm-swicked-assets", "DB=d1 "+recD1, "ENVIRONMENT=plain_text swicked", "FLAGS=json", "KV=kv_namespace "+recKV)
	c.triggers(recWorker, []string{"*/5 * * * *", "0 3 * * *", "0 0 1 * *"}, []string{recHostname})
}

// binds requires the bindings of a Worker, each written as name=type and what identifies its resource.
func (c *court) binds(worker string, want ...string) {
	c.t.Helper()
	var got []string
	list, _ := c.ok("GET", "/accounts/"+recAccount+"/workers/scripts/"+worker+"/settings", nil).get("bindings").([]any)
	for _, x := range list {
		b := x.(map[string]any)
		text := fmt.Sprintf("%s=%s", b["name"], b["type"])
		for _, field := range []string{"text", "namespace_id", "bucket_name", "id", "class_name", "queue_name", "service"} {
			if v, ok := b[field].(string); ok && v != "" {
				text += " " + v
				break
			}
		}
		got = append(got, text)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		c.t.Errorf("%s binds\n\t%s\nwant\n\t%s", worker, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// triggers requires the crons and custom domains of a Worker.
func (c *court) triggers(worker string, crons, hostnames []string) {
	c.t.Helper()
	if got := c.crons(worker); !slices.Equal(got, slices.Sorted(slices.Values(crons))) {
		c.t.Errorf("%s has crons %q, want %q", worker, got, crons)
	}
	if got := c.hostnames(worker); !slices.Equal(got, slices.Sorted(slices.Values(hostnames))) {
		c.t.Errorf("%s has hostnames %q, want %q", worker, got, hostnames)
	}
}

func (c *court) crons(worker string) []string {
	return c.column("/accounts/"+recAccount+"/workers/scripts/"+worker+"/schedules", "schedules", "cron")
}

func (c *court) hostnames(worker string) []string {
	return c.column("/accounts/"+recAccount+"/workers/domains?service="+worker, "", "hostname")
}

// column reads one field of each element of a list in a result, sorted.
func (c *court) column(path, list, field string) []string {
	c.t.Helper()
	a := c.ok("GET", path, nil)
	rows, _ := a.Result.([]any)
	if list != "" {
		rows, _ = a.get(list).([]any)
	}
	var out []string
	for _, x := range rows {
		out = append(out, fmt.Sprint(x.(map[string]any)[field]))
	}
	slices.Sort(out)
	return out
}

// has requires that the column of a list holds the values.
func (c *court) has(path, list, field string, want ...string) {
	c.t.Helper()
	got := c.column(path, list, field)
	for _, w := range want {
		if !slices.Contains(got, w) {
			c.t.Errorf("GET %s: %s are %q, without %q", path, field, got, w)
		}
	}
}

// lacks requires that the column of a list does not hold the value.
func (c *court) lacks(path, list, field, unwanted string) {
	c.t.Helper()
	if got := c.column(path, list, field); slices.Contains(got, unwanted) {
		c.t.Errorf("GET %s: %s are %q, with %q", path, field, got, unwanted)
	}
}

// visit asks the edge for a page.
func (c *court) visit(host, path string) (string, error) {
	req, err := http.NewRequestWithContext(c.t.Context(), "GET", c.w.Edge+path, nil)
	if err != nil {
		return "", err
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// ledger requires the names in a database's table of migrations, in order.
func (c *court) ledger(db string, want ...string) {
	c.t.Helper()
	if got := c.query(db, "SELECT name FROM d1_migrations ORDER BY id"); !slices.Equal(got, want) {
		c.t.Errorf("the ledger has %q, want %q", got, want)
	}
}

// query runs SQL in a database and returns the first column of the last result as text.
func (c *court) query(db, sql string) []string {
	c.t.Helper()
	a := c.ok("POST", judgedD1+"/"+db+"/query", map[string]any{"sql": sql})
	rows, _ := a.get(fmt.Sprintf("%d.results", a.len("")-1)).([]any)
	var out []string
	for _, x := range rows {
		for _, v := range x.(map[string]any) {
			out = append(out, fmt.Sprint(v))
		}
	}
	return out
}

// prints requires that wrangler said something.
func (c *court) prints(out string, want ...string) {
	c.t.Helper()
	for _, w := range want {
		if !strings.Contains(out, w) {
			c.t.Errorf("wrangler did not print %q", w)
		}
	}
}

// omits requires that a text does not have something.
func (c *court) omits(text string, unwanted ...string) {
	c.t.Helper()
	for _, u := range unwanted {
		if strings.Contains(text, u) {
			c.t.Errorf("%q is in\n%s", u, text)
		}
	}
}

// read returns a file of the project's directory.
func (c *court) read(name string) string {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil {
		c.t.Error(err)
	}
	return string(b)
}

// drain copies what a terminal shows until its last holder closes it; a terminal then answers with an error of its own.
func drain(dst io.Writer, terminal io.Reader) {
	if _, err := io.Copy(dst, terminal); err != nil && !errors.As(err, new(*os.PathError)) {
		fmt.Fprintln(dst, err)
	}
}
