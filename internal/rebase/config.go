package rebase

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// configFile is the file that is merged by its structure.
const configFile = "wrangler.jsonc"

// configContest is the configuration in a merge of whole trees, when both sides changed it; nil when not.
func (w *work) configContest(m git.TreeMerge, merged string) (*contest, error) {
	c := &contest{path: configFile, clean: true}
	for _, side := range []struct {
		tree string
		into *git.Entry
	}{{m.Base, &c.base}, {m.Ours, &c.main}, {m.Theirs, &c.shop}, {merged, &c.merged}} {
		e, err := w.store.Lookup(side.tree, configFile)
		if err != nil {
			return nil, err
		}
		if e.Mode != 0 && !e.IsFile() {
			return nil, nil
		}
		*side.into = e
	}
	if same(c.base, c.main) || same(c.base, c.shop) || same(c.main, c.shop) {
		return nil, nil
	}
	return c, nil
}

// settle decides a contest for a move: what git merged stays unless it is the configuration and means something else;
// what git could not merge is merged by structure, resolved as it was before, or left to a person.
func (w *work) settle(m *carried, c contest) (git.Entry, error) {
	conflict := Conflict{Path: c.path, Commit: c.commit, Base: side(c.base), Main: side(c.main), Shop: side(c.shop)}
	if c.path == configFile {
		e, choices, why, err := w.structure(c)
		if err != nil {
			return git.Entry{}, err
		}
		switch {
		case why == "" && c.clean && e == c.merged:
			return c.merged, nil
		case why == "":
			m.resolved = true
			m.Choices = append(m.Choices, choices...)
			return e, nil
		}
		if conflict.Values = choices; len(choices) == 0 {
			conflict.Why = why
		}
		if c.clean && len(choices) == 0 {
			return c.merged, nil // a side cannot be read: then git's word is all there is
		}
	}
	if c.clean {
		if c.path != configFile {
			return c.merged, nil
		}
	}
	conflict.Key = conflictKey(conflict)
	if r, ok := w.resolutions[conflict.Key]; ok && r.Path == c.path {
		fits, err := w.fits(c.path, r.Result)
		if err != nil {
			return git.Entry{}, err
		}
		had, told, err := w.hadConflict(r, c)
		if err != nil {
			return git.Entry{}, err
		}
		if fits && (had || !told) {
			m.Replayed = append(m.Replayed, Replayed{conflict, r.Shop, !told})
			return entry(c.path, r.Result), nil
		}
	}
	m.Conflicts = append(m.Conflicts, conflict)
	return c.merged, nil
}

// structure merges the configuration by its structure; why says why that is not possible, and then choices are what a
// person has to decide. When git's text means the same, the entry is git's.
func (w *work) structure(c contest) (e git.Entry, choices []wrangler.Choice, why string, err error) {
	var texts [3][]byte
	for i, s := range []git.Entry{c.base, c.main, c.shop} {
		switch {
		case s.Mode == 0 && i == 0:
		case !s.IsFile():
			return e, nil, "it is no file on one side", nil
		default:
			if texts[i], err = w.text(s.ID); err != nil {
				return e, nil, "", err
			}
			if texts[i] == nil {
				return e, nil, "it is no text on one side", nil
			}
		}
	}
	merged, err := wrangler.Merge(configFile, w.branch.Shop.Slug, texts[0], texts[1], texts[2])
	if err != nil {
		return e, nil, err.Error(), nil
	}
	if merged.Text == nil {
		return e, merged.Choices, "a person has to decide", nil
	}
	if c.clean {
		text, err := w.text(c.merged.ID)
		if err != nil {
			return e, nil, "", err
		}
		if text != nil && sameMeaning(text, merged.Text) {
			return c.merged, nil, "", nil
		}
	}
	// The mode is a matter of its own: whoever changed it has it.
	e = git.Entry{Mode: c.main.Mode, Path: c.path, ID: w.store.PutBlob(merged.Text)}
	if c.base.Mode == c.main.Mode {
		e.Mode = c.shop.Mode
	}
	return e, merged.Choices, "", nil
}

// sameMeaning compares two configurations without their comments and layout. What does not parse means nothing.
func sameMeaning(a, b []byte) bool {
	x, err := wrangler.Parse(".", configFile, a)
	if err != nil {
		return false
	}
	y, err := wrangler.Parse(".", configFile, b)
	return err == nil && len(x.Differences(y)) == 0
}

func side(e git.Entry) Side { return Side{Mode: e.Mode, Blob: e.ID} }

func entry(path string, s Side) git.Entry { return git.Entry{Mode: s.Mode, ID: s.Blob, Path: path} }

// conflictKey tells equal conflicts: the same path with the same three sides.
func conflictKey(c Conflict) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00", c.Path)
	for _, s := range []Side{c.Base, c.Main, c.Shop} {
		fmt.Fprintf(h, "%o %s\x00", s.Mode, s.Blob)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// fits says whether a file can be what a conflict was resolved to: it can be read, no marks of a conflict are in it, and
// a configuration is one and has the shop's environment.
func (w *work) fits(path string, s Side) (bool, error) {
	e := entry(path, s)
	switch {
	case s.Mode == 0:
		return path != configFile, nil
	case !e.IsFile():
		return path != configFile && (s.Mode == git.ModeLink || s.Mode == git.ModeSubmodule), nil
	}
	b, err := w.store.Blob(s.Blob, maxText)
	if harmless(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if hasMarks(b, w.branch.Shop.Branch) {
		return false, nil
	}
	if path != configFile {
		return true, nil
	}
	p, err := wrangler.Parse(".", configFile, b)
	return err == nil && slices.Contains(p.Envs(), w.branch.Shop.Slug), nil
}

// hasMarks finds what git leaves in a file that it could not merge: all three marks; or one of those that say whose the sides
// are, which is left when somebody took only the others away. .gitattributes may make them longer or shorter.
func hasMarks(b []byte, branch string) bool {
	const usual = 7
	opened, parted := false, false
	for line := range bytes.Lines(b) {
		switch sign, length, name := mark(line); {
		case sign == '<' && name == "main", sign == '>' && name == branch:
			return true
		case length < usual:
		case sign == '<' && name != "":
			opened = true
		case sign == '=':
			parted = opened
		case sign == '>' && name != "" && parted:
			return true
		}
	}
	return false
}

// mark reads a line that git may have marked a conflict with: a run of one sign, and behind a blank the name of a side.
// length is 0 when it is none.
func mark(line []byte) (sign byte, length int, name string) {
	line = bytes.TrimRight(line, "\r\n")
	const shortest = 3 // git takes less, and then nothing tells a mark from what people write
	if len(line) < shortest || !bytes.Contains([]byte("<=>"), line[:1]) {
		return 0, 0, ""
	}
	rest := bytes.TrimLeft(line, string(line[:1]))
	if length = len(line) - len(rest); length < shortest {
		return 0, 0, ""
	}
	name, _ = strings.CutPrefix(string(rest), " ")
	if len(name) == len(rest) {
		name = "" // no blank
	}
	return line[0], length, name
}

// marked says whether an entry is a file with marks in it.
func (w *work) marked(e git.Entry) (bool, error) {
	if !e.IsFile() {
		return false, nil
	}
	text, err := w.text(e.ID)
	return hasMarks(text, w.branch.Shop.Branch), err
}
