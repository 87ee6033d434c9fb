package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/rebase"
)

// How large the repository is on which a rebase is measured.
const (
	rebasedShops  = 500
	rebasedMany   = 2000 // that time and memory have to be linear to
	rebasedFiles  = 10_000
	rebasedMain   = 50 // new commits on main, of which every tenth changes wrangler.jsonc
	rebasedByHand = 20 // branches that the loop is measured on
)

// rebase measures the weekly rebase, from the branches of a clone to the rebase branches of a bare remote, and next to it
// what one would do without it: for each branch a work tree, a git rebase and a push.
func (b *bench) rebase() ([]figure, error) {
	var took [2]float64
	var peak [2]int64
	var loop float64
	for i, shops := range []int{rebasedShops, rebasedMany} {
		origin, err := b.branches(shops)
		if err != nil {
			return nil, err
		}
		var walls []float64
		for range runs {
			clone, err := b.cloned(origin)
			if err != nil {
				return nil, err
			}
			start := time.Now()
			bytes, err := b.surveyed(clone, origin)
			if err != nil {
				return nil, err
			}
			walls, peak[i] = append(walls, time.Since(start).Seconds()), max(peak[i], bytes)
			if err := b.forget(origin, shops); err != nil {
				return nil, err
			}
		}
		took[i] = median(walls)
		if i == 0 {
			if loop, err = b.byHand(origin); err != nil {
				return nil, err
			}
			loop *= rebasedShops / rebasedByHand
		}
		fmt.Fprintf(os.Stderr, "rebase-500: %d branches in %.1f s and %.0f MB\n", shops, took[i], float64(peak[i])/1e6)
	}
	fmt.Fprintf(os.Stderr, "rebase-500: a loop of git worktree, git rebase and git push takes %.0f s\n", loop)
	const times = rebasedMany / rebasedShops
	return []figure{
		{"rebase-500", loop / took[0], "x", ">= 30"},
		{"rebase-500-time", took[0], "s", "<= 10"},
		{"rebase-500-memory", float64(peak[0]) / 1e6, "MB", "<= 200"},
		{"rebase-500-linear-time", took[1] / took[0] / times, "x", "<= 1.2"},
		{"rebase-500-linear-memory", float64(peak[1]) / float64(peak[0]) / times, "x", "<= 1.2"},
	}, nil
}

// branches makes a bare repository in which main has gone on since the shops' branches left it.
func (b *bench) branches(shops int) (string, error) {
	ctx := context.Background()
	b.count++
	dir := filepath.Join(b.dir, fmt.Sprintf("origin-%d", b.count))
	repo, err := git.Init(ctx, dir)
	if err != nil {
		return "", err
	}
	main, err := tree(helmMain)
	if err != nil {
		return "", err
	}
	overlay, err := tree(helmOverlays + "/swicked")
	if err != nil {
		return "", err
	}
	for i := len(main); i < rebasedFiles; i++ {
		main[fmt.Sprintf("packages/p%03d/src/f%03d.ts", i/100, i%100)] = fmt.Appendf(nil, "export const n%d = %d;\n", i, i)
	}
	when := time.Date(2026, time.January, 5, 9, 0, 0, 0, time.UTC)
	drafts := []git.Draft{{Branch: "main", Message: "helm", Files: main, When: when}}
	for i := range shops {
		slug := fmt.Sprintf("shop-%04d", i)
		when = when.Add(time.Minute)
		drafts = append(drafts,
			git.Draft{Branch: "shops/" + slug, From: "main", Message: "overlay of " + slug, When: when,
				Files: map[string][]byte{"wrangler.jsonc": shopConfig(overlay["wrangler.jsonc"], slug, i)}},
			git.Draft{Branch: "shops/" + slug, Message: "theme of " + slug, When: when.Add(time.Second),
				Files: map[string][]byte{"shop-overrides/theme.css": fmt.Appendf(nil, ".shop { order: %d; }\n", i)}})
	}
	config := main["wrangler.jsonc"]
	for i := range rebasedMain {
		files := map[string][]byte{}
		for j := range 4 {
			n := (i*4 + j) * 37 % (rebasedFiles - 1000)
			files[fmt.Sprintf("packages/p%03d/src/f%03d.ts", n/100+1, n%100)] = fmt.Appendf(nil, "export const changed = %d;\n", i)
		}
		if i%10 == 0 {
			config = bytes.Replace(config, []byte(`"compatibility_date": "2026-06-0`), []byte(`"compatibility_date": "2026-06-1`), 1)
			config = bytes.Replace(config, []byte(`"0 13 * * *"`), fmt.Appendf(nil, `"%d 13 * * *"`, i), 1)
			files["wrangler.jsonc"] = config
		}
		drafts = append(drafts, git.Draft{Branch: "main", Message: fmt.Sprintf("change %d", i), Files: files, When: when.Add(time.Duration(i+1) * time.Hour)})
	}
	if _, err := repo.Write(ctx, drafts...); err != nil {
		return "", err
	}
	bare := dir + ".git"
	_, err = b.git(b.dir, "clone", "--quiet", "--bare", dir, bare)
	return bare, err
}

func (b *bench) git(dir string, args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_COMMITTER_NAME=x", "GIT_COMMITTER_EMAIL=x@example.invalid"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %.200s: %w\n%.2000s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// cloned is the clone that a rebase works in: bare, with all branches from one fetch.
func (b *bench) cloned(origin string) (string, error) {
	b.count++
	dir := filepath.Join(b.dir, fmt.Sprintf("clone-%d.git", b.count))
	_, err := b.git(b.dir, "clone", "--quiet", "--bare", "--no-local", origin, dir)
	return dir, err
}

// forget takes the rebase branches away again, and requires that there was one for each shop.
func (b *bench) forget(origin string, shops int) error {
	list, err := b.git(origin, "for-each-ref", "--format=delete %(refname)", "refs/heads/rebase/")
	if err != nil {
		return err
	}
	if n := strings.Count(list, "\n"); n != shops {
		return fmt.Errorf("%d rebase branches for %d shops", n, shops)
	}
	cmd := exec.Command("git", "update-ref", "--stdin")
	cmd.Dir, cmd.Stdin = origin, strings.NewReader(list)
	return cmd.Run()
}

// surveyed carries and pushes all branches in a process of its own and returns that process's peak memory, or git's.
func (b *bench) surveyed(clone, origin string) (int64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir}
	return b.peak(b.dir, env, "env", "SHOPFLEET_FIGURES=child:rebase", self, clone, origin)
}

// rebaseChild is that process.
func rebaseChild(out io.Writer) error {
	ctx := context.Background()
	clone, origin := os.Args[1], os.Args[2]
	repo, err := git.Open(ctx, clone)
	if err != nil {
		return err
	}
	list, err := repo.Branches(ctx, "")
	if err != nil {
		return err
	}
	in := rebase.Input{Policy: &fleet.Policy{Overlay: []string{"wrangler.jsonc", "shop-overrides/**"}}}
	for _, one := range list {
		if slug, ok := strings.CutPrefix(one.Name, "shops/"); ok {
			in.Branches = append(in.Branches, rebase.Branch{Shop: fleet.Shop{Slug: slug, Branch: one.Name}, Tip: one.Commit()})
		} else if one.Name == "main" {
			in.Main = one.Commit()
		}
	}
	temporary, err := os.MkdirTemp("", "shopfleet-survey-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	if in.Repo, err = repo.Scratch(ctx, filepath.Join(temporary, "scratch")); err != nil {
		return err
	}
	start := time.Now()
	moves, err := rebase.Survey(ctx, in)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "survey %.2f s\n", time.Since(start).Seconds())
	var updates []git.RefUpdate
	for _, m := range moves {
		if m.State != rebase.Clean {
			return fmt.Errorf("%s is %s: %s", m.Slug, m.State, m.Problem)
		}
		updates = append(updates, git.RefUpdate{Name: "refs/heads/" + rebase.HeadBranch(m.Slug), After: m.To})
	}
	if err := in.Repo.Push(ctx, git.Remote{URL: origin}, updates); err != nil {
		return err
	}
	fmt.Fprintf(out, "survey and push %.2f s\n", time.Since(start).Seconds())
	return nil
}

// byHand is the loop, over some of the branches.
func (b *bench) byHand(origin string) (float64, error) {
	clone := filepath.Join(b.dir, "by-hand")
	if _, err := b.git(b.dir, "clone", "--quiet", "--no-local", origin, clone); err != nil {
		return 0, err
	}
	start := time.Now()
	for i := range rebasedByHand {
		slug, dir := fmt.Sprintf("shop-%04d", i), filepath.Join(b.dir, fmt.Sprintf("tree-%d", i))
		for _, step := range [][]string{
			{clone, "worktree", "add", "--quiet", "--detach", dir, "origin/shops/" + slug},
			{dir, "rebase", "--quiet", "origin/main"},
			{dir, "push", "--quiet", "--force", "origin", "HEAD:refs/heads/rebase/" + slug},
			{clone, "worktree", "remove", "--force", dir},
		} {
			if _, err := b.git(step[0], step[1:]...); err != nil {
				return 0, err
			}
		}
	}
	return time.Since(start).Seconds(), nil
}
