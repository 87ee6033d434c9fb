package rebase

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/kvick/shopfleet/internal/git"
)

// ResolutionRefs is below which each resolution has a ref, with the conflict's key behind.
const ResolutionRefs = "refs/shopfleet/resolutions/"

// resolved is what the message of a resolution's commit says, as JSON.
type resolved struct {
	Path   string `json:"path"` // quoted as in Go, in ASCII: git's paths need not be text
	Base   Side   `json:"base"`
	Main   Side   `json:"main"`
	Shop   Side   `json:"shop"`
	Result Side   `json:"result"`
	Slug   string `json:"resolved_on"`
	Commit string `json:"commit"`
}

// lesson makes the commit that keeps a resolution: it has no parent, and in its tree the file as it was resolved.
func (w *work) lesson(c Conflict, r Resolution) Lesson {
	// Nothing in it can fail to be written as JSON, and a single path can be put into an empty tree.
	text, _ := json.Marshal(resolved{strconv.QuoteToASCII(c.Path), c.Base, c.Main, c.Shop, r.Result, r.Shop, r.Commit})
	var entries []git.Entry
	if r.Result.Mode != 0 {
		entries = append(entries, entry(c.Path, r.Result))
	}
	tree, _ := w.store.Edit("", entries)
	who := committer(0)
	object := w.store.PutCommit(git.RawCommit{Tree: tree, Author: who, Committer: who, Message: append(text, '\n')})
	return Lesson{Ref: ResolutionRefs + r.Key, Object: object, Resolution: r}
}

// maxResolution bounds what is read of a resolution's message.
const maxResolution = 64 << 10

// parseResolution reads what lesson wrote under a key. What others wrote is an error, and so is what belongs to another
// conflict.
func parseResolution(key string, message []byte) (Resolution, error) {
	if len(message) > maxResolution {
		return Resolution{}, fmt.Errorf("resolution %.12s is too long", key)
	}
	var r resolved
	if err := json.Unmarshal(message, &r); err != nil {
		return Resolution{}, fmt.Errorf("reading resolution %.12s: %w", key, err)
	}
	path, err := strconv.Unquote(r.Path)
	if err != nil {
		return Resolution{}, fmt.Errorf("reading resolution %.12s: the path is not quoted", key)
	}
	if conflictKey(Conflict{Path: path, Base: r.Base, Main: r.Main, Shop: r.Shop}) != key {
		return Resolution{}, fmt.Errorf("resolution %.12s is one of another conflict", key)
	}
	return Resolution{Key: key, Path: path, Result: r.Result, Shop: r.Slug, Commit: r.Commit}, nil
}

// Resolutions reads how conflicts were resolved before. refs are those below ResolutionRefs, with their commits.
//
// Whoever may push may write these refs, and so none is trusted for what it says: a resolution counts when the commit in
// which it landed is in the branch of the shop that it landed on, which is protected, and has that very file. Others are
// left out. That this file came of this conflict, and not of anything else that the shop or main did, is looked at where it
// is applied; see hadConflict.
func Resolutions(ctx context.Context, repo *git.Repository, refs map[string]string, branches []Branch) (map[string]Resolution, error) {
	found := map[string]Resolution{}
	if len(refs) == 0 {
		return found, nil
	}
	store, err := repo.Store(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading resolutions: %w", err)
	}
	defer store.Close()
	tips, names := map[string]string{}, map[string]string{}
	var commits []string
	for _, b := range branches {
		tips[b.Shop.Slug], names[b.Shop.Slug] = b.Tip, b.Shop.Branch
		commits = append(commits, b.Tip)
	}
	graph, _, err := repo.Graph(ctx, commits...)
	if err != nil {
		return nil, fmt.Errorf("reading resolutions: %w", err)
	}
	has := map[string]map[string]bool{} // by shop
	for ref, commit := range refs {
		key, ok := strings.CutPrefix(ref, ResolutionRefs)
		if !ok {
			continue
		}
		r, err := readResolution(store, key, commit)
		if err == nil && tips[r.Shop] != "" {
			if has[r.Shop] == nil {
				has[r.Shop] = graph.Ancestors(tips[r.Shop])
			}
			if has[r.Shop][r.Commit] {
				r.Branch = names[r.Shop]
				found[key] = r
			}
		}
		if err != nil && !harmless(err) {
			return nil, fmt.Errorf("reading resolutions: %w", err)
		}
	}
	return found, nil
}

// readResolution reads one resolution and whether the commit that it names has the file.
func readResolution(store *git.Store, key, commit string) (Resolution, error) {
	c, err := store.RawCommit(commit)
	if err != nil {
		return Resolution{}, err
	}
	if len(c.Parents) > 0 {
		return Resolution{}, &unusableError{"a resolution has no parent"}
	}
	r, err := parseResolution(key, c.Message)
	if err != nil {
		return Resolution{}, &unusableError{err.Error()}
	}
	landed, err := store.RawCommit(r.Commit)
	if err != nil {
		return Resolution{}, err
	}
	there, err := store.Lookup(landed.Tree, r.Path)
	if err != nil {
		return Resolution{}, err
	}
	if side(there) != r.Result {
		return Resolution{}, &unusableError{"the commit has another file"}
	}
	return r, nil
}

// hadConflict says whether the shop that a resolution landed on had a conflict with these three sides: below the commit that
// landed, one has the file as git leaves it in just this conflict, with both sides and the marks in it. Otherwise whoever
// may write a resolution's ref could name any file that ever was on main or on another shop, and have it put here.
// told is false where that cannot be seen, since git leaves one of the sides: a file that is no text, or was deleted.
func (w *work) hadConflict(r Resolution, c contest) (had, told bool, err error) {
	left := side(c.merged)
	if left == side(c.base) || left == side(c.main) || left == side(c.shop) {
		return false, false, nil
	}
	if c.merged.IsFile() {
		text, err := w.text(c.merged.ID)
		if err != nil {
			return false, false, err
		}
		if text != nil {
			left.Blob = w.store.PutBlob(otherShop(text, w.branch.Shop.Branch, r.Branch))
		}
	}
	main := w.trunks[w.Main]
	for id, n := r.Commit, 0; n < maxOwn && !main.has[id]; n++ {
		commit, err := w.store.RawCommit(id)
		if err != nil {
			return false, true, ignoreHarmless(err)
		}
		there, err := w.store.Lookup(commit.Tree, c.path)
		if err != nil {
			return false, true, ignoreHarmless(err)
		}
		if side(there) == left {
			return true, true, nil
		}
		if len(commit.Parents) == 0 {
			break
		}
		id = commit.Parents[0]
	}
	return false, true, nil
}

func ignoreHarmless(err error) error {
	if harmless(err) {
		return nil
	}
	return err
}

// otherShop is a text with git's marks as it is on another shop's branch.
func otherShop(text []byte, branch, other string) []byte {
	var out []byte
	for line := range bytes.Lines(text) {
		rest := bytes.TrimLeft(line, ">")
		if mark := line[:len(line)-len(rest)]; len(mark) > 0 && string(bytes.TrimRight(rest, "\r\n")) == " "+branch {
			out = append(append(append(out, mark...), " "+other...), rest[1+len(branch):]...)
			continue
		}
		out = append(out, line...)
	}
	return out
}

// Clusters are the decisions that moves wait for: each conflict once, with all the shops that have it, the one with the
// most shops first.
func Clusters(moves []Move) []Cluster {
	byKey := map[string]*Cluster{}
	var out []*Cluster
	for _, m := range moves {
		for _, c := range m.Conflicts {
			cl := byKey[c.Key]
			if cl == nil {
				cl = &Cluster{Conflict: c}
				byKey[c.Key] = cl
				out = append(out, cl)
			}
			if !slices.Contains(cl.Shops, m.Slug) {
				cl.Shops = append(cl.Shops, m.Slug)
			}
		}
	}
	clusters := make([]Cluster, 0, len(out))
	for _, c := range out {
		slices.Sort(c.Shops)
		clusters = append(clusters, *c)
	}
	sort.Slice(clusters, func(i, j int) bool {
		a, b := clusters[i], clusters[j]
		if n := len(b.Shops) - len(a.Shops); n != 0 {
			return n < 0
		}
		if n := strings.Compare(a.Path, b.Path); n != 0 {
			return n < 0
		}
		return a.Key < b.Key
	})
	return clusters
}
