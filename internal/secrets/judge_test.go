package secrets

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// askWrangler has the real wrangler read a secrets file, and returns the secrets that it would upload.
func askWrangler(t *testing.T, src []byte) map[string]string {
	t.Helper()
	dir := os.Getenv("SHOPFLEET_JUDGE_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "testdata", "judge")
	}
	modules, err := filepath.Abs(filepath.Join(dir, "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	node, script := filepath.Join(modules, ".bin", "node"), filepath.Join(modules, "wrangler", "bin", "wrangler.js")
	for _, file := range []string{node, script} {
		if _, err := os.Stat(file); err != nil {
			if os.Getenv("SHOPFLEET_JUDGES") == "require" {
				t.Fatalf("the real wrangler is not installed: run npm ci in testdata/judge (%v)", err)
			}
			t.Skipf("the real wrangler is not installed: run npm ci in testdata/judge (%v)", err)
		}
	}
	offline, err := filepath.Abs(filepath.Join("..", "wrangler", "testdata", "config", "offline.cjs"))
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	for name, content := range map[string]string{
		"wrangler.jsonc": `{"name": "shop", "main": "index.js", "compatibility_date": "2026-06-01"}`,
		"index.js":       "export default {}", "secrets.env": string(src),
	} {
		if err := os.WriteFile(filepath.Join(work, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), node, script, "deploy", "--dry-run", "--outfile", "form", "--secrets-file", "secrets.env")
	cmd.Dir = work
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + work, "CI=true", "NO_COLOR=1", "WRANGLER_SEND_METRICS=false", "DO_NOT_TRACK=1",
		"WRANGLER_LOG_PATH=" + filepath.Join(work, "logs"), `NODE_OPTIONS=--require="` + filepath.ToSlash(offline) + `"`,
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("wrangler: %v\n%s", err, out)
	}
	form, err := os.ReadFile(filepath.Join(work, "form"))
	if err != nil {
		t.Fatal(err)
	}
	var meta struct {
		Bindings []struct{ Name, Type, Text string }
	}
	part := regexp.MustCompile(`(?s)name="metadata"\r\n\r\n(.*?)\r\n--`).FindSubmatch(form)
	if part == nil || json.Unmarshal(part[1], &meta) != nil {
		t.Fatalf("the form has no metadata:\n%s", form)
	}
	out := map[string]string{}
	for _, b := range meta.Bindings {
		if b.Type == "secret_text" {
			out[b.Name] = b.Text
		}
	}
	return out
}

// What is taken is read as wrangler reads it, and so is what is written.
func TestWranglerReadsTheSame(t *testing.T) {
	for what, src := range map[string][]byte{
		"dotenv": []byte("# shop\nA=1\n\n export B = two words  # note\r\nC='x # y'\nD=\"a\\nb\\r\"\nE=`it's \"so\"`\nF=pa$$9$\nG=b64==\nH=it's\nI='two\nlines'\nJ=\"$.{X}\"\nK='back\\slash'\nL=\"#\"\n"),
		"JSON":   []byte(`{"A": "1", "B": "x\ny", "C": "it's \"so\""}`),
		"ours": Text(Bundle{"A": "plain", "B": "two words", "C": "it's", "D": `"`, "E": "a\nb", "F": "it's\r\n", "G": "US$9", "H": `back\slash`, "I": " spaces ", "J": "`", "K": "a#b", "L": "==",
			"M": "-----BEGIN KEY-----\nMIIE\n-----END KEY-----\n"}),
		"ours in JSON": Text(Bundle{"A": `ends in \`, "B": `it's "so" $X`, "C": wrangler.Secret("\r'\"`")}),
	} {
		t.Run(what, func(t *testing.T) {
			b, err := Parse(src)
			if err != nil {
				t.Fatal(err)
			}
			if want := askWrangler(t, src); !maps.Equal(reveal(b), want) {
				t.Errorf("read\n%q\nwrangler reads\n%q", reveal(b), want)
			}
		})
	}
}

// The age that people have opens what we seal, and we open what it seals, armored or not.
func TestAgeOpensTheSame(t *testing.T) {
	command, err := exec.LookPath("age")
	if err != nil {
		t.Skipf("age is not installed, so it is not asked (%v); apt-get install age", err)
	}
	identity, recipient := newIdentity(t)
	dir := t.TempDir()
	key, file := filepath.Join(dir, "key.txt"), filepath.Join(dir, "secrets.env.age")
	write := func(name string, content []byte) {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) []byte {
		out, err := exec.CommandContext(t.Context(), command, args...).Output()
		if err != nil {
			t.Fatalf("age %q: %v", args, err)
		}
		return out
	}
	b := Bundle{"A": "it's", "B": "two\nlines", "C": "plain"}
	sealed, err := Seal(b, []string{recipient})
	if err != nil {
		t.Fatal(err)
	}
	write(key, []byte(identity+"\n"))
	write(file, sealed)
	if got := run("--decrypt", "--identity", key, file); string(got) != string(Text(b)) {
		t.Errorf("age reads %q", got)
	}
	write(file, Text(b))
	for _, more := range [][]string{nil, {"--armor"}} {
		sealed := run(append([]string{"--encrypt", "--recipient", recipient}, append(more, file)...)...)
		if got, err := Open(sealed, identity); err != nil || !maps.Equal(reveal(got), reveal(b)) {
			t.Errorf("sealed by age with %q: %q, %v", more, got.Names(), err)
		}
	}
}
