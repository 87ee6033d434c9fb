package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
)

const (
	policyFile = "fleet.yml"
	configFile = "wrangler.jsonc"
)

// checkout is a repository with its fleet policy, and the trees of shops that
// were extracted from it. Close removes what it extracted.
type checkout struct {
	door   *Door
	repo   *git.Repository
	policy *fleet.Policy
	main   string // commit of the main branch
	tips   []git.Branch
	tmp    string

	trees map[string]string // digest of a tree → directory that holds it
}

// open finds the repository around the door's directory and reads the fleet
// policy from the main branch: a shop's branch cannot change its own rules.
func (d *Door) open(ctx context.Context, main string) (*checkout, error) {
	repo, err := git.Open(ctx, d.Dir)
	if err != nil {
		return nil, Usage(err, hintOf(err))
	}
	tips, err := repo.Branches(ctx, "")
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(tips, func(b git.Branch) bool { return b.Name == main })
	if i < 0 {
		return nil, Usage(fmt.Errorf("finding the main branch: %w", &git.NotFoundError{What: "branch", Name: main}), "name it with --main, or fetch it: git fetch origin "+main)
	}
	commit := tips[i].Commit()
	files, err := repo.Files(ctx, policyFile, commit)
	if err != nil {
		return nil, err
	}
	if errors.Is(files[0].Err, fs.ErrNotExist) {
		return nil, Usage(fmt.Errorf("branch %s has no %s", main, policyFile), "commit a fleet.yml to "+main+"; shopfleet schema prints its schema")
	} else if files[0].Err != nil {
		return nil, fmt.Errorf("reading %s: %w", policyFile, files[0].Err)
	}
	policy, err := fleet.Parse(policyFile, files[0].Data)
	if err != nil {
		return nil, err
	}
	return &checkout{door: d, repo: repo, policy: policy, main: commit, tips: tips, trees: map[string]string{}}, nil
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
	sources, problems := map[string]deploy.Source{}, map[string]error{}
	commits := map[string]string{}
	for _, b := range c.tips {
		commits[b.Name] = b.Commit()
	}
	var shops []fleet.Shop
	var tips []string
	for _, slug := range slugs {
		shop, err := c.policy.Shop(slug)
		commit, ok := commits[shop.Branch]
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
	configs, trees, bases, err := c.read(ctx, tips)
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
		sources[shop.Slug] = src
	}
	return sources, problems
}

// base is the commit of main below a shop's commit, or why there is none.
type base struct {
	commit string
	err    error
}

// read asks git for what is needed of every commit, in a few processes.
func (c *checkout) read(ctx context.Context, commits []string) (configs []git.File, trees []git.Tree, bases []base, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(gitProcesses)
	group.Go(func() (err error) {
		configs, err = c.repo.Files(ctx, configFile, commits...)
		return err
	})
	group.Go(func() (err error) {
		trees, err = c.repo.Trees(ctx, commits...)
		return err
	})
	bases = make([]base, len(commits))
	for i, commit := range commits {
		group.Go(func() error {
			bases[i].commit, bases[i].err = c.repo.MergeBase(ctx, c.main, commit)
			return nil // one shop's broken history is that shop's problem
		})
	}
	err = group.Wait()
	return configs, trees, bases, err
}

// source puts together what is known of one shop, and its tree on disk.
func (c *checkout) source(ctx context.Context, shop fleet.Shop, commit string, main base, config git.File, whole git.Tree) (deploy.Source, error) {
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
	tree := whole.Without(configFile)
	dir, err := c.extract(ctx, tree)
	if err != nil {
		return deploy.Source{}, fmt.Errorf("extracting %s: %w", shop.Branch, err)
	}
	src := deploy.Source{
		Policy: c.policy, Shop: shop, Commit: commit, Main: main.commit,
		Dir: dir, Tree: tree.Digest(), ConfigName: configFile, Config: config.Data,
		Environ: c.door.buildEnviron(),
		BuiltAt: c.door.Now(), Tool: "shopfleet " + c.door.Version, Actor: c.door.actor(),
	}
	if id := c.door.Getenv("GITHUB_RUN_ID"); id != "" {
		src.Run = &deploy.Run{ID: id, URL: c.door.Getenv("GITHUB_SERVER_URL") + "/" + c.door.Getenv("GITHUB_REPOSITORY") + "/actions/runs/" + id}
	}
	return src, nil
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

// extract writes a tree to disk once, however many shops share it.
func (c *checkout) extract(ctx context.Context, tree git.Tree) (string, error) {
	key := tree.Digest()
	if dir, ok := c.trees[key]; ok {
		return dir, nil
	}
	if c.tmp == "" {
		tmp, err := os.MkdirTemp("", "shopfleet-")
		if err != nil {
			return "", err
		}
		// esbuild reports real paths; on some systems the temporary directory is a link.
		if c.tmp, err = filepath.EvalSymlinks(tmp); err != nil {
			return "", err
		}
	}
	dir := filepath.Join(c.tmp, key[:16])
	if err := c.repo.Extract(ctx, tree, dir); err != nil {
		return "", err
	}
	if err := c.dependencies(dir); err != nil {
		return "", err
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
	installed := filepath.Join(c.repo.Dir, "node_modules")
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
		ours, err := os.ReadFile(filepath.Join(c.repo.Dir, lock))
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
