package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/report"
	"github.com/kvick/shopfleet/internal/secrets"
	"github.com/kvick/shopfleet/internal/wrangler"
)

const bundleHelp = `A shop's bundle is a file on its branch, shop-overrides/secrets.env.age unless
fleet.yml says otherwise, that age encrypted for secrets.recipients. The identity
that opens it is read from SHOPFLEET_AGE_KEY (secrets.key). Where age is at hand
it opens the file too: age -d -i KEYFILE shop-overrides/secrets.env.age`

func (d *Door) secrets() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secrets",
		Short: "Look at shops' secrets, set and rotate them",
		Long: `Look at shops' secrets, set and rotate them. Values are never printed, and never
given as arguments: other programs can read those.

` + bundleHelp,
		Example: "  shopfleet secrets status --all\n  shopfleet secrets set swicked STRIPE_SECRET_KEY < key.txt\n  shopfleet secrets rotate SESSION_KEY --all --command 'openssl rand -hex 32'",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return Usage(fmt.Errorf("unknown command %q", "secrets "+args[0]), suggestion(cmd, args[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(d.secretsStatus(), d.secretsSet(), d.secretsEdit(), d.secretsRotate())
	return cmd
}

// bundleFlags are those of the verbs that write bundles.
type bundleFlags struct {
	json, noPush bool
	file         string
	policy       policyFlags
}

func (f *bundleFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON document")
	cmd.Flags().BoolVar(&f.noPush, "no-push", false, "commit to the branch here, and leave the push to you")
	f.policy.add(cmd)
}

const pushHelp = `The change is a commit on the shop's branch, made without touching any work tree,
and pushed from exactly the commit that was looked at: with GITHUB_TOKEN to
GitHub, else to an origin on this machine. The next deploy uploads it.`

func (d *Door) secretsSet() *cobra.Command {
	var f bundleFlags
	cmd := &cobra.Command{
		Use:   "set <shop> <name>",
		Short: "Put one secret into a shop's bundle",
		Long: `Put one secret into a shop's bundle. The value is read from standard input or a
file; white space at its end is dropped, as wrangler secret put does.

` + pushHelp + "\n\n" + bundleHelp,
		Example: "  shopfleet secrets set swicked STRIPE_SECRET_KEY < key.txt\n  openssl rand -hex 32 | shopfleet secrets set swicked SESSION_KEY",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return Usage(fmt.Errorf("secrets set takes a shop and a name, got %s", counted(len(args), "argument")), "the value comes from standard input, never from an argument")
			}
			return nil
		},
		ValidArgsFunction: d.completeShopAndSecret,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(f.json, d.setSecret(cmd.Context(), args[0], args[1], f))
		},
	}
	cmd.Flags().StringVar(&f.file, "from-file", "-", "`file` with the value, - for standard input")
	f.add(cmd)
	return cmd
}

func (d *Door) secretsEdit() *cobra.Command {
	var f bundleFlags
	cmd := &cobra.Command{
		Use:   "edit <shop>",
		Short: "Edit a shop's bundle in $EDITOR",
		Long: `Edit a shop's bundle in $VISUAL or $EDITOR: the lines NAME=value, in a file that
only you can read and that is overwritten and deleted afterwards.

` + pushHelp + "\n\n" + bundleHelp,
		Example:           "  shopfleet secrets edit swicked",
		Args:              oneShop,
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(f.json, d.editSecrets(cmd.Context(), args[0], f))
		},
	}
	f.add(cmd)
	return cmd
}

// completeShopAndSecret completes a shop, and then a secret's name.
func (d *Door) completeShopAndSecret(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return d.completeShops(cmd, args, begun)
	}
	if len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return d.completeSecret(cmd, nil, begun)
}

// completeSecret completes the name of a secret.
func (d *Door) completeSecret(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return d.completeShops(cmd, args[1:], begun)
	}
	c, err := d.open(cmd.Context(), policyFlags{main: "main", config: policyFile})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer func() { _ = c.close() }()
	var out []string
	for _, n := range append(slices.Clone(c.policy.Secrets.Required), c.policy.Secrets.Optional...) {
		if strings.HasPrefix(n, begun) {
			out = append(out, n)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// readValue reads one secret's value.
func (d *Door) readValue(file string) (wrangler.Secret, error) {
	if file == "-" && d.Asks {
		fmt.Fprintln(d.Stderr, "Type or paste the value, and end it with Ctrl-D on a line of its own; it will be seen on this screen.")
	}
	src, err := d.readSecretBytes(file)
	if err != nil {
		return "", Usage(fmt.Errorf("reading the value: %w", err), "")
	}
	v := strings.TrimRight(string(src), " \t\r\n")
	if v == "" {
		return "", Usage(errors.New("the value is empty"), "give it on standard input or with --from-file")
	}
	d.hideValue(wrangler.Secret(v))
	return wrangler.Secret(v), nil
}

// hideValue masks a value in a workflow's log.
func (d *Door) hideValue(v wrangler.Secret) {
	if d.workflow != nil && v != "" {
		d.mask(d.workflow, string(v))
	}
}

func (d *Door) setSecret(ctx context.Context, slug, name string, f bundleFlags) (err error) {
	c, err := d.open(ctx, f.policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	value, err := d.readValue(f.file)
	if err != nil {
		return err
	}
	return d.changeBundle(ctx, c, slug, f, func(_ fleet.Secrets, b secrets.Bundle) (secrets.Bundle, error) {
		return b.Over(secrets.Bundle{name: value}), nil
	})
}

// changed is what became of a bundle.
type changed struct {
	Exit    int      `json:"exit_code"`
	Shop    string   `json:"shop"`
	Bundle  string   `json:"bundle"`
	Branch  string   `json:"branch"`
	Set     []string `json:"set"`
	Removed []string `json:"removed"`
	*shopCommit
	Findings []deploy.Finding `json:"findings,omitempty"`
}

// changeBundle opens a shop's bundle, has it changed, and commits what came of it. A bundle that has the same secrets as
// before is left as it is: two seals of one text differ.
func (d *Door) changeBundle(ctx context.Context, c *checkout, slug string, f bundleFlags, change func(fleet.Secrets, secrets.Bundle) (secrets.Bundle, error)) error {
	shop, err := c.policy.Shop(slug)
	if err != nil {
		return err
	}
	if err := c.sealable(); err != nil {
		return err
	}
	b, err := c.branch(shop)
	if err != nil {
		return err
	}
	tip := c.tipsByName()[b.Name]
	old, err := c.bundleAt(ctx, slug, tip)
	if err != nil {
		return err
	}
	configs, err := c.repo.Files(ctx, configFile, tip)
	if err != nil {
		return err
	}
	policy := secretPolicy(c.policy, slug, configs[0].Data)
	now, err := change(policy, old.bundle)
	if err != nil {
		return err
	}
	page := changed{Shop: slug, Bundle: c.policy.Secrets.Bundle, Branch: shop.Branch, Set: []string{}, Removed: []string{}}
	page.Findings = c.checkSecrets(policy, opened{there: true}, now)
	if list := deploy.Findings(page.Findings); list.Blocking() {
		return list
	}
	for _, n := range now.Names() {
		if old.bundle[n] != now[n] {
			page.Set = append(page.Set, n)
		}
	}
	for _, n := range old.bundle.Names() {
		if now[n] == "" {
			page.Removed = append(page.Removed, n)
		}
	}
	if len(page.Set)+len(page.Removed) > 0 {
		w, err := d.writer(ctx, c, !f.noPush)
		if err != nil {
			return err
		}
		done, err := w.bundle(ctx, shop, now, bundleMessage(slug, page.Set, page.Removed))
		if err != nil {
			return err
		}
		page.shopCommit = &done
	}
	return d.sayChanged(page, f.json)
}

// bundleMessage is the message of a commit that changes a bundle. It has names and no values.
func bundleMessage(slug string, set, removed []string) string {
	text := slug + ": secrets"
	if len(set) > 0 {
		text += ", set " + namesOf(slices.Clone(set))
	}
	if len(removed) > 0 {
		text += ", removed " + namesOf(slices.Clone(removed))
	}
	return text + "\n"
}

// sealable says why no bundle can be written.
func (c *checkout) sealable() error {
	if len(c.policy.Secrets.Recipients) > 0 {
		return nil
	}
	return Usage(errors.New("nobody could open a bundle: fleet.yml has no secrets.recipients"), "make a key with age-keygen, keep it in "+c.policy.Secrets.Key+", and write its public key (age1…) there")
}

// sealed is a shop's bundle as a commit holds it: the file by its path.
func (c *checkout) sealed(slug string, b secrets.Bundle) (map[string][]byte, error) {
	sealed, err := secrets.Seal(b, c.policy.Secrets.Recipients)
	if err != nil {
		return nil, fmt.Errorf("sealing the secrets of %s: %w", slug, err)
	}
	return map[string][]byte{c.policy.Secrets.Bundle: sealed}, nil
}

// bundle commits a bundle.
func (w *shopWriter) bundle(ctx context.Context, shop fleet.Shop, b secrets.Bundle, message string) (shopCommit, error) {
	files, err := w.c.sealed(shop.Slug, b)
	if err != nil {
		return shopCommit{}, err
	}
	return w.write(ctx, shop, files, message)
}

func (d *Door) sayChanged(p changed, asJSON bool) error {
	if asJSON {
		return report.JSON(d.Stdout, p)
	}
	style := d.style()
	if len(p.Findings) > 0 {
		if err := report.Findings(d.Stderr, style, p.Findings); err != nil {
			return err
		}
	}
	words := func(verb string, names []string) string {
		if len(names) == 0 {
			return ""
		}
		return "  " + verb + " " + strings.Join(names, ", ") + "\n"
	}
	text := style.Bold(report.Clean(p.Shop)) + "  unchanged: the bundle has these secrets already\n"
	if p.shopCommit != nil {
		text = style.Bold(report.Clean(p.Shop)) + "  commit " + shortID(p.ID) + " on " + report.Clean(p.Branch)
		if p.Pushed {
			text += ", pushed"
		}
		text += "\n" + words("set", p.Set) + words("removed", p.Removed)
		if p.Todo != "" {
			text += "  next: " + report.Clean(p.Todo) + "\n"
		}
		text += "  the next deploy uploads it: shopfleet deploy " + report.Clean(p.Shop) + "\n"
	}
	_, err := io.WriteString(d.Stdout, text)
	return err
}

func (d *Door) editSecrets(ctx context.Context, slug string, f bundleFlags) (err error) {
	editor := strings.Fields(d.Getenv("VISUAL"))
	if len(editor) == 0 {
		editor = strings.Fields(d.Getenv("EDITOR"))
	}
	if len(editor) == 0 {
		return Usage(errors.New("there is no editor"), "set EDITOR, or use shopfleet secrets set")
	}
	c, err := d.open(ctx, f.policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	return d.changeBundle(ctx, c, slug, f, func(policy fleet.Secrets, b secrets.Bundle) (now secrets.Bundle, err error) {
		room := d.Getenv("XDG_RUNTIME_DIR") // in memory, and the user's own, where there is one
		if info, err := os.Stat(room); err != nil || !info.IsDir() {
			room = ""
		}
		dir, err := os.MkdirTemp(room, "shopfleet-edit-") // for this user alone
		if err != nil {
			return nil, fmt.Errorf("making a private directory: %w", err)
		}
		defer func() { err = errors.Join(err, wipe(dir)) }()
		file := filepath.Join(dir, slug+".env")
		if err := os.WriteFile(file, editText(policy, slug, b), 0o600); err != nil {
			return nil, fmt.Errorf("writing the text to edit: %w", err)
		}
		for {
			cmd := exec.CommandContext(ctx, editor[0], append(slices.Clone(editor[1:]), file)...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = d.Stdin, d.Stderr, d.Stderr
			cmd.Env, cmd.Dir = d.environ(editorVariables...), dir
			if err := cmd.Run(); err != nil {
				return nil, Usage(fmt.Errorf("the editor %s did not end well: %w", editor[0], err), "nothing was changed")
			}
			now, wrong := c.edited(policy, file)
			if wrong == nil || !d.again(wrong) {
				return now, wrong
			}
		}
	})
}

// edited reads what was edited, and says what is wrong with it.
func (c *checkout) edited(policy fleet.Secrets, file string) (secrets.Bundle, error) {
	src, err := c.door.readSecretBytes(file)
	if err != nil {
		return nil, fmt.Errorf("reading what was edited: %w", err)
	}
	b, err := secrets.Parse(src)
	if err != nil {
		return nil, Usage(fmt.Errorf("what was edited: %w; nothing was changed", err), hintOf(err))
	}
	if list := deploy.Findings(c.checkSecrets(policy, opened{there: true}, b)); list.Blocking() {
		return nil, list
	}
	return b, nil
}

// again asks whether to go back to the editor. Where nobody can be asked that is no.
func (d *Door) again(wrong error) bool {
	if !d.Asks {
		return false
	}
	d.explain(wrong)
	fmt.Fprint(d.Stderr, "Edit again? [Y/n] ")
	var line []byte
	for one := make([]byte, 1); ; { // no more than the line: the rest is the editor's
		if n, err := d.Stdin.Read(one); n == 0 || err != nil && err != io.EOF {
			return false
		}
		if one[0] == '\n' {
			break
		}
		line = append(line, one[0])
	}
	word := strings.ToLower(strings.TrimSpace(string(line)))
	return word == "" || word == "y" || word == "yes"
}

// editText is the text that is edited: the bundle, and what may be added to it.
func editText(policy fleet.Secrets, slug string, b secrets.Bundle) []byte {
	text := secrets.Text(b)
	if strings.HasPrefix(string(text), "{") {
		return text // JSON has no comments
	}
	head := "# Secrets of " + slug + ", one NAME=value on a line. Quote what has spaces, # or several lines.\n"
	for _, n := range append(slices.Clone(policy.Required), policy.Optional...) {
		if b[n] == "" {
			head += "# " + strings.TrimRight(n+"=  "+oneLine(policy.Describe(n).Description), " ") + "\n"
		}
	}
	return append([]byte(head), text...)
}

// editorVariables are what editors need of the environment.
var editorVariables = []string{"HOME", "USER", "LOGNAME", "SHELL", "TERM", "COLORTERM", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"}

// environ is the environment of a program of the user's: what build.command may know, and these variables.
func (d *Door) environ(names ...string) []string {
	out := d.buildEnviron()
	for _, n := range names {
		if v := d.Getenv(n); v != "" {
			out = append(out, n+"="+v)
		}
	}
	return out
}

// wipe overwrites every file of a directory and removes it: what an editor left beside its file, too.
func wipe(dir string) error {
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.Write(make([]byte, info.Size()))
		return errors.Join(err, f.Sync(), f.Close())
	})
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		return fmt.Errorf("wiping what was edited: %w", err)
	}
	return nil
}
