package git

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Based is where a commit stands on another line of history.
type Based struct {
	// Commit is where the line was when the commit left it, as MainBase has it; "" when it never was on it.
	Commit string
	// Behind is how many commits of the line the commit lacks, Since when the oldest of them was made (zero without any).
	Behind int
	Since  time.Time
}

// Bases says where each of many commits stands on main, in one process however many there are: asking git for one merge
// base costs a process each. The results are in the order of the commits.
func (r *Repository) Bases(ctx context.Context, main string, commits ...string) ([]Based, error) {
	if err := checkID(append([]string{main}, commits...)...); err != nil {
		return nil, err
	}
	h, err := r.history(ctx, append([]string{main}, commits...)...)
	if err != nil {
		return nil, fmt.Errorf("reading the history of %d branches: %w", len(commits), err)
	}
	trunk := h.from(main)
	line := h.line(main)
	known := map[string]Based{} // by where a branch leaves main: most leave it at the same few commits
	based := make([]Based, len(commits))
	for i, commit := range commits {
		leaves := h.leaves(commit, trunk)
		key := strings.Join(leaves, " ")
		b, ok := known[key]
		if !ok {
			b = h.based(trunk, line, leaves)
			known[key] = b
		}
		based[i] = b
	}
	return based, nil
}

// history is commits by id.
type history map[string]*ancestor

// history reads what is below some commits, in one process. A commit that the repository lacks is an error.
func (r *Repository) history(ctx context.Context, commits ...string) (history, error) {
	asked := slices.Compact(slices.Sorted(slices.Values(commits)))
	// Standard input, since a command line has a limit.
	out, err := r.run(ctx, strings.NewReader(strings.Join(asked, "\n")+"\n"), "rev-list", "--stdin", "--parents", "--timestamp")
	if err != nil {
		return nil, err
	}
	h := history{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			return nil, fmt.Errorf("unexpected line %q", line)
		}
		made, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("unexpected line %q", line)
		}
		h[f[1]] = &ancestor{made: made, parents: f[2:]}
	}
	return h, nil
}

type ancestor struct {
	made    int64
	parents []string
}

// from is a commit and all its ancestors.
func (h history) from(starts ...string) map[string]bool {
	seen := map[string]bool{}
	for todo := slices.Clone(starts); len(todo) > 0; {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[id] || h[id] == nil {
			continue
		}
		seen[id] = true
		todo = append(todo, h[id].parents...)
	}
	return seen
}

// leaves are the first commits of a trunk on every way down from a commit, sorted.
func (h history) leaves(commit string, trunk map[string]bool) []string {
	var out []string
	seen := map[string]bool{}
	for todo := []string{commit}; len(todo) > 0; {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		switch {
		case seen[id] || h[id] == nil:
		case trunk[id]:
			out = append(out, id)
		default:
			todo = append(todo, h[id].parents...)
		}
		seen[id] = true
	}
	slices.Sort(out)
	return out
}

// line is a commit and its first parents: what a branch was, one after the other, and nothing that was merged into it.
func (h history) line(commit string) []string {
	var out []string
	for h[commit] != nil {
		out = append(out, commit)
		if len(h[commit].parents) == 0 {
			break
		}
		commit = h[commit].parents[0]
	}
	return out
}

// based tells what of a trunk, and of its line of first parents, a commit that leaves it there lacks.
func (h history) based(trunk map[string]bool, line, leaves []string) Based {
	has := h.from(leaves...)
	var b Based
	for id := range trunk {
		if made := time.Unix(h[id].made, 0).UTC(); !has[id] {
			b.Behind++
			if b.Since.IsZero() || made.Before(b.Since) {
				b.Since = made
			}
		}
	}
	if i := slices.IndexFunc(line, func(id string) bool { return has[id] }); i >= 0 {
		b.Commit = line[i]
	}
	return b
}
