package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRebaseWithoutGitHubByHand runs the first look of docs/rebase.md, as it is written, in an empty directory.
func TestRebaseWithoutGitHubByHand(t *testing.T) {
	byHand(t, "docs/rebase.md", "To see all of it before, without GitHub: in a clone of shopfleet the simulator plays one.", 1,
		"nothing was written", "pushed: 2 rebase branches", "open: 2 pull requests", "before in backup/swicked/", "waits for: ")
}

// TestRebaseByHand runs the blocks of docs/rebase.md that a person types with git alone, in a clone beside a real origin.
func TestRebaseByHand(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("the steps of docs/rebase.md need bash, which is not installed")
	}
	page, err := os.ReadFile("../../docs/rebase.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(after string) string {
		t.Helper()
		_, rest, _ := strings.Cut(string(page), after)
		found := regexp.MustCompile("(?s)```sh\n(.*?)```").FindStringSubmatch(rest)
		if found == nil {
			t.Fatalf("docs/rebase.md has no steps after %q", after)
		}
		return found[1]
	}
	top := t.TempDir()
	editor := filepath.Join(top, "editor") // takes the marks and main's side out
	if err := os.WriteFile(editor, []byte("#!/bin/sh\nsed -i '/^[<=>]\\{7\\}/d; /^main$/d' \"$1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	clone := filepath.Join(top, "clone")
	sh := func(dir, script string) string {
		t.Helper()
		cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
		cmd.Dir = dir
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + top, "GIT_CONFIG_NOSYSTEM=1", "EDITOR=" + editor,
			"GIT_AUTHOR_NAME=kay", "GIT_AUTHOR_EMAIL=kay@example.invalid", "GIT_COMMITTER_NAME=kay", "GIT_COMMITTER_EMAIL=kay@example.invalid",
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s\n%v\n%s", script, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	commit := func(file, text, message string) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(clone, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(clone, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		sh(clone, "git add -A && git commit --quiet -m '"+message+"'")
		return sh(clone, "git rev-parse HEAD")
	}
	origin := func(branch string) string {
		t.Helper()
		return sh(top, "git -C origin.git rev-parse refs/heads/"+branch)
	}
	const theme = "shop-overrides/theme.json"
	sh(top, "git init --quiet --bare -b main origin.git && git clone --quiet origin.git clone 2>/dev/null")
	commit("code.ts", "one\n", "the code")
	sh(clone, "git switch --quiet -c shops/swicked")
	before := commit(theme, "green\n", "a theme")
	sh(clone, "git switch --quiet main")
	oldMain := commit("code.ts", "two\n", "more code")
	sh(clone, "git switch --quiet -c landed main && git cherry-pick shops/swicked >/dev/null")
	landed := sh(clone, "git rev-parse HEAD")
	// It landed twice; the newer backup is the one to go back to.
	sh(clone, "git push --quiet origin main landed:shops/swicked main:backup/swicked/20261123T060000Z-aaaaaaaaaaaa "+
		before+":refs/heads/backup/swicked/20261130T060000Z-"+before[:12])

	said := sh(clone, block("## Taking a landing back"))
	if got := origin("shops/swicked"); got != before {
		t.Errorf("the branch is at %s, want %s\n%s", got, before, said)
	}
	if !strings.Contains(said, "backup/swicked/20261130T060000Z-"+before[:12]) {
		t.Errorf("the backups are not listed:\n%s", said)
	}

	// A conflict, resolved in a clone.
	sh(clone, "git switch --quiet -c conflict main")
	marked := commit(theme, "<<<<<<< main\nmain\n=======\ngreen\n>>>>>>> shops/swicked\n", "a theme")
	sh(clone, "git push --quiet origin conflict:rebase/swicked")
	sh(clone, block("With git, in a clone:"))
	if got := sh(top, "git -C origin.git show rebase/swicked:"+theme+" && git -C origin.git rev-parse rebase/swicked^"); got != "green\n"+marked {
		t.Errorf("the rebase branch has %q", got)
	}

	// Main was rewritten.
	sh(clone, "git push --quiet --force origin "+landed+":refs/heads/shops/swicked "+oldMain+":refs/heads/old-main && git switch --quiet --orphan new")
	newMain := commit("code.ts", "another history\n", "all code anew")
	sh(clone, "git push --quiet --force origin new:main")
	sh(clone, block("**Main was rewritten.**"))
	if got := sh(top, "git -C origin.git log --format='%s %P' shops/swicked"); got != "a theme "+newMain+"\nall code anew" {
		t.Errorf("the shop has %q", got)
	}
}

// TestHoldsByHand runs the last steps of docs/holds.md.
func TestHoldsByHand(t *testing.T) {
	byHand(t, "docs/holds.md", "## Try it on the simulator", 1,
		"swicked is held by ", "swicked is held already by ", "held: swicked is held by", "[shop-held]", "swicked is held no more", "swicked  released")
}
