package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Draft is a commit to be made by Write. The same drafts give the same commit ids on every machine and at any time.
type Draft struct {
	// Branch gets the commit. A branch that does not exist yet begins where From is.
	Branch string
	// From is the branch that a new Branch starts from; "" makes a commit without a parent.
	From string
	// Message is the commit message.
	Message string
	// When is the author's and committer's date, in whole seconds. Zero is the first second of 2026, in UTC.
	When time.Time
	// Files are written, by path from the top.
	Files map[string][]byte
	// Remove are paths of files and directories that are taken away before Files are written.
	Remove []string
}

// signature is who drafts are by. It is nobody, so that no machine's user gets into a commit's id.
const signature = "shopfleet <shopfleet@example.invalid>"

// Init makes a new, empty repository in a directory, which is made if it is missing. Its first branch will be main.
func Init(ctx context.Context, dir string) (*Repository, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("making a repository: %w", err)
	}
	if err := os.MkdirAll(abs, 0o755); err != nil {
		return nil, fmt.Errorf("making a repository: %w", err)
	}
	if isRepository(abs) {
		return nil, fmt.Errorf("making a repository: %s is one already", abs)
	}
	r := &Repository{Dir: abs}
	if _, err := r.run(ctx, nil, "init", "--quiet", "--template=", "--initial-branch=main", "--object-format=sha1"); err != nil {
		return nil, fmt.Errorf("making a repository: %w", err)
	}
	return r, nil
}

// Write makes commits, in order and all in one process, and returns their ids. It moves branches and nothing else: the
// work tree stays as it is.
func (r *Repository) Write(ctx context.Context, drafts ...Draft) ([]string, error) {
	branches, err := r.Branches(ctx, "")
	if err != nil {
		return nil, err
	}
	tips := map[string]string{} // what fast-import calls a branch's newest commit
	for _, b := range branches {
		if b.Local != "" {
			tips[b.Name] = b.Local
		}
	}
	var stream bytes.Buffer
	for i, d := range drafts {
		if strings.ContainsFunc(d.Branch, func(c rune) bool { return c <= ' ' || c == 0x7f }) || d.Branch == "" {
			return nil, fmt.Errorf("writing commits: %q is no name for a branch", d.Branch)
		}
		parent, ok := tips[d.Branch]
		if !ok && d.From != "" {
			if parent, ok = tips[d.From]; !ok {
				return nil, fmt.Errorf("writing commits: %w", &NotFoundError{"branch", d.From})
			}
		}
		tips[d.Branch] = fmt.Sprintf(":%d", i+1)
		d.encode(&stream, i+1, parent)
	}
	stream.WriteString("done\n")
	out, err := r.run(ctx, &stream, "fast-import", "--quiet", "--done", "--date-format=raw")
	if err != nil {
		return nil, fmt.Errorf("writing commits: %w", err)
	}
	ids := strings.Fields(string(out))
	if len(ids) != len(drafts) || checkID(ids...) != nil {
		return nil, errors.New("writing commits: git did not say which commits it made")
	}
	return ids, nil
}

// encode writes the draft in the language of git-fast-import(1).
func (d Draft) encode(b *bytes.Buffer, mark int, parent string) {
	when := d.When
	if when.IsZero() {
		when = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	}
	data := func(p []byte) { fmt.Fprintf(b, "data %d\n%s\n", len(p), p) }
	fmt.Fprintf(b, "commit %s%s\nmark :%d\n", localRefs, d.Branch, mark)
	fmt.Fprintf(b, "author %s %d +0000\ncommitter %s %d +0000\n", signature, when.Unix(), signature, when.Unix())
	data([]byte(d.Message))
	if parent != "" {
		fmt.Fprintf(b, "from %s\n", parent)
	}
	for _, path := range d.Remove {
		fmt.Fprintf(b, "D %s\n", importPath(path))
	}
	for _, path := range slices.Sorted(maps.Keys(d.Files)) {
		fmt.Fprintf(b, "M 100644 inline %s\n", importPath(path))
		data(d.Files[path])
	}
	fmt.Fprintf(b, "\nget-mark :%d\n", mark)
}

// importPath quotes a path as fast-import wants it.
func importPath(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(path) + `"`
}

// Checkout makes a branch the current one and the work tree its files, throwing away what was changed there.
func (r *Repository) Checkout(ctx context.Context, branch string) error {
	if _, err := r.Branch(ctx, branch); err != nil {
		return err
	}
	if _, err := r.run(ctx, nil, "symbolic-ref", "HEAD", localRefs+branch); err != nil {
		return fmt.Errorf("checking out %s: %w", branch, err)
	}
	if _, err := r.run(ctx, nil, "reset", "--quiet", "--hard"); err != nil {
		return fmt.Errorf("checking out %s: %w", branch, err)
	}
	return nil
}
