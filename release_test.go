package shopfleet_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const releasedImage = "ghcr.io/kvick/shopfleet@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// source is a repository with action.yml and the release script, in which a
// release can be tried.
type source struct {
	t   *testing.T
	dir string
	env []string
}

func newSource(t *testing.T) source {
	t.Helper()
	for _, tool := range []string{"bash", "git", "sha256sum"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the release script needs %s, which is not installed", tool)
		}
	}
	s := source{t: t, dir: t.TempDir()}
	s.env = append(os.Environ(), "GITHUB_OUTPUT="+filepath.Join(s.dir, ".git", "output"), "GITHUB_REF=refs/heads/main",
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull)
	for _, name := range []string{"action.yml", "scripts/release.sh", "scripts/build-flags"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		s.write(name, string(content), 0o755)
	}
	s.run("git", "init", "--quiet", "--initial-branch=main")
	s.run("git", "add", ".")
	s.run("git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--quiet", "--message=first")
	return s
}

func (s source) write(name, content string, mode os.FileMode) {
	s.t.Helper()
	at := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(content), mode); err != nil {
		s.t.Fatal(err)
	}
}

func (s source) read(name string) string {
	s.t.Helper()
	content, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(content)
}

func (s source) try(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = s.dir, s.env
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (s source) run(name string, args ...string) string {
	s.t.Helper()
	out, err := s.try(name, args...)
	if err != nil {
		s.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return out
}

func (s source) release(args ...string) string {
	s.t.Helper()
	return s.run("bash", append([]string{"scripts/release.sh"}, args...)...)
}

// TestReleaseCommit: the tagged commit is main's, but for the one line of
// action.yml that names the image.
func TestReleaseCommit(t *testing.T) {
	s := newSource(t)
	before, main := s.read("action.yml"), s.run("git", "rev-parse", "HEAD")
	s.release("commit", "v1.2.3", releasedImage)

	want := strings.Replace(before, "\n  image: Dockerfile\n", "\n  image: docker://"+releasedImage+"\n", 1)
	if got := s.run("git", "show", "v1.2.3:action.yml"); got != strings.TrimSpace(want) || want == before {
		t.Errorf("action.yml of the release:\n%s", got)
	}
	if got := s.run("git", "rev-parse", "v1.2.3^{commit}^"); got != main {
		t.Errorf("the release's commit follows %s, want %s", got, main)
	}
	// Two jobs make the commit, and it has to be one.
	date := s.run("git", "show", "--no-patch", "--format=%cI", main)
	if got := s.run("git", "show", "--no-patch", "--format=%aI %cI", "v1.2.3^{commit}"); got != date+" "+date {
		t.Errorf("the release's commit is of %s, and the commit before it of %s", got, date)
	}
	if got := s.run("git", "diff", "--name-only", "HEAD^", "HEAD"); got != "action.yml" {
		t.Errorf("the release's commit changes %q", got)
	}
	if got := s.run("git", "status", "--porcelain"); got != "" {
		t.Errorf("left in the work tree: %q", got)
	}
	if got, want := s.read(".git/output"), "commit="+s.run("git", "rev-parse", "v1.2.3^{commit}")+"\n"; got != want {
		t.Errorf("outputs %q, want %q", got, want)
	}
	if out, err := s.try("bash", "scripts/release.sh", "commit", "v1.2.4", releasedImage); err == nil {
		t.Errorf("a second release on top of the first was made: %s", out)
	}
}

func TestReleaseVersion(t *testing.T) {
	s := newSource(t)
	for _, version := range []string{"v0.1.0", "v1.2.3", "v10.20.30-rc.1"} {
		s.release("version", version)
	}
	if got := s.read(".git/output"); got != "version=v0.1.0\nversion=v1.2.3\nversion=v10.20.30-rc.1\n" {
		t.Errorf("outputs %q", got)
	}
	s.run("git", "tag", "v1.2.3")
	for _, version := range []string{
		"v1.2.3", "1.2.4", "v1.2", "v01.2.3", "v1.2.3-", "latest", "", "v2.0.0\nversion=v3.0.0", "v2.0.0;id", "v2.0.0 --force", "v2.0.0+$(id)",
	} {
		if out, err := s.try("bash", "scripts/release.sh", "version", version); err == nil {
			t.Errorf("version %q was taken: %s", version, out)
		}
	}
	for _, image := range []string{"ghcr.io/kvick/shopfleet:v1", "ghcr.io/kvick/shopfleet@sha256:12", "a,b" + releasedImage, releasedImage + "\n"} {
		if out, err := s.try("bash", "scripts/release.sh", "commit", "v2.0.0", image); err == nil {
			t.Errorf("image %q was taken: %s", image, out)
		}
	}
	s.env = append(s.env, "GITHUB_REF=refs/heads/shops/swicked")
	if out, err := s.try("bash", "scripts/release.sh", "version", "v2.0.0"); err == nil {
		t.Errorf("a release from another branch than main: %s", out)
	}
}

// TestReleaseFiles: binaries carry the version and the commit that pins the
// action, and are summed.
func TestReleaseFiles(t *testing.T) {
	s := newSource(t)
	s.write("go", "#!/bin/sh\nfor last; do :; done\nwhile [ \"$1\" != -o ]; do echo \"$1\" >> \"$0.flags\"; shift; done\necho \"$GOOS $GOARCH $CGO_ENABLED $last\" > \"$2\"\n", 0o755)
	s.env = append(s.env, "GO="+filepath.Join(s.dir, "go"))
	s.release("binaries", "v1.2.3", "dist")
	s.release("checksums", "dist")

	if want := "-X main.version=v1.2.3 -X main.commit=" + s.run("git", "rev-parse", "HEAD"); !strings.Contains(s.read("go.flags"), want) {
		t.Errorf("the linker was not told %q:\n%s", want, s.read("go.flags"))
	}
	if got := s.read("dist/shopfleet-windows-arm64.exe"); got != "windows arm64 0 ./cmd/shopfleet\n" {
		t.Errorf("windows/arm64 was built as %q", got)
	}
	if got := strings.Count(s.read("dist/checksums.txt"), "shopfleet-"); got != 6 {
		t.Errorf("checksums.txt has %d binaries:\n%s", got, s.read("dist/checksums.txt"))
	}
	if out, err := exec.Command("bash", "-c", "cd '"+s.dir+"/dist' && sha256sum --check --quiet checksums.txt").CombinedOutput(); err != nil {
		t.Errorf("checksums.txt: %v\n%s", err, out)
	}
}

// TestReleasePublish: the tag is pushed before anything is shown, the release is
// complete before it is public, and the token is in no argument.
func TestReleasePublish(t *testing.T) {
	s := newSource(t)
	s.run("git", "init", "--quiet", "--bare", ".git/origin")
	s.run("git", "remote", "add", "origin", filepath.Join(s.dir, ".git", "origin"))
	s.write(".git/bin/gh", "#!/bin/sh\nprintf '%s|' \"$@\" >> \"$GH_CALLS\"\necho >> \"$GH_CALLS\"\n", 0o755)
	s.env = append(s.env, "GH_CALLS="+filepath.Join(s.dir, ".git", "calls"), "GH_TOKEN=ghs_secret",
		"PATH="+filepath.Join(s.dir, ".git", "bin")+string(filepath.ListSeparator)+os.Getenv("PATH"))
	s.write("dist/checksums.txt", "", 0o644)
	s.release("commit", "v1.2.3-rc.1", releasedImage)
	s.release("publish", "v1.2.3-rc.1", "dist", releasedImage)

	commit := s.run("git", "rev-parse", "HEAD")
	if got := s.run("git", "--git-dir", ".git/origin", "rev-parse", "v1.2.3-rc.1^{commit}"); got != commit {
		t.Errorf("origin's tag is at %s, want %s", got, commit)
	}
	calls := s.read(".git/calls")
	create, edit, _ := strings.Cut(calls, "release|edit|")
	for _, want := range []string{"release|create|v1.2.3-rc.1|", "|--draft|", "|--verify-tag|", "|--prerelease|", commit, releasedImage, "dist/checksums.txt|"} {
		if !strings.Contains(create, want) {
			t.Errorf("the release was made without %q: %s", want, create)
		}
	}
	if edit != "v1.2.3-rc.1|--draft=false|\n" {
		t.Errorf("the draft was published with %q", edit)
	}
	if strings.Contains(calls, "ghs_secret") {
		t.Error("the token is in an argument")
	}
}
