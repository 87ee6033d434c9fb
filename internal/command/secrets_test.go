package command

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/secrets"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// vault is a repository with a shop, and a key for its bundle.
type vault struct {
	dir, identity string
	env           map[string]string
	asks          bool
	stdin         *os.File
}

func newVault(t *testing.T) *vault {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	v := &vault{dir: t.TempDir(), identity: id.String()}
	v.env = map[string]string{"SHOPFLEET_AGE_KEY": v.identity, "PATH": os.Getenv("PATH"), "TMPDIR": t.TempDir(), "XDG_RUNTIME_DIR": t.TempDir()}
	repo, err := git.Init(t.Context(), v.dir)
	if err != nil {
		t.Fatal(err)
	}
	policy := officePolicy + "\nsecrets:\n  required: [A]\n  optional: [B]\n  recipients: [" + id.Recipient().String() + "]\n"
	_, err = repo.Write(t.Context(),
		git.Draft{Branch: "main", Message: "main", Files: map[string][]byte{"fleet.yml": []byte(policy)}},
		git.Draft{Branch: "shops/swicked", From: "main", Message: "a shop", Files: map[string][]byte{"wrangler.jsonc": []byte("{}\n")}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (v *vault) run(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	var out bytes.Buffer
	d := &Door{Args: args, Getenv: func(n string) string { return v.env[n] }, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Dir: v.dir, Now: time.Now, Asks: v.asks}
	if v.stdin != nil {
		d.Stdin = v.stdin
	}
	code = Run(t.Context(), d)
	return code, out.String()
}

// bundle is what the shop's branch has now.
func (v *vault) bundle(t *testing.T) secrets.Bundle {
	t.Helper()
	repo, err := git.Open(t.Context(), v.dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := repo.Branch(t.Context(), "shops/swicked")
	if err != nil {
		t.Fatal(err)
	}
	files, err := repo.Files(t.Context(), "shop-overrides/secrets.env.age", b.Local)
	if err != nil {
		t.Fatal(err)
	}
	if errors.Is(files[0].Err, fs.ErrNotExist) {
		return nil
	}
	open, err := secrets.Open(files[0].Data, v.identity)
	if err != nil {
		t.Fatal(err)
	}
	return open
}

// Who made a mistake in the editor goes back to it, with what was written; nothing of it stays on the disk.
func TestEditAgain(t *testing.T) {
	v := newVault(t)
	editor := filepath.Join(t.TempDir(), "editor")
	// The first time it writes a name that the fleet does not have, the second time a right one; it notes what it saw.
	script := "#!/bin/sh\nls -l \"$1\" >> " + editor + ".saw\nif grep -q WRONG \"$1\"; then sed -i.orig s/WRONG/A/ \"$1\"; else echo WRONG=s3cr3t >> \"$1\"; fi\n"
	if err := os.WriteFile(editor, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	v.env["EDITOR"] = editor
	if code, said := v.run(t, "secrets", "edit", "swicked"); code != ExitFindings || !strings.Contains(said, "secret-not-declared") || v.bundle(t) != nil {
		t.Errorf("where nobody can be asked: %d %s", code, said)
	}
	for _, answer := range []string{"n\n", "\n"} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, answer)
		w.Close()
		v.asks, v.stdin = true, r
		code, said := v.run(t, "secrets", "edit", "swicked")
		r.Close()
		if !strings.Contains(said, "Edit again? [Y/n]") || strings.Contains(said, "s3cr3t") {
			t.Errorf("said %s", said)
		}
		if yes := answer == "\n"; yes != (code == ExitDone) || yes != (v.bundle(t)["A"] == "s3cr3t") {
			t.Errorf("after %q: %d %v", answer, code, v.bundle(t).Names())
		}
	}
	saw, err := os.ReadFile(editor + ".saw")
	if err != nil || strings.Count(string(saw), "-rw-------") != 4 {
		t.Errorf("the editor saw %s %v", saw, err)
	}
	for _, dir := range []string{v.env["TMPDIR"], v.env["XDG_RUNTIME_DIR"]} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%v was left in %s (%v)", left, dir, err)
		}
	}
}

func TestWipe(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	file, outside := filepath.Join(dir, "sub", "a"), filepath.Join(t.TempDir(), "kept")
	for _, name := range []string{file, outside} {
		if err := os.WriteFile(name, []byte("s3cr3t"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	// A second name of the file shows what became of its bytes.
	second := filepath.Join(t.TempDir(), "second")
	if err := os.Link(file, second); err != nil {
		t.Skip("no hard links here")
	}
	if err := wipe(dir); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(second); err != nil || string(b) != "\x00\x00\x00\x00\x00\x00" {
		t.Errorf("the bytes are %q %v", b, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory: %v", err)
	}
	if b, err := os.ReadFile(outside); err != nil || string(b) != "s3cr3t" {
		t.Errorf("what a link leads to became %q %v", b, err)
	}
}

func TestWaves(t *testing.T) {
	var all []string
	for i := range 20 {
		all = append(all, fmt.Sprintf("s%02d", i))
	}
	for _, test := range []struct {
		policy fleet.Waves
		shops  []string
		want   string
	}{
		{fleet.Waves{}, all[:3], "all shops: s00 s01 s02"},
		{fleet.Waves{Canaries: []string{"s01", "gone"}}, all[:3], "canaries: s01; the rest: s00 s02"},
		{fleet.Waves{Canaries: []string{"s01"}}, all[1:2], "canaries: s01"},
		{fleet.Waves{Canaries: []string{"s19"}, Percent: []int{10, 50}}, all, "canaries: s19; 10 %: s00; 50 %: s01 s02 s03 s04 s05 s06 s07 s08; the rest: s09 s10 s11 s12 s13 s14 s15 s16 s17 s18"},
		{fleet.Waves{Percent: []int{10, 100}}, all[:2], "10 %: s00; 100 %: s01"},
		{fleet.Waves{}, nil, ""},
	} {
		var got []string
		names, shops := waves(test.policy, test.shops)
		var each []string
		for i := range names {
			got = append(got, names[i]+": "+strings.Join(shops[i], " "))
			each = append(each, shops[i]...)
		}
		if text := strings.Join(got, "; "); text != test.want {
			t.Errorf("got  %s\nwant %s", text, test.want)
		}
		if slices.Sort(each); !slices.Equal(each, test.shops) && len(test.shops) > 0 {
			t.Errorf("of %q %q are in a wave", test.shops, each)
		}
	}
}

func TestSecretRows(t *testing.T) {
	v := newVault(t)
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	old := now.Add(-50 * 24 * time.Hour)
	print := func(name, value string) string {
		return secrets.Fingerprint(v.identity, "swicked", name, wrangler.Secret(value))
	}
	policy := fleet.Secrets{Required: []string{"LIVE", "CHANGED", "NEW", "GONE", "HAND"}, Optional: []string{"UNSET"}, About: []fleet.SecretAbout{{Name: "LIVE", Rotate: 30 * 24 * time.Hour}}}
	mark := func(name, value string) deploy.SecretMark {
		return deploy.SecretMark{Fingerprint: print(name, value), Since: old}
	}
	look := secretsLook{
		now: now, slug: "swicked", policy: policy, identity: v.identity,
		bundle: opened{there: true, bundle: secrets.Bundle{"LIVE": "a", "CHANGED": "b2", "NEW": "n", "EXTRA": "e"}},
		worker: []string{"CHANGED", "EXTRA", "HAND", "LIVE"},
		entry:  deploy.Release{Secrets: map[string]deploy.SecretMark{"LIVE": mark("LIVE", "a"), "CHANGED": mark("CHANGED", "b1"), "GONE": mark("GONE", "g")}},
	}
	states := func(l *secretsLook) string {
		var out []string
		for _, r := range l.rows() {
			s := r.Name + " " + r.State
			if r.Old {
				s += " old"
			}
			out = append(out, s)
		}
		return strings.Join(out, "; ")
	}
	if got, want := states(&look), "LIVE live old; CHANGED not deployed; NEW not deployed; GONE missing; HAND not in the bundle; UNSET not set; EXTRA present"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var found []string
	for _, f := range look.findings(look.rows()) {
		found = append(found, f.Rule+" "+f.Level+": "+f.Message)
	}
	if want := []string{"secret-old warning: the secret LIVE of swicked is 50 days old", "secret-missing error: swicked has no secret GONE"}; !slices.Equal(found, want) {
		t.Errorf("found %q", found)
	}
	closed := look
	closed.identity, closed.bundle = "", opened{there: true, err: secrets.ErrNoIdentity}
	if got, want := states(&closed), "LIVE present old; CHANGED present; NEW unknown; GONE unknown; HAND present; UNSET unknown; EXTRA present"; got != want {
		t.Errorf("closed: got  %s\nwant %s", got, want)
	}
	none := look
	none.bundle, none.entry = opened{}, deploy.Release{}
	if got, want := states(&none), "LIVE present; CHANGED present; NEW missing; GONE missing; HAND present; UNSET not set; EXTRA present"; got != want {
		t.Errorf("no bundle: got  %s\nwant %s", got, want)
	}
}
