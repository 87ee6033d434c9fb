package command

import (
	"bufio"
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
)

// templates are what init writes; see fill. Their delimiters are <% %>, because workflows are full of {{ }}.
//
//go:embed templates
var templates embed.FS

const workflowDir = ".github/workflows/"

// workflowFiles are the workflows that init writes, in the order in which they are read.
var workflowFiles = []string{
	"deploy.yml", "deploy-shop.yml", "plan.yml", "audit.yml", "rebase.yml", "commands.yml", "rollback.yml",
	"onboard.yml", "offboard.yml", "move.yml", "backup.yml", "drill.yml",
}

// The actions of others that the workflows use, each at a commit: a tag can be moved.
const (
	checkoutAction  = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"
	setupNodeAction = "actions/setup-node@820762786026740c76f36085b0efc47a31fe5020 # v7.0.0"
	uploadAction    = "actions/upload-artifact@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a # v7.0.1"
	downloadAction  = "actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c # v8.0.1"
	sarifAction     = "github/codeql-action/upload-sarif@e4fba868fa4b1b91e1fdab776edc8cfbe6e9fb81 # v4.37.3"
	ownAction       = "kvick/shopfleet"
)

// What stands in a starter fleet.yml until a person fills it in.
const (
	noAccount = "00000000000000000000000000000000"
	noZone    = "example.com"
)

type initFlags struct {
	repository, action     string
	product, account, zone string
	force, dry, json       bool
	policy                 policyFlags
}

func (d *Door) init() *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write the GitHub workflows of the product's repository",
		Long: `Write the workflows of the product's repository:

  deploy.yml       deploys the shop whose branch is pushed
  deploy-shop.yml  is called by deploy.yml, as it is on main
  plan.yml         shows on a pull request what merging it would change
  audit.yml        looks at all accounts every week, keeps one issue up to date
                   and makes the pages of status and cost
  rebase.yml       carries the shops' branches onto main every week
  commands.yml     does what people ask for in comments
  rollback.yml     brings a shop back by hand
  onboard.yml      makes a new shop: a form
  offboard.yml     closes a shop: a form
  move.yml         moves a shop to another account: a form
  backup.yml       backs up all shops every night
  drill.yml        practises all that every month

Where there is no fleet.yml a first one is written too.

Nothing is committed. A file that is there already and is not what init would
write is shown as a diff and left alone; --force replaces it. Without a terminal
nothing is asked.`,
		Example: "  shopfleet init\n  shopfleet init --repository kvick/helm --zone kvick.bike --account 7f3a0c5e9b1d4826a0e4c2d8f6b19357\n  shopfleet init --dry-run",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return d.asJSON(f.json, d.initialize(cmd.Context(), f))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.repository, "repository", "", "the repository on GitHub, as `owner/name` (default: from the remote origin)")
	flags.StringVar(&f.action, "action", "", "the action that the workflows use, as `owner/name@commit` (default: "+ownAction+" at this program's commit)")
	flags.StringVar(&f.product, "product", "", "for a new fleet.yml: the product's short `name`, which the names of shops' Workers begin with")
	flags.StringVar(&f.account, "account", "", "for a new fleet.yml: the `id` of the Cloudflare account")
	flags.StringVar(&f.zone, "zone", "", "for a new fleet.yml: the `domain` in which shops get their hostnames")
	flags.BoolVar(&f.force, "force", false, "replace files that are there and differ")
	flags.BoolVar(&f.dry, "dry-run", false, "write nothing and show what would be written, as a diff")
	flags.BoolVar(&f.json, "json", false, "print one JSON document")
	f.policy.add(cmd)
	return cmd
}

func (d *Door) initialize(ctx context.Context, f initFlags) error {
	repo, err := git.Open(ctx, d.Dir)
	if err != nil {
		var none *git.NotRepositoryError
		if errors.As(err, &none) {
			return Usage(err, "run this in the product's repository; a new one begins with git init")
		}
		return Usage(err, hintOf(err))
	}
	if _, err := os.Lstat(filepath.Join(repo.Dir, ".git")); err != nil {
		return Usage(fmt.Errorf("%s is a bare repository, without files to write to", repo.Dir), "run this in a clone")
	}
	setup, err := d.setup(ctx, repo, f)
	if err != nil {
		return err
	}
	files, err := setup.render()
	if err != nil {
		return err
	}
	top, err := os.OpenRoot(repo.Dir)
	if err != nil {
		return fmt.Errorf("opening the repository's directory: %w", err)
	}
	defer top.Close()
	refused := false
	for i := range files {
		if err := files[i].compare(top, f.force); err != nil {
			return err
		}
		refused = refused || files[i].Status == fileDiffers
	}
	if !f.dry && !refused {
		for _, file := range files {
			if file.Status == fileUnchanged {
				continue
			}
			if err := file.write(top); err != nil {
				return fmt.Errorf("writing %s: %w", file.Path, err)
			}
		}
	}
	return d.printSetup(setup, files, setup.remaining(top, files), f)
}

// setup is what the templates are filled with. Every text in it is of characters that mean nothing in YAML, in a shell
// and in a workflow's expressions.
type setup struct {
	Repository, Main, Config string
	Action                   string
	Checkout, SetupNode      string
	UploadArtifact           string
	DownloadArtifact         string
	UploadSARIF              string
	Before, After            string // what the names of shops' branches have around the slug
	Product, Account, Zone   string

	starter bool     // a fleet.yml is to be written
	shops   []string // that have a branch
}

var (
	actionReference = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}(/[A-Za-z0-9._-]+)*@[0-9a-f]{40}$`)
	releaseTag      = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.]+)?$`)
	commitID        = regexp.MustCompile(`^[0-9a-f]{40}$`)
	// Paths and branches that can stand anywhere in a workflow without quotes around them.
	plainName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]*$`)
	branchAround = regexp.MustCompile(`^[A-Za-z0-9._/-]*$`)
	productName  = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$`)
	accountID    = regexp.MustCompile(`^[0-9a-f]{32}$`)
	zoneName     = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)
)

// setup finds out what the files are to say: from flags, from the repository, and from the person at the terminal.
func (d *Door) setup(ctx context.Context, repo *git.Repository, f initFlags) (*setup, error) {
	s := &setup{
		Main: f.policy.main, Config: f.policy.config, Before: "shops/",
		Checkout: checkoutAction, SetupNode: setupNodeAction, UploadArtifact: uploadAction, DownloadArtifact: downloadAction,
		UploadSARIF: sarifAction,
	}
	for flag, value := range map[string]string{"--main": s.Main, "--config": s.Config} {
		if !plainName.MatchString(value) || !fs.ValidPath(value) {
			return nil, Usage(fmt.Errorf("%s is %q, which cannot be written into a workflow", flag, value), "use a name of letters, digits and . _ / -")
		}
	}
	ask := d.questions(f.json)
	var err error
	if s.Repository, err = d.initRepository(ctx, repo, f.repository, ask); err != nil {
		return nil, err
	}
	if s.Action, err = d.ownReference(f.action); err != nil {
		return nil, err
	}
	policy, err := initPolicy(ctx, repo, f.policy)
	if err != nil {
		return nil, err
	}
	if policy == nil {
		s.starter = true
		return s, s.start(ctx, f, ask)
	}
	s.Before, s.After, _ = strings.Cut(policy.Naming.Branch, "{slug}")
	if !branchAround.MatchString(s.Before) || !branchAround.MatchString(s.After) {
		return nil, Usage(fmt.Errorf("naming.branch of %s is %q, which cannot be written into a workflow", s.Config, policy.Naming.Branch), "use letters, digits and . _ / - around {slug}")
	}
	branches, err := repo.Branches(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, b := range branches {
		if slug, ok := policy.Slug(b.Name); ok {
			s.shops = append(s.shops, slug)
		}
	}
	slices.Sort(s.shops)
	return s, nil
}

// initRepository is the repository on GitHub, as owner/name.
func (d *Door) initRepository(ctx context.Context, repo *git.Repository, given string, ask question) (string, error) {
	const hint = "name it with --repository owner/name"
	if given == "" {
		given = d.Getenv(envRepository)
	}
	if given == "" {
		remote, err := repo.RemoteURL(ctx, "origin")
		if err != nil {
			return "", err
		}
		if given = repositoryOf(remote); given == "" {
			why := "no remote origin tells which repository on GitHub this is"
			if remote != "" {
				why = "the remote origin is not on github.com"
			}
			if given, err = ask(ctx, "Repository on GitHub, as owner/name", ""); err != nil {
				return "", err
			} else if given == "" {
				return "", Usage(errors.New(why), hint)
			}
		}
	}
	if !repositoryName.MatchString(given) {
		return "", Usage(fmt.Errorf("%q is no repository's name", given), hint)
	}
	return given, nil
}

// ownReference is how the workflows name the action of this program.
func (d *Door) ownReference(given string) (string, error) {
	switch {
	case given != "" && actionReference.MatchString(given):
		return given, nil
	case given != "":
		return "", Usage(fmt.Errorf("--action is %q", given), "write owner/name@ and a commit's 40 hexadecimal digits: whoever can move a tag or a branch could run code beside the shops' secrets")
	case !commitID.MatchString(d.Commit):
		return "", Usage(errors.New("this build of shopfleet does not know its own commit, and the workflows must name one"),
			"name the commit of a release with --action "+ownAction+"@<40 hexadecimal digits>, or use a released build")
	case releaseTag.MatchString(d.Version):
		return ownAction + "@" + d.Commit + " # " + d.Version, nil
	}
	return ownAction + "@" + d.Commit, nil
}

// initPolicy reads the fleet policy as it lies in the work tree or, where there is none, as the main branch has it. It is
// nil when neither has one.
func initPolicy(ctx context.Context, repo *git.Repository, f policyFlags) (*fleet.Policy, error) {
	src, err := readPlain(repo.Dir, f.config)
	if err == nil {
		return fleet.Parse(f.config, src)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	main, err := repo.Branch(ctx, f.main)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	files, err := repo.Files(ctx, f.config, main.Commit())
	if err != nil {
		return nil, err
	}
	if errors.Is(files[0].Err, fs.ErrNotExist) {
		return nil, nil
	} else if files[0].Err != nil {
		return nil, fmt.Errorf("reading %s of %s: %w", f.config, f.main, files[0].Err)
	}
	return fleet.Parse(f.config, files[0].Data)
}

// start finds out what a first fleet.yml says.
func (s *setup) start(ctx context.Context, f initFlags, ask question) error {
	_, name, _ := strings.Cut(s.Repository, "/")
	product := productOf(name)
	for _, v := range []struct {
		field                *string
		flag, given          string
		text, otherwise, say string
		shape                *regexp.Regexp
	}{
		{&s.Product, "--product", f.product, "Short name of the product", product, "at most 32 lower-case letters, digits and hyphens, beginning with a letter", productName},
		{&s.Account, "--account", f.account, "Id of the Cloudflare account", noAccount, "32 hexadecimal digits, as the dashboard shows them", accountID},
		{&s.Zone, "--zone", f.zone, "Zone of that account for the shops' hostnames", noZone, "a domain such as example.com, in lower case", zoneName},
	} {
		*v.field = v.given
		if v.given == "" {
			shown := v.otherwise
			if shown == noAccount || shown == noZone {
				shown = "fill in later"
			}
			answer, err := ask(ctx, v.text, shown)
			if err != nil {
				return err
			}
			*v.field = cmp.Or(answer, v.otherwise)
		}
		if !v.shape.MatchString(*v.field) {
			return Usage(fmt.Errorf("%s is %q", v.flag, *v.field), v.say)
		}
	}
	return nil
}

var noProduct = regexp.MustCompile(`^[^a-z]+|[^a-z0-9]+`)

// productOf makes a product's name of a repository's.
func productOf(repository string) string {
	name := strings.Trim(noProduct.ReplaceAllString(strings.ToLower(repository), "-"), "-")
	if len(name) > 20 {
		name = strings.Trim(name[:20], "-")
	}
	return cmp.Or(name, "product")
}

// question asks the person at the terminal; the answer is "" where there is none, or when nothing was typed.
type question func(ctx context.Context, text, otherwise string) (string, error)

func (d *Door) questions(quiet bool) question {
	if !d.Asks || quiet {
		return func(context.Context, string, string) (string, error) { return "", nil }
	}
	in := bufio.NewReader(d.Stdin)
	return func(ctx context.Context, text, otherwise string) (string, error) {
		if otherwise != "" {
			text += " [" + otherwise + "]"
		}
		fmt.Fprintf(d.Stderr, "%s: ", text)
		type line struct {
			text string
			err  error
		}
		typed := make(chan line, 1)
		go func() { // reading from a terminal cannot be interrupted otherwise
			text, err := in.ReadString('\n')
			typed <- line{text, err}
		}()
		select {
		case <-ctx.Done():
			fmt.Fprintln(d.Stderr)
			return "", context.Cause(ctx)
		case l := <-typed:
			if l.err != nil && l.err != io.EOF {
				return "", fmt.Errorf("reading the answer: %w", l.err)
			}
			return strings.TrimSpace(l.text), nil
		}
	}
}

// fill reads a template and puts in what it names: on a line of its own "<% part x %>" is the template parts/x.yml, elsewhere
// "<% X %>" is a value. text/template would do more, and its use of reflection keeps the linker from leaving out what
// nobody calls: seven megabytes of the program.
func (s *setup) fill(name string) (string, error) {
	src, err := templates.ReadFile(path.Join("templates", name))
	if err != nil {
		return "", fmt.Errorf("reading a template: %w", err)
	}
	note := func(unset bool, text string) string {
		if !unset {
			return ""
		}
		return " # fill in: " + text
	}
	values := strings.NewReplacer(
		"<% Repository %>", s.Repository, "<% Main %>", s.Main, "<% Config %>", s.Config, "<% Action %>", s.Action,
		"<% Checkout %>", s.Checkout, "<% SetupNode %>", s.SetupNode, "<% UploadArtifact %>", s.UploadArtifact,
		"<% DownloadArtifact %>", s.DownloadArtifact, "<% UploadSARIF %>", s.UploadSARIF, "<% Before %>", s.Before, "<% After %>", s.After, "<% Glob %>", s.Before+"**"+s.After,
		"<% Product %>", s.Product, "<% Account %>", s.Account, "<% Zone %>", s.Zone,
		"<% AccountNote %>", note(s.Account == noAccount, "the id of the Cloudflare account"),
		"<% ZoneNote %>", note(s.Zone == noZone, "a zone of that account, where the shops get their hostnames"),
	)
	var b strings.Builder
	for line := range strings.Lines(string(src)) {
		part, is := strings.CutPrefix(strings.TrimSuffix(line, " %>\n"), "<% part ")
		switch {
		case is && part == "policy":
			if s.Main != "main" {
				b.WriteString("          main: " + s.Main + "\n")
			}
			if s.Config != policyFile {
				b.WriteString("          config: " + s.Config + "\n")
			}
		case is:
			text, err := s.fill("parts/" + part + ".yml")
			if err != nil {
				return "", err
			}
			b.WriteString(text)
		default:
			b.WriteString(values.Replace(line))
		}
	}
	if strings.Contains(b.String(), "<%") {
		return "", fmt.Errorf("template %s names something that there is not", name)
	}
	return b.String(), nil
}

// render makes the files, in the order in which they are read.
func (s *setup) render() ([]setupFile, error) {
	var files []setupFile
	add := func(name, at string) error {
		text, err := s.fill(name)
		files = append(files, setupFile{Path: at, content: []byte(text)})
		return err
	}
	var err error
	for _, name := range workflowFiles {
		err = errors.Join(err, add(name, path.Join(workflowDir, name)))
	}
	if s.starter {
		err = errors.Join(err, add("fleet.yml", s.Config))
		if _, bad := fleet.Parse(s.Config, files[len(files)-1].content); err == nil && bad != nil {
			list := findings(bad)
			return nil, Usage(fmt.Errorf("with these values %s would be wrong: %s", s.Config, list[0].Message), list[0].Hint)
		}
	}
	return files, err
}
