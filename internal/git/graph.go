package git

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Graph is the history below some commits: who is whose parent, and nothing of what the commits hold.
type Graph struct{ h history }

// Graph reads the history below many commits in one process. A commit whose history cannot be read does not keep the
// others from it: wrong says, in the order of the commits, why there is none. The error is about the repository.
func (r *Repository) Graph(ctx context.Context, commits ...string) (g *Graph, wrong []error, err error) {
	wrong = make([]error, len(commits))
	var asked []string
	for i, id := range commits {
		if wrong[i] = checkID(id); wrong[i] == nil {
			asked = append(asked, id)
		}
	}
	h, err := r.history(ctx, asked...)
	if err == nil {
		return &Graph{h}, wrong, nil
	}
	if ctx.Err() != nil {
		return nil, nil, err
	}
	// One of them is damaged. Which one only shows when they are asked for one by one.
	g = &Graph{history{}}
	for i, id := range commits {
		if wrong[i] != nil || g.h[id] != nil {
			continue
		}
		h, err := r.history(ctx, id)
		if ctx.Err() != nil {
			return nil, nil, err
		}
		if err != nil {
			wrong[i] = &NotFoundError{"commit", id}
			if said := new(Error); errors.As(err, &said) && said.ExitCode < 0 {
				return nil, nil, err
			}
			continue
		}
		for id, a := range h {
			g.h[id] = a
		}
	}
	return g, wrong, nil
}

// Has says whether the graph has a commit.
func (g *Graph) Has(id string) bool { return g.h[id] != nil }

// Parents are a commit's parents. Do not change them.
func (g *Graph) Parents(id string) []string {
	if a := g.h[id]; a != nil {
		return a.parents
	}
	return nil
}

// Made is when a commit was made, by its committer's clock.
func (g *Graph) Made(id string) time.Time {
	if a := g.h[id]; a != nil {
		return time.Unix(a.made, 0).UTC()
	}
	return time.Time{}
}

// Ancestors are these commits and everything below them.
func (g *Graph) Ancestors(ids ...string) map[string]bool { return g.h.from(ids...) }

// Line is a commit and its first parents, the newest first: what a branch was, one after the other.
func (g *Graph) Line(id string) []string { return g.h.line(id) }

// Above are the commits that can be reached from one without passing a commit of the given sets, parents before their
// children. Of lines that were merged, one comes after the other, the first parent's first.
func (g *Graph) Above(id string, below ...map[string]bool) []string {
	outside := func(id string) bool {
		return g.h[id] == nil || slices.ContainsFunc(below, func(set map[string]bool) bool { return set[id] })
	}
	if outside(id) {
		return nil
	}
	var out []string
	type step struct {
		id   string
		next int // which parent comes next
	}
	seen := map[string]bool{id: true}
	for path := []step{{id: id}}; len(path) > 0; {
		at := &path[len(path)-1]
		parents := g.h[at.id].parents
		if at.next == len(parents) {
			out = append(out, at.id)
			path = path[:len(path)-1]
			continue
		}
		p := parents[at.next]
		at.next++
		if !seen[p] && !outside(p) {
			seen[p] = true
			path = append(path, step{id: p})
		}
	}
	return out
}
