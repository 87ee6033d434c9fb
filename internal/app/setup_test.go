package app

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/command"
	"github.com/kvick/shopfleet/internal/github"
)

// run is the program with a verb of this package.
func run(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	d := &command.Door{Args: args, Getenv: func(name string) string { return env[name] }, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Dir: t.TempDir(), Version: "test"}
	code = command.Run(t.Context(), d, Commands(d)...)
	return code, out.String(), errs.String()
}

func TestManifest(t *testing.T) {
	code, out, why := run(t, nil, "app", "manifest", "--url", "https://shops.example.com/", "--name", "acme shops")
	if code != 0 {
		t.Fatal(code, why)
	}
	var m struct {
		Name, URL   string
		Redirect    *string              `json:"redirect_url"`
		Hook        struct{ URL string } `json:"hook_attributes"`
		Callbacks   []string             `json:"callback_urls"`
		Public      bool
		Permissions map[string]string `json:"default_permissions"`
		Events      []string          `json:"default_events"`
	}
	if err := json.Unmarshal([]byte(out), &m); err != nil {
		t.Fatal(err)
	}
	if m.Name != "acme shops" || m.URL != "https://shops.example.com" || m.Hook.URL != "https://shops.example.com/webhook" || m.Public || m.Redirect != nil || fmt.Sprint(m.Callbacks) != "[https://shops.example.com/sign-in/callback]" {
		t.Errorf("%+v", m)
	}
	want := "map[actions:write administration:write checks:write contents:write deployments:write issues:write metadata:read pull_requests:write statuses:read workflows:write]"
	if got := fmt.Sprint(m.Permissions); got != want {
		t.Errorf("it may %s, want %s", got, want)
	}
	for name := range m.Permissions {
		if !regexp.MustCompile(`(?m)^` + name + `: (read|write): \S.{20}`).MatchString(why) {
			t.Errorf("it is not said why it may %s", name)
		}
	}
	for _, e := range m.Events {
		if !strings.Contains(why, "event "+e+": ") || classOf(e, "created")+classOf(e, "opened")+classOf(e, "requested_action") == ignored {
			t.Errorf("it is not said why it is told of %s, or nothing is done about it", e)
		}
	}
	if _, out, _ := run(t, nil, "app", "manifest", "--url", "https://a.example", "--onboard=false"); strings.Contains(out, "administration") {
		t.Errorf("without onboarding: %s", out)
	}
	for _, flag := range []string{"--rebase=false", "--teams"} {
		_, out, _ := run(t, nil, "app", "manifest", "--url", "https://a.example", flag)
		if strings.Contains(out, "workflows") != (flag == "--teams") || strings.Contains(out, "members") != (flag == "--teams") {
			t.Errorf("%s: %s", flag, out)
		}
	}
	for _, bad := range []string{"", "shops.example.com", "http://shops.example.com", "https://u:p@a.example", "https://a.example/?x=1", "https://a.example/#x", "javascript:alert(1)", "https://"} {
		if code, out, _ := run(t, nil, "app", "manifest", "--url", bad); code != command.ExitUsage || out != "" {
			t.Errorf("--url %q: exit code %d, %s", bad, code, out)
		}
	}
}

// page is a setup whose page is shown.
type page struct {
	*setup
	printed *lines
	done    chan error
}

func newPage(t *testing.T, o ManifestOptions, org string, convert func(context.Context, string) (github.NewApp, error)) *page {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &page{printed: &lines{}, done: make(chan error, 1)}
	p.setup = &setup{
		manifest: o, owner: org, github: "https://github.com", self: "http://" + l.Addr().String(), state: newState(), finished: make(chan error, 1),
		convert: convert, made: func(a github.NewApp) error { return printApp(p.printed, a, "acme/helm") }, complain: func(err error) { fmt.Fprintln(p.printed, err) },
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() { p.done <- p.serve(ctx, l) }()
	return p
}

func (p *page) get(t *testing.T, path string) (int, string, http.Header) {
	t.Helper()
	resp, err := http.Get(p.self + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), resp.Header
}

var registered = github.NewApp{
	ID: 7, Slug: "acme-shops", ClientID: "Iv1", HTMLURL: "https://github.com/apps/acme-shops", ClientSecret: "client-secret", WebhookSecret: "hook-secret",
	PrivKey: "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n",
}

func TestSetup(t *testing.T) {
	codes := []string{}
	p := newPage(t, ManifestOptions{URL: "https://shops.example.com", Name: "acme shops"}, "acme", func(_ context.Context, code string) (github.NewApp, error) {
		codes = append(codes, code)
		if code == "stale" {
			return github.NewApp{}, fmt.Errorf("<GitHub> does not know %s", "it")
		}
		return registered, nil
	})
	status, text, header := p.get(t, "/")
	if status != 200 {
		t.Fatal(status, text)
	}
	if csp := header.Get("Content-Security-Policy"); csp != "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action https://github.com" {
		t.Error(csp)
	}
	action := html.UnescapeString(regexp.MustCompile(`action="([^"]*)"`).FindStringSubmatch(text)[1])
	u, err := url.Parse(action)
	if err != nil || !strings.HasPrefix(action, "https://github.com/organizations/acme/settings/apps/new?") || len(u.Query().Get("state")) < 20 {
		t.Errorf("the form goes to %s", action)
	}
	state := u.Query().Get("state")
	manifest := html.UnescapeString(regexp.MustCompile(`name="manifest" value="([^"]*)"`).FindStringSubmatch(text)[1])
	var m map[string]any
	if err := json.Unmarshal([]byte(manifest), &m); err != nil || m["redirect_url"] != p.self+"/callback" {
		t.Errorf("%v: %s", err, manifest)
	}
	for _, bad := range []string{"", "?code=abc", "?code=abc&state=", "?code=abc&state=" + strings.ToLower(state), "?state=" + state, "?code=a/../b&state=" + state, "?code=" + strings.Repeat("a", 300) + "&state=" + state} {
		if status, text, _ := p.get(t, "/callback"+bad); status/100 != 4 || len(codes) > 0 || bad != "" && strings.Contains(text, "abc") {
			t.Errorf("%q: %d %s", bad, status, text)
		}
	}
	if status, text, _ := p.get(t, "/callback?code=stale&state="+state); status != 502 || strings.Contains(text, "does not know") {
		t.Error(status, text)
	}
	status, text, header = p.get(t, "/callback?code=abc&state="+state)
	if status != 200 || !strings.Contains(text, `href="https://github.com/apps/acme-shops/installations/new"`) || header.Get("Cache-Control") != "no-store" {
		t.Error(status, text)
	}
	if err := <-p.done; err != nil {
		t.Error(err)
	}
	printed := p.printed.String()
	for _, part := range []string{
		"gh variable set SHOPFLEET_APP_ID --repo acme/helm --body 7\n", "gh secret set SHOPFLEET_APP_PRIVATE_KEY --repo acme/helm <<'KEY'\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END",
		"SHOPFLEET_WEBHOOK_SECRET=hook-secret\n", `SHOPFLEET_APP_PRIVATE_KEY=-----BEGIN RSA PRIVATE KEY-----\nMIIE\n`,
		"SHOPFLEET_APP_CLIENT_ID=Iv1\n", "SHOPFLEET_APP_CLIENT_SECRET=client-secret\n",
	} {
		if strings.Count(printed, part) != 1 {
			t.Errorf("%q is not printed once:\n%s", part, printed)
		}
	}
	if strings.Contains(text, "hook-secret") || strings.Contains(text, "MIIE") || strings.Contains(text, "client-secret") {
		t.Error("a secret is where it is not needed")
	}
	if fmt.Sprint(codes) != "[stale abc]" {
		t.Error(codes)
	}
}

// TestSetupPageIsEscaped puts what is not a name where names are: the checks of the flags are not what the page relies on.
func TestSetupPageIsEscaped(t *testing.T) {
	p := newPage(t, ManifestOptions{URL: "https://a.example/'\"><script>alert(1)</script>"}, `"><script>alert(2)</script>`, nil)
	if _, text, _ := p.get(t, "/"); strings.Contains(text, "<script") {
		t.Error(text)
	}
	// A name that was made to point here is not let in.
	req, _ := http.NewRequest("GET", p.self+"/", nil)
	req.Host = "evil.example"
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusMisdirectedRequest || strings.Contains(string(b), p.state) {
		t.Error(resp.StatusCode, string(b))
	}
}

func TestServeIsRefused(t *testing.T) {
	pair, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(pair)}))
	good := map[string]string{"GITHUB_REPOSITORY": "acme/helm", "SHOPFLEET_APP_ID": "1", "SHOPFLEET_APP_PRIVATE_KEY": key, "SHOPFLEET_WEBHOOK_SECRET": secret}
	for _, test := range []struct {
		name, value string
		args        []string
		want        string
	}{
		{"SHOPFLEET_WEBHOOK_SECRET", "", nil, "SHOPFLEET_WEBHOOK_SECRET is not set"},
		{"SHOPFLEET_WEBHOOK_SECRET", "  ", nil, "SHOPFLEET_WEBHOOK_SECRET is not set"},
		{"SHOPFLEET_APP_ID", "", nil, "SHOPFLEET_APP_ID is not set"},
		{"SHOPFLEET_APP_PRIVATE_KEY", "", nil, "SHOPFLEET_APP_PRIVATE_KEY is not set"},
		{"SHOPFLEET_APP_PRIVATE_KEY", "key", nil, "is not an RSA key in PEM form"},
		{"SHOPFLEET_APP_ID", "1 2", nil, "the App's id is missing or not one"},
		{"GITHUB_REPOSITORY", "", nil, `GITHUB_REPOSITORY is ""`},
		{"GITHUB_REPOSITORY", "acme/helm/x", nil, `GITHUB_REPOSITORY is`},
		{"SHOPFLEET_APP_INSTALLATION_ID", "x", nil, "no installation's id"},
		{"X", "", []string{"--every", "1s"}, "--every"},
		{"X", "", []string{"--drain", "-1s"}, "--drain"},
		{"X", "", []string{"--listen", "127.0.0.1:99999"}, "listening on"},
		{"X", "", []string{"now"}, "no arguments"},
	} {
		env := map[string]string{test.name: test.value}
		for k, v := range good {
			if _, ok := env[k]; !ok {
				env[k] = v
			}
		}
		if code, _, errs := run(t, env, append([]string{"serve"}, test.args...)...); code != command.ExitUsage || !strings.Contains(errs, test.want) || strings.Contains(errs, secret) {
			t.Errorf("%s=%q %v: exit code %d, %s", test.name, test.value, test.args, code, errs)
		}
	}
	if code, _, _ := run(t, nil, "app", "setup", "--url", "https://a.example", "--listen", "0.0.0.0:0"); code != command.ExitUsage {
		t.Error("the page is shown to others")
	}
}
