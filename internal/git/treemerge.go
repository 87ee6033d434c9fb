package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// TreeMerge asks for a merge of three trees, or of two commits with the base that git finds itself.
type TreeMerge struct {
	// Base, Ours and Theirs are trees; with Base "", Ours and Theirs are commits.
	Base, Ours, Theirs string
}

// TreeMerged is what git made of a TreeMerge.
type TreeMerged struct {
	Tree string
	// Conflicts are the paths that git asks a person about, in its order. In Tree they have its marks.
	Conflicts []Unmerged
	// OursLabel and TheirsLabel are how git's marks, and names of files that it moved out of the way, call the two sides.
	OursLabel, TheirsLabel string
	// Err says why git could not merge at all.
	Err error
}

// Unmerged is a path in conflict, with what each side has there; the zero Entry is nothing.
type Unmerged struct {
	Path               string
	Base, Ours, Theirs Entry
}

// MergeTrees makes many merges in one process, and writes what was made before. attributes are those of the file
// .gitattributes that git is to know. One merge that git cannot make does not keep it from the others. The error is about
// the repository.
func (s *Store) MergeTrees(attributes []byte, list ...TreeMerge) ([]TreeMerged, error) {
	out := make([]TreeMerged, len(list))
	pairs := make([][2]string, len(list))
	for i, m := range list {
		pairs[i] = [2]string{m.Ours, m.Theirs}
		if m.Base != "" {
			// git takes a tree that is missing for one with nothing in it, and everything for deleted.
			for _, tree := range []string{m.Base, m.Ours, m.Theirs} {
				if _, err := s.level(tree); err != nil {
					if !errors.As(err, new(*MissingError)) && !errors.As(err, new(*EntryError)) {
						return nil, err
					}
					out[i].Err = err
				}
			}
			// git finds the base itself, so that commits are needed which have that one.
			who := signature + " 0 +0000"
			commit := func(tree string, parents ...string) string {
				return s.PutCommit(RawCommit{Tree: tree, Parents: parents, Author: who, Committer: who})
			}
			base := commit(m.Base)
			pairs[i] = [2]string{commit(m.Ours, base), commit(m.Theirs, base)}
			if m.Ours == m.Theirs {
				out[i].Tree = m.Ours
			}
		}
		out[i].OursLabel, out[i].TheirsLabel = pairs[i][0], pairs[i][1]
	}
	if err := s.Flush(); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "shopfleet-attributes-")
	if err != nil {
		return nil, fmt.Errorf("writing the attributes: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(attributes)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, fmt.Errorf("writing the attributes: %w", err)
	}
	todo := make([]int, 0, len(list))
	for i := range list {
		if out[i].Tree == "" && out[i].Err == nil {
			todo = append(todo, i)
		}
	}
	for one := false; len(todo) > 0; {
		batch := todo
		if one {
			batch = todo[:1] // git died: is it of this one?
		}
		answers, err := s.r.mergeTrees(s.ctx, filepath.ToSlash(file.Name()), pairs, batch)
		if s.ctx.Err() != nil {
			return nil, err
		}
		for k, a := range answers {
			a.OursLabel, a.TheirsLabel = out[batch[k]].OursLabel, out[batch[k]].TheirsLabel
			out[batch[k]] = a
		}
		todo = todo[len(answers):]
		if err != nil && one && len(answers) == 0 {
			out[todo[0]].Err = fmt.Errorf("git cannot merge it: %w", err)
			todo = todo[1:]
		}
		one = err != nil && !one
	}
	return out, nil
}

// mergeTrees asks one git; there are fewer answers than were asked for when it died.
func (r *Repository) mergeTrees(ctx context.Context, attributes string, pairs [][2]string, which []int) ([]TreeMerged, error) {
	var in bytes.Buffer
	for _, i := range which {
		if err := checkID(pairs[i][:]...); err != nil {
			return nil, err
		}
		fmt.Fprintf(&in, "%s %s\n", pairs[i][0], pairs[i][1])
	}
	out, failed := r.run(ctx, io.Reader(&in), "-c", "core.attributesFile="+attributes, "merge-tree", "--write-tree", "--stdin", "--no-messages", "-z")
	answers, err := parseMerges(out)
	if failed == nil && err == nil && len(answers) != len(which) {
		err = fmt.Errorf("%d answers to %d questions", len(answers), len(which))
	}
	if failed == nil {
		failed = err
	}
	if failed != nil {
		failed = fmt.Errorf("merging: %w", failed)
	}
	return answers[:min(len(answers), len(which))], failed
}

// parseMerges reads the answers of git merge-tree --stdin -z, as far as they are whole.
func parseMerges(out []byte) ([]TreeMerged, error) {
	var answers []TreeMerged
	next := func() (string, bool) {
		field, rest, ok := bytes.Cut(out, []byte{0})
		if ok {
			out = rest
		}
		return string(field), ok
	}
	for len(out) > 0 {
		var m TreeMerged
		clean, ok := next()
		tree, more := next()
		if !ok || !more {
			break
		}
		if clean != "0" && clean != "1" || checkID(tree) != nil {
			return answers, fmt.Errorf("unexpected answer %.80q", clean+" "+tree)
		}
		m.Tree = tree
		for {
			field, ok := next()
			if !ok {
				return answers, fmt.Errorf("an answer ends too early")
			}
			if field == "" {
				break
			}
			if err := m.unmerged(field); err != nil {
				return answers, err
			}
		}
		if (clean == "1") != (len(m.Conflicts) == 0) {
			// A conflict without a path, as of a directory that was split, has git's word and no more.
			if clean == "1" {
				return answers, fmt.Errorf("a clean merge with conflicts")
			}
			m.Conflicts = append(m.Conflicts, Unmerged{})
		}
		answers = append(answers, m)
	}
	return answers, nil
}

// unmerged reads "<mode> <id> <stage>\t<path>".
func (m *TreeMerged) unmerged(field string) error {
	head, path, ok := strings.Cut(field, "\t")
	f := strings.Split(head, " ")
	if !ok || len(f) != 3 || path == "" || checkID(f[1]) != nil {
		return fmt.Errorf("unexpected answer %.200q", field)
	}
	mode, err := strconv.ParseUint(f[0], 8, 32)
	if err != nil {
		return fmt.Errorf("unexpected answer %.200q", field)
	}
	i := slices.IndexFunc(m.Conflicts, func(u Unmerged) bool { return u.Path == path })
	if i < 0 {
		i = len(m.Conflicts)
		m.Conflicts = append(m.Conflicts, Unmerged{Path: path})
	}
	e := Entry{Mode: Mode(mode), ID: f[1], Path: path}
	switch f[2] {
	case "1":
		m.Conflicts[i].Base = e
	case "2":
		m.Conflicts[i].Ours = e
	case "3":
		m.Conflicts[i].Theirs = e
	default:
		return fmt.Errorf("unexpected answer %.200q", field)
	}
	return nil
}

// PatchIDs says which changes commits make to their parents, wherever in the files they make them: equal ids are equal
// changes of text. Commits without a change of text have none.
func (r *Repository) PatchIDs(ctx context.Context, commits ...string) (map[string]string, error) {
	ids := map[string]string{}
	if len(commits) == 0 {
		return ids, nil
	}
	if err := checkID(commits...); err != nil {
		return nil, err
	}
	diff := r.command(ctx, []string{"diff-tree", "--stdin", "-p", "--no-renames", "--no-ext-diff", "--no-textconv", "--full-index", "--root"})
	diff.Stdin = strings.NewReader(strings.Join(commits, "\n") + "\n")
	var said tail
	diff.Stderr = &said
	patches, err := diff.StdoutPipe()
	if err == nil {
		err = diff.Start()
	}
	if err != nil {
		return nil, failure(ctx, diff.Args[1:], err, &said)
	}
	out, err := r.run(ctx, patches, "patch-id", "--stable")
	_, _ = io.Copy(io.Discard, patches)
	if waited := diff.Wait(); waited != nil {
		return nil, fmt.Errorf("comparing patches: %w", failure(ctx, diff.Args[1:], waited, &said))
	}
	if err != nil {
		return nil, fmt.Errorf("comparing patches: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) != 2 || checkID(f...) != nil {
			return nil, fmt.Errorf("comparing patches: unexpected line %q", line)
		}
		ids[f[1]] = f[0]
	}
	return ids, nil
}

// Signature is who commits are by that are made here, without a date.
func Signature() string { return signature }
