package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Commit is what a commit says of itself.
type Commit struct {
	ID         string
	Tree       string
	Parents    []string
	Subject    string    // the first paragraph of its message, on one line
	AuthorDate time.Time // UTC; the zero time when the commit has none that can be read
	CommitDate time.Time // likewise
}

// Commit reads a commit by its full id. The error is a *NotFoundError when there is none.
func (r *Repository) Commit(ctx context.Context, id string) (Commit, error) {
	if err := checkID(id); err != nil {
		return Commit{}, err
	}
	o, err := r.objects(ctx)
	if err != nil {
		return Commit{}, err
	}
	defer o.close()
	var c Commit
	err = o.get(id, func(kind, id string, size int64, body io.Reader) error {
		if kind != "commit" {
			return &MissingError{id}
		}
		raw, err := io.ReadAll(body)
		c = parseCommit(id, raw)
		return err
	})
	if errors.As(err, new(*MissingError)) {
		return Commit{}, &NotFoundError{"commit", id}
	}
	return c, err
}

// shortID is the beginning of an object's id, or a whole one: nothing that git could take for a branch or for an option
// alone, and long enough to mean one commit.
var shortID = regexp.MustCompile(`^[0-9a-f]{7,64}$`)

// Whole is the full id of the commit that an id of at least seven digits begins. The error is a *NotFoundError when there is
// none, or more than one.
func (r *Repository) Whole(ctx context.Context, id string) (string, error) {
	none := &NotFoundError{"commit", id}
	if !shortID.MatchString(id) {
		return "", none
	}
	out, err := r.run(ctx, nil, "rev-parse", "--verify", "--quiet", "--end-of-options", id+"^{commit}")
	if exitCode(err) == 1 || exitCode(err) == 128 {
		return "", none
	}
	if err != nil {
		return "", fmt.Errorf("looking for a commit: %w", err)
	}
	whole := strings.TrimSpace(string(out))
	if !strings.HasPrefix(whole, id) { // a branch has that name
		return "", none
	}
	return whole, nil
}

// parseCommit reads a commit object: header lines, an empty line, the message.
func parseCommit(id string, raw []byte) Commit {
	c := Commit{ID: id}
	header, message, _ := bytes.Cut(raw, []byte("\n\n"))
	for line := range strings.Lines(string(header)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch key {
		case "tree":
			c.Tree = value
		case "parent":
			c.Parents = append(c.Parents, value)
		case "author":
			c.AuthorDate = signatureDate(value)
		case "committer":
			c.CommitDate = signatureDate(value)
		}
	}
	subject, _, _ := strings.Cut(strings.TrimLeft(string(message), "\n"), "\n\n")
	c.Subject = strings.ToValidUTF8(strings.Join(strings.Fields(subject), " "), "\ufffd")
	return c
}

// signatureDate takes the date from "name <address> seconds zone".
func signatureDate(s string) time.Time {
	_, date, _ := strings.Cut(s[strings.LastIndex(s, ">")+1:], " ")
	seconds, _, _ := strings.Cut(date, " ")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || n < 0 || n > maxDate {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

// signatureLine is who made a commit, as git wants it: fsck refuses others, and so does a push.
var signatureLine = regexp.MustCompile(`^[^<>\x00\n]* <[^<>\x00\n]*> (0|[1-9][0-9]{0,17}) [+-][0-9]{4}$`)

// maxDate is the last second of the year 9999, the last that RFC 3339 can write.
const maxDate = 253402300799

// UnrelatedError says that two commits have no common ancestor, as far as this clone knows.
type UnrelatedError struct {
	A, B    string
	Shallow bool // the clone lacks history, and that may be why
}

func (e *UnrelatedError) Error() string {
	return fmt.Sprintf("commits %s and %s have no common ancestor", e.A, e.B)
}

// Hint says what to do about it.
func (e *UnrelatedError) Hint() string {
	if e.Shallow {
		return "the clone is shallow: git fetch --unshallow, or fetch-depth: 0 in actions/checkout"
	}
	return "a shop's branch starts from main"
}

// MergeBase is the best common ancestor of two commits. The error is an *UnrelatedError when there is none.
func (r *Repository) MergeBase(ctx context.Context, a, b string) (string, error) {
	if err := checkID(a, b); err != nil {
		return "", err
	}
	out, err := r.run(ctx, nil, "merge-base", a, b)
	if exitCode(err) == 1 {
		shallow, err := r.Shallow(ctx)
		if err != nil {
			return "", err
		}
		return "", &UnrelatedError{a, b, shallow}
	}
	if err != nil {
		return "", fmt.Errorf("looking for a common ancestor: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// MainBase is the newest commit which main was, and which is in the history of a commit. A commit that came to main by a
// merge was never main: what it held need not have been what was merged, so that it is nobody's base. The error is an
// *UnrelatedError when there is no such commit.
func (r *Repository) MainBase(ctx context.Context, main, commit string) (string, error) {
	if err := checkID(main, commit); err != nil {
		return "", err
	}
	// What main was and the commit lacks. The parent of the oldest is in the commit, or there is none.
	out, err := r.run(ctx, nil, "rev-list", "--topo-order", "--first-parent", "--parents", main, "--not", commit)
	if err != nil {
		return "", fmt.Errorf("looking for the commit of main below %s: %w", commit, err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	oldest := strings.Fields(lines[len(lines)-1])
	switch len(oldest) {
	case 0:
		return main, nil
	case 1:
		shallow, err := r.Shallow(ctx)
		if err != nil {
			return "", err
		}
		return "", &UnrelatedError{main, commit, shallow}
	}
	return oldest[1], nil
}

// IsAncestor says whether a is b or one of its ancestors. In a shallow clone it may say no where the whole history
// would say yes.
func (r *Repository) IsAncestor(ctx context.Context, a, b string) (bool, error) {
	if err := checkID(a, b); err != nil {
		return false, err
	}
	_, err := r.run(ctx, nil, "merge-base", "--is-ancestor", a, b)
	if exitCode(err) == 1 {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for an ancestor: %w", err)
	}
	return true, nil
}

// Changed lists the paths in which two commits differ, in git's order. A renamed file is two paths.
func (r *Repository) Changed(ctx context.Context, from, to string) ([]string, error) {
	if err := checkID(from, to); err != nil {
		return nil, err
	}
	out, err := r.run(ctx, nil, "diff-tree", "-r", "-z", "--no-renames", "--name-only", "--no-ext-diff", "--no-textconv",
		"--ignore-submodules=none", from, to)
	if err != nil {
		return nil, fmt.Errorf("comparing commits: %w", err)
	}
	if len(out) == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"), nil
}

// Shallow says whether the clone lacks a part of the history.
func (r *Repository) Shallow(ctx context.Context) (bool, error) {
	out, err := r.run(ctx, nil, "rev-parse", "--is-shallow-repository")
	return strings.TrimSpace(string(out)) == "true", err
}
