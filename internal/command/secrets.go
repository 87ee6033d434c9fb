package command

// Where the secrets of a deploy come from. Later sources win: the bundle on the shop's branch, then what is given with the
// command (--secrets-file, or the action's input).

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/secrets"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// readSecrets reads the values of a secrets file: a flat JSON object of strings, or dotenv lines. "-" is standard input.
// nil is no file. Errors never quote the file's contents.
func (d *Door) readSecrets(name string) (secrets.Bundle, error) {
	if name == "" {
		return nil, nil
	}
	src, err := d.readSecretBytes(name)
	if err != nil {
		return nil, Usage(fmt.Errorf("reading the secrets file: %w", err), "")
	}
	return parseSecrets(src)
}

// parseSecrets reads secrets in either form.
func parseSecrets(src []byte) (secrets.Bundle, error) {
	b, err := secrets.Parse(src)
	if err != nil {
		return nil, Usage(fmt.Errorf("the secrets file: %w", err), hintOf(err))
	}
	return b, nil
}

func (d *Door) readSecretBytes(name string) ([]byte, error) {
	if name == "-" {
		return readBounded(d.Stdin)
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(d.Dir, name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f)
}

func readBounded(r io.Reader) ([]byte, error) {
	src, err := io.ReadAll(io.LimitReader(r, secrets.MaxSize+1))
	if err == nil && len(src) > secrets.MaxSize {
		err = fmt.Errorf("it is larger than %d bytes", secrets.MaxSize)
	}
	return src, err
}

// identity is the age identity that opens bundles; "" when nobody gave one. In a workflow it is masked in the log.
func (d *Door) identity(policy *fleet.Policy) string {
	id := d.Getenv(policy.Secrets.Key)
	if d.workflow != nil {
		for line := range strings.Lines(id) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				d.mask(d.workflow, line)
			}
		}
	}
	return id
}

// opened is the bundle on a shop's branch.
type opened struct {
	bundle secrets.Bundle // nil when there is none, or it was not opened
	there  bool
	err    error // why it cannot be opened
}

// bundles opens the bundles of commits, all read by one git.
func (c *checkout) bundles(ctx context.Context, commits []string) ([]opened, error) {
	out := make([]opened, len(commits))
	if len(commits) == 0 {
		return out, nil
	}
	files, err := c.objects.Files(ctx, c.policy.Secrets.Bundle, commits...)
	if err != nil {
		return nil, fmt.Errorf("reading the shops' bundles: %w", err)
	}
	identity := c.door.identity(c.policy)
	for i, f := range files {
		if out[i].there = !errors.Is(f.Err, fs.ErrNotExist); !out[i].there {
			continue
		}
		if out[i].err = f.Err; f.Err == nil {
			out[i].bundle, out[i].err = secrets.Open(f.Data, identity)
		}
		for _, v := range out[i].bundle {
			c.door.hideValue(v)
		}
	}
	return out, nil
}

// unreadable says why a shop's bundle was not opened.
func (c *checkout) unreadable(slug string, err error) deploy.Finding {
	f := deploy.Finding{
		Rule: "bundle-unreadable", Level: deploy.LevelError, File: c.policy.Secrets.Bundle,
		Message:  fmt.Sprintf("the secrets of %s cannot be opened: %v", slug, err),
		Expected: "a file that age encrypted for a recipient of fleet.yml",
	}
	var parse *secrets.ParseError
	switch {
	case errors.Is(err, secrets.ErrNoIdentity), errors.Is(err, secrets.ErrBadIdentity):
		f.Hint = "set " + c.policy.Secrets.Key + " to the identity that age-keygen made, AGE-SECRET-KEY-1…"
	case errors.Is(err, secrets.ErrOtherKey):
		f.Hint = "give the identity of a recipient that it was encrypted for, or encrypt it again for those in fleet.yml"
		if own := secrets.Recipient(c.door.Getenv(c.policy.Secrets.Key)); own != "" && !slices.Contains(c.policy.Secrets.Recipients, own) {
			f.Hint = "the identity in " + c.policy.Secrets.Key + " belongs to " + own + ", which is no recipient in fleet.yml; " + f.Hint
		}
	case errors.As(err, &parse):
		f.Hint = parse.Hint()
	default:
		f.Hint = "take it from an earlier commit of the branch: git log -- " + c.policy.Secrets.Bundle
	}
	return f
}

// secretPolicy is what the fleet says of the secrets of a shop whose config is given, with those that the config requires.
func secretPolicy(policy *fleet.Policy, slug string, config []byte) fleet.Secrets {
	s := policy.Secrets
	s.Required = slices.Clone(s.Required)
	p, err := wrangler.Parse("", configFile, config)
	if err != nil {
		return s // said where the config is resolved
	}
	var more []string
	if json.Unmarshal(p.Value("env", slug, "secrets", "required"), &more) == nil {
		for _, n := range more {
			if !slices.Contains(s.Required, n) {
				s.Required = append(s.Required, n)
			}
		}
	}
	return s
}

// secretUse is what a deploy does with secrets.
type secretUse struct {
	given secrets.Bundle // with the command, for all shops; nil when nothing was
	// apply says that the shops are deployed, and so every bundle has to be opened; offline that nothing but the commit counts.
	apply, offline bool
}

// withSecrets puts into sources what each shop's secrets are, and what is wrong with them. The sources are changed.
//
// Only a source that names all of a shop's secrets can tell that one is gone: the bundle, or the action's input, and not a
// file that somebody gave for one deploy.
func (c *checkout) withSecrets(ctx context.Context, sources map[string]deploy.Source, use secretUse) error {
	slugs := sortedKeys(sources)
	commits := make([]string, len(slugs))
	for i, slug := range slugs {
		commits[i] = sources[slug].Commit
	}
	bundles, err := c.bundles(ctx, commits)
	if err != nil {
		return err
	}
	identity := c.door.identity(c.policy)
	for i, slug := range slugs {
		src, b := sources[slug], bundles[i]
		policy := secretPolicy(c.policy, slug, src.Config)
		if b.err != nil {
			f := c.unreadable(slug, b.err)
			if errors.Is(b.err, secrets.ErrNoIdentity) && !use.apply {
				if use.offline {
					continue
				}
				f = deploy.Finding{Rule: "bundle-closed", Level: deploy.LevelNotice, File: c.policy.Secrets.Bundle,
					Message: "the secrets of " + slug + " were not looked at: " + c.policy.Secrets.Key + " is not set",
					Hint:    "the deploy opens them; set it to plan with them"}
			}
			src.Found = append(src.Found, f)
			sources[slug] = src
			continue
		}
		all := b.bundle.Over(use.given)
		src.Found = append(src.Found, c.checkSecrets(policy, b, all)...)
		if len(all) > 0 && !use.offline {
			src.Secrets, src.Fingerprints = all, all.Fingerprints(identity, slug)
		}
		whole := b.bundle != nil || c.door.workflow != nil && use.given != nil
		src.RemoveSecrets = whole && c.policy.Secrets.Removed == fleet.RemovedDelete && !use.offline
		sources[slug] = src
	}
	return nil
}

// checkSecrets holds a shop's secrets against fleet.yml. That a required one is in no source is decided by the Worker, which
// may have it; of a bundle, which should have all, it is said all the same. A fleet that names no secret has no names to
// keep to.
func (c *checkout) checkSecrets(policy fleet.Secrets, b opened, all secrets.Bundle) []deploy.Finding {
	if !b.there && len(all) == 0 {
		return nil
	}
	named := len(policy.Required)+len(policy.Optional) > 0
	var out []deploy.Finding
	for _, f := range secrets.Check(policy, all) {
		switch {
		case f.Rule == secrets.RuleUnknown && !named, f.Rule == secrets.RuleAbsent && !b.there:
			continue
		case f.Rule == secrets.RuleAbsent:
			f.Level = deploy.LevelWarning
		}
		if b.there {
			f.File = c.policy.Secrets.Bundle
		}
		out = append(out, deploy.Finding(f))
	}
	return out
}

// bundleAt opens the bundle of one commit. The error is Findings where it cannot be opened.
func (c *checkout) bundleAt(ctx context.Context, slug, commit string) (opened, error) {
	list, err := c.bundles(ctx, []string{commit})
	if err != nil {
		return opened{}, err
	}
	if list[0].err != nil {
		return list[0], deploy.Findings{c.unreadable(slug, list[0].err)}
	}
	return list[0], nil
}

// withoutBundle is a shop's tree as it is built: no shop's secrets are part of what it runs, and shops that differ in nothing
// else share a bundle of code.
func withoutBundle(policy *fleet.Policy, tree git.Tree) git.Tree {
	return tree.Without(configFile, policy.Secrets.Bundle)
}
