package command

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
)

const (
	policyFile = "fleet.yml" // unless --config says otherwise
	configFile = "wrangler.jsonc"
)

// policyFlags say where the fleet's policy is.
type policyFlags struct{ main, config string }

func (f *policyFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.main, "main", "main", "the `branch` that holds the fleet policy and that shops are based on")
	cmd.Flags().StringVar(&f.config, "config", policyFile, "the fleet policy's `file` on that branch")
}

// checkout is a repository with its fleet policy, and the trees of shops that
// were extracted from it. Close removes what it extracted.
type checkout struct {
	door   *Door
	repo   *git.Repository
	policy *fleet.Policy
	main   string // the commit that shops are based on
	base   string // commit of the main branch as it is
	tips   []git.Branch
	tmp    string
	// objects is where trees are read: repo, or a scratch repository that has merges in it.
	objects *git.Repository

	trees map[string]string // digest of a tree → directory that holds it
	// unbuilt says that nothing will be built from the trees, so that they need no packages.
	unbuilt bool
	// installed is the work tree whose npm packages are used; "" is that of repo.
	installed string
}

// open finds the repository around the door's directory and reads the fleet
// policy from the main branch: a shop's branch cannot change its own rules.
func (d *Door) open(ctx context.Context, f policyFlags) (*checkout, error) {
	repo, err := git.Open(ctx, d.Dir)
	if err != nil {
		return nil, Usage(err, hintOf(err))
	}
	tips, err := repo.Branches(ctx, "")
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(tips, func(b git.Branch) bool { return b.Name == f.main })
	if i < 0 {
		return nil, Usage(fmt.Errorf("finding the main branch: %w", &git.NotFoundError{What: "branch", Name: f.main}),
			"name it with --main, or fetch it: git fetch origin "+f.main+"; in a workflow, fetch-depth: 0 in actions/checkout")
	}
	commit := tips[i].Origin // what a workflow has just fetched
	if d.workflow == nil || commit == "" {
		commit = tips[i].Commit()
	}
	c := &checkout{door: d, repo: repo, objects: repo, main: commit, base: commit, tips: tips, trees: map[string]string{}}
	if c.policy, err = c.readPolicy(ctx, f, commit); err != nil {
		return nil, err
	}
	if c.policy, err = placed(ctx, repo, c.policy, c.tipsByName()); err != nil {
		return nil, err
	}
	return c, nil
}

// justRepository is a checkout of which no policy is known.
func (d *Door) justRepository(ctx context.Context) (*checkout, error) {
	repo, err := git.Open(ctx, d.Dir)
	if err != nil {
		return nil, Usage(err, hintOf(err))
	}
	return &checkout{door: d, repo: repo, objects: repo}, nil
}

// readPolicy reads the fleet policy of a commit.
func (c *checkout) readPolicy(ctx context.Context, f policyFlags, commit string) (*fleet.Policy, error) {
	if !fs.ValidPath(f.config) || f.config == "." {
		return nil, Usage(fmt.Errorf("--config %q is no path in a repository", f.config), "name the file from the top, with slashes: ops/fleet.yml")
	}
	files, err := c.objects.Files(ctx, f.config, commit)
	if err != nil {
		return nil, err
	}
	if errors.Is(files[0].Err, fs.ErrNotExist) {
		return nil, Usage(fmt.Errorf("branch %s has no %s", f.main, f.config), "commit a fleet.yml to "+f.main+"; shopfleet schema prints its schema")
	} else if files[0].Err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.config, files[0].Err)
	}
	return fleet.Parse(f.config, files[0].Data)
}

func (c *checkout) close() error {
	if c.tmp == "" {
		return nil
	}
	if err := os.RemoveAll(c.tmp); err != nil {
		return fmt.Errorf("removing the extracted trees: %w", err)
	}
	return nil
}

// choose turns arguments into slugs: those named, those with a branch for
// --all, or the one whose branch is checked out.
func (c *checkout) choose(ctx context.Context, args []string, all bool) ([]string, error) {
	switch {
	case all && len(args) > 0:
		return nil, Usage(errors.New("--all goes without shop names"), "leave out one or the other")
	case all:
		var slugs []string
		for _, b := range c.tips {
			if slug, ok := c.policy.Slug(b.Name); ok {
				slugs = append(slugs, slug)
			}
		}
		if len(slugs) == 0 {
			return nil, Usage(fmt.Errorf("no branch begins with %s", c.policy.BranchPrefix()), "fetch the shops' branches: git fetch origin")
		}
		slices.Sort(slugs)
		return slugs, nil
	case len(args) == 0:
		branch, err := c.repo.Head(ctx)
		if err != nil {
			return nil, err
		}
		if c.door.workflow != nil {
			branch = c.door.workflow.branch // a workflow may have checked out a commit and no branch
		}
		if slug, ok := c.policy.Slug(branch); ok {
			return []string{slug}, nil
		}
		return nil, Usage(errors.New("no shop is named, and no shop's branch is checked out"), "name the shop, or use --all")
	}
	slugs := slices.Clone(args)
	slices.Sort(slugs)
	return slices.Compact(slugs), nil
}

// gitProcesses bounds how many git processes run at once.
const gitProcesses = 4

// sources makes each shop's commit ready to be built. A shop whose branch
// cannot be used is in the second result instead. What can be asked for all
// shops is asked once.
func (c *checkout) sources(ctx context.Context, slugs []string) (map[string]deploy.Source, map[string]error) {
	return c.sourcesAt(ctx, slugs, nil)
}

// tipsByName are the branches' commits. In a workflow they are what it fetched, except for the branch that started it:
// that is the commit it was started by, and not what the branch has become meanwhile.
func (c *checkout) tipsByName() map[string]string {
	commits := map[string]string{}
	w := c.door.workflow
	for _, b := range c.tips {
		commits[b.Name] = b.Commit()
		if w != nil && b.Origin != "" {
			commits[b.Name] = b.Origin
		}
	}
	if w != nil && w.branch != "" {
		commits[w.branch] = w.commit
	}
	return commits
}

// sourcesAt is sources, with other commits than the branches' for the shops in at.
func (c *checkout) sourcesAt(ctx context.Context, slugs []string, at map[string]string) (map[string]deploy.Source, map[string]error) {
	sources, problems := map[string]deploy.Source{}, map[string]error{}
	commits := c.tipsByName()
	var shops []fleet.Shop
	var tips []string
	for _, slug := range slugs {
		shop, err := c.policy.Shop(slug)
		commit, ok := commits[shop.Branch]
		if other := at[slug]; other != "" {
			commit, ok = other, true
		}
		switch {
		case err != nil:
			problems[slug] = err
		case !ok:
			problems[slug] = Usage(fmt.Errorf("shop %s has no branch %s", slug, shop.Branch), "see git branch --all; git fetch origin gets what others pushed")
		default:
			shops, tips = append(shops, shop), append(tips, commit)
		}
	}
	if len(shops) == 0 {
		return sources, problems
	}
	var group errgroup.Group
	var rivals *deploy.Rivals
	group.Go(func() (err error) {
		rivals, err = c.rivals(ctx, commits)
		return err
	})
	configs, trees, bases, err := c.read(ctx, tips)
	var mains map[string]onMain
	if err == nil {
		mains, err = c.mains(ctx, bases)
	}
	err = errors.Join(err, group.Wait())
	for i, shop := range shops {
		if err != nil {
			problems[shop.Slug] = err
			continue
		}
		src, problem := c.source(ctx, shop, tips[i], bases[i], configs[i], trees[i])
		if problem != nil {
			problems[shop.Slug] = problem
			continue
		}
		at := mains[src.Main]
		src.Base = deploy.Base{Config: at.config, Changes: changes(at.tree, trees[i].tree)}
		src.Rivals = rivals
		sources[shop.Slug] = src
	}
	return sources, problems
}

// base is the commit of main below a shop's commit, or why there is none.
type base struct {
	commit string
	err    error
}

// whole is everything a shop's commit holds, or what is wrong with it.
type whole struct {
	tree git.Tree
	err  error
}

// manyBranches is from how many branches on their bases are found in one process.
const manyBranches = 16

// read asks git for what is needed of every commit, in a few processes.
func (c *checkout) read(ctx context.Context, commits []string) (configs []git.File, trees []whole, bases []base, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(gitProcesses)
	group.Go(func() (err error) {
		configs, err = c.objects.Files(ctx, configFile, commits...)
		return err
	})
	group.Go(func() (err error) {
		read, wrong, err := c.objects.EachTree(ctx, commits...)
		for i := range read {
			trees = append(trees, whole{read[i], wrong[i]})
		}
		return err
	})
	bases = make([]base, len(commits))
	one := func(i int) func() error {
		return func() error {
			bases[i].commit, bases[i].err = c.objects.MainBase(ctx, c.main, commits[i])
			return nil // one shop's broken history is that shop's problem
		}
	}
	if len(commits) >= manyBranches {
		// One process reads the whole history, which is less than a process for each branch.
		based, err := c.objects.Bases(ctx, c.main, commits...)
		if err != nil {
			return nil, nil, nil, errors.Join(err, group.Wait())
		}
		for i := range based {
			if bases[i].commit = based[i].Commit; bases[i].commit == "" {
				group.Go(one(i)) // which says why there is none
			}
		}
	} else {
		for i := range commits {
			group.Go(one(i))
		}
	}
	err = group.Wait()
	return configs, trees, bases, err
}

// onMain is what is needed of a commit of main that shops sit on.
type onMain struct {
	config []byte // nil without one
	tree   git.Tree
}

// mains reads the commits of main below the shops, each once.
func (c *checkout) mains(ctx context.Context, bases []base) (map[string]onMain, error) {
	var commits []string
	for _, b := range bases {
		if b.err == nil {
			commits = append(commits, b.commit)
		}
	}
	slices.Sort(commits)
	commits = slices.Compact(commits)
	mains := map[string]onMain{}
	if len(commits) == 0 {
		return mains, nil
	}
	var configs []git.File
	var trees []git.Tree
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		configs, err = c.objects.Files(ctx, configFile, commits...)
		return err
	})
	group.Go(func() (err error) {
		trees, err = c.objects.Trees(ctx, commits...)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i, commit := range commits {
		// A config that is a link, or too large, is none: the finding about it says so.
		mains[commit] = onMain{configs[i].Data, trees[i]}
	}
	return mains, nil
}

// changes are the paths in which two trees differ, in the order of their names.
func changes(from, to git.Tree) []deploy.Change {
	before := make(map[string]git.Entry, len(from))
	for _, e := range from {
		before[e.Path] = e
	}
	var out []deploy.Change
	for _, e := range to {
		old, ok := before[e.Path]
		if !ok || old.ID != e.ID || old.Mode != e.Mode {
			out = append(out, deploy.Change{Path: e.Path, Before: uint32(old.Mode), After: uint32(e.Mode)})
		}
		delete(before, e.Path)
	}
	for path, e := range before {
		out = append(out, deploy.Change{Path: path, Before: uint32(e.Mode)})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Path < out[j].Path })
	return out
}

// rivals reads the configs of all shops' branches, in one process. A branch without one claims nothing.
func (c *checkout) rivals(ctx context.Context, commits map[string]string) (*deploy.Rivals, error) {
	var branches []deploy.Branch
	var tips []string
	for _, b := range c.tips {
		slug, ok := c.policy.Slug(b.Name)
		if !ok {
			continue
		}
		if shop, err := c.policy.Shop(slug); err == nil { // what is wrong with a slug is its own shop's to hear
			branches, tips = append(branches, deploy.Branch{Shop: shop}), append(tips, commits[b.Name])
		}
	}
	if len(tips) == 0 {
		return nil, nil
	}
	configs, err := c.repo.Files(ctx, configFile, tips...)
	if err != nil {
		return nil, fmt.Errorf("reading the configs of all shops' branches: %w", err)
	}
	for i, f := range configs {
		branches[i].Config = f.Data
	}
	return deploy.NewRivals(c.policy, configFile, branches), nil
}

// source puts together what is known of one shop, and its tree on disk.
func (c *checkout) source(ctx context.Context, shop fleet.Shop, commit string, main base, config git.File, tree whole) (deploy.Source, error) {
	if main.err != nil {
		return deploy.Source{}, fmt.Errorf("finding the commit of main below %s: %w", shop.Branch, main.err)
	}
	if config.Err != nil {
		return deploy.Source{}, deploy.Findings{{
			Rule: "overlay-missing", Level: deploy.LevelError, File: configFile,
			Message:  fmt.Sprintf("branch %s: %v", shop.Branch, config.Err),
			Expected: configFile + " with env." + shop.Slug,
			Hint:     "commit a " + configFile + " to the branch",
		}}
	}
	if tree.err != nil {
		return deploy.Source{}, deploy.Findings{{
			Rule: "overlay-unreadable", Level: deploy.LevelError,
			Message:  fmt.Sprintf("branch %s: %v", shop.Branch, tree.err),
			Expected: "main's files and the shop's overlay",
			Hint:     "take it out of the branch",
		}}
	}
	files := withoutBundle(c.policy, tree.tree)
	dir, err := c.extract(ctx, files)
	if err != nil {
		return deploy.Source{}, fmt.Errorf("extracting %s: %w", shop.Branch, err)
	}
	src := deploy.Source{
		Policy: c.policy, Shop: shop, Commit: commit, Main: main.commit,
		Dir: dir, Tree: files.Digest(), ConfigName: configFile, Config: config.Data,
		Environ: c.door.buildEnviron(),
		BuiltAt: c.door.Now(), Tool: "shopfleet " + c.door.Version, Actor: c.door.actor(),
	}
	if c.door.workflow != nil {
		src.NoBuildCommand = "it could read the credentials of the workflow's step"
	}
	src.Run = c.door.workflowRun()
	return src, nil
}

// workflowRun is the run of the workflow that the door is in; nil outside of one.
func (d *Door) workflowRun() *deploy.Run {
	id := d.Getenv("GITHUB_RUN_ID")
	if id == "" {
		return nil
	}
	return &deploy.Run{ID: id, URL: d.Getenv("GITHUB_SERVER_URL") + "/" + d.Getenv("GITHUB_REPOSITORY") + "/actions/runs/" + id}
}

// buildEnviron is what a build.command may know of the caller's environment.
func (d *Door) buildEnviron() []string {
	var out []string
	for _, name := range []string{"PATH", "LANG", "LC_ALL", "TZ", "TMPDIR"} {
		if v := d.Getenv(name); v != "" {
			out = append(out, name+"="+v)
		}
	}
	return out
}

// actor is who asked for the deploy: GitHub says so in a workflow, the
// system's user name has to do on a laptop.
func (d *Door) actor() string {
	if a := d.Getenv("GITHUB_ACTOR"); a != "" {
		return a
	}
	return d.Getenv("USER")
}

// room is the directory that close removes.
func (c *checkout) room() (string, error) {
	if c.tmp != "" {
		return c.tmp, nil
	}
	tmp, err := os.MkdirTemp("", "shopfleet-")
	if err != nil {
		return "", err
	}
	// esbuild reports real paths; on some systems the temporary directory is a link.
	c.tmp, err = filepath.EvalSymlinks(tmp)
	return c.tmp, err
}

// extract writes a tree to disk once, however many shops share it.
func (c *checkout) extract(ctx context.Context, tree git.Tree) (string, error) {
	key := tree.Digest()
	if dir, ok := c.trees[key]; ok {
		return dir, nil
	}
	room, err := c.room()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(room, key[:16])
	if err := c.objects.Extract(ctx, tree, dir); err != nil {
		return "", err
	}
	if !c.unbuilt {
		if err := c.dependencies(dir); err != nil {
			return "", err
		}
	}
	c.trees[key] = dir
	return dir, nil
}

// dependencies brings the repository's installed npm packages to an extracted
// tree whose package.json asks for some. They must be those of the commit's
// own lock file: packages of another branch would be released unseen. The
// files are hard links, so that paths inside bundles are those of a checkout.
func (c *checkout) dependencies(dir string) error {
	manifest, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var wants struct{ Dependencies, DevDependencies map[string]any }
	if json.Unmarshal(manifest, &wants) != nil || len(wants.Dependencies)+len(wants.DevDependencies) == 0 {
		return nil
	}
	worktree := cmp.Or(c.installed, c.repo.Dir)
	installed := filepath.Join(worktree, "node_modules")
	if _, err := os.Stat(installed); errors.Is(err, fs.ErrNotExist) {
		return nil // imports that need a package are findings of the bundler
	}
	for _, lock := range []string{"package-lock.json", "pnpm-lock.yaml", "yarn.lock"} {
		theirs, err := os.ReadFile(filepath.Join(dir, lock))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		ours, err := os.ReadFile(filepath.Join(worktree, lock))
		if err != nil || !bytes.Equal(ours, theirs) {
			return Usage(fmt.Errorf("node_modules was installed from another %s than the commit has", lock),
				"check out the shop's branch and install its packages (npm ci), then deploy")
		}
	}
	return linkTree(installed, filepath.Join(dir, "node_modules"))
}

// linkTree copies a directory by hard links, or by content where the two lie
// on different file systems. Symbolic links stay what they are.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case d.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case !d.Type().IsRegular():
			return nil
		}
		if os.Link(path, target) == nil {
			return nil
		}
		return copyFile(path, target)
	})
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
