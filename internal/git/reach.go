package git

import (
	"context"
	"fmt"
	"strings"
)

// NotIn lists the commits that can be reached from any of some tips and from none of others, each before its parents.
func (r *Repository) NotIn(ctx context.Context, tips, others []string) ([]string, error) {
	if len(tips) == 0 {
		return nil, nil
	}
	if err := checkID(append(append([]string(nil), tips...), others...)...); err != nil {
		return nil, err
	}
	// Standard input, since a command line has a limit.
	var in strings.Builder
	for _, id := range tips {
		in.WriteString(id + "\n")
	}
	for _, id := range others {
		in.WriteString("^" + id + "\n")
	}
	out, err := r.run(ctx, strings.NewReader(in.String()), "rev-list", "--topo-order", "--stdin")
	if err != nil {
		return nil, fmt.Errorf("listing the commits of %d tips: %w", len(tips), err)
	}
	return strings.Fields(string(out)), nil
}

// FirstParents are the commits that a branch was, from tip down to base and without it, the newest first: what came to it by
// a merge is the merge.
func (r *Repository) FirstParents(ctx context.Context, tip, base string) ([]Commit, error) {
	if err := checkID(tip, base); err != nil {
		return nil, err
	}
	out, err := r.run(ctx, nil, "rev-list", "--first-parent", "--no-commit-header", "--format=%H%x09%ct%x09%s", tip, "^"+base)
	if err != nil {
		return nil, fmt.Errorf("reading the history from %s to %s: %w", base, tip, err)
	}
	var list []Commit
	for line := range strings.Lines(string(out)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
		if len(f) != 3 || checkID(f[0]) != nil {
			return nil, fmt.Errorf("reading the history from %s to %s: unexpected line %q", base, tip, line)
		}
		list = append(list, Commit{ID: f[0], CommitDate: signatureDate("> " + f[1] + " +0000"), Subject: strings.ToValidUTF8(f[2], "\ufffd")})
	}
	return list, nil
}

// ChangedFrom lists for each of many commits the paths in which it differs from one, in git's order. It is one process.
func (r *Repository) ChangedFrom(ctx context.Context, base string, commits ...string) ([][]string, error) {
	if err := checkID(append([]string{base}, commits...)...); err != nil {
		return nil, err
	}
	if len(commits) == 0 {
		return nil, nil
	}
	var in strings.Builder
	for _, id := range commits {
		in.WriteString(id + " " + base + "\n") // a commit, and what is to be taken for its parent
	}
	// Raw, since there a path cannot be taken for the next commit.
	out, err := r.run(ctx, strings.NewReader(in.String()), "diff-tree", "--stdin", "-r", "-z", "--raw", "--no-renames", "--always",
		"--no-ext-diff", "--no-textconv", "--ignore-submodules=none")
	if err != nil {
		return nil, fmt.Errorf("comparing %d commits with %s: %w", len(commits), base, err)
	}
	lists := make([][]string, len(commits))
	at := -1
	fields := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	for i := 0; i < len(fields); i++ {
		switch next := at + 1; {
		case at >= 0 && strings.HasPrefix(fields[i], ":") && i+1 < len(fields):
			i++
			lists[at] = append(lists[at], fields[i])
		case next < len(commits) && fields[i] == commits[next]:
			at = next
		default:
			return nil, fmt.Errorf("comparing commits with %s: unexpected answer %q", base, fields[i])
		}
	}
	if at != len(commits)-1 {
		return nil, fmt.Errorf("comparing commits with %s: git answered for %d of %d", base, at+1, len(commits))
	}
	return lists, nil
}
