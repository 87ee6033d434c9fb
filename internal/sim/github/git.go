package github

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Nothing from a request is ever a bare argument of git: refs are looked up in a listing, or by a name that validRef let
// through, object names are hexadecimal, and names that are written go through standard input after validRef or validPath.

const zeros = "0000000000000000000000000000000000000000"

var (
	shaPattern   = regexp.MustCompile(`^[0-9a-f]{40}$`)
	shortPattern = regexp.MustCompile(`^[0-9a-f]{7,40}$`)
)

// gitError is a git that failed.
type gitError struct {
	verb   string
	code   int
	stderr string
}

func (e *gitError) Error() string {
	return fmt.Sprintf("git %s: exit %d: %s", e.verb, e.code, strings.TrimSpace(e.stderr))
}

// command is a git that reads no configuration but the repository's.
func (w *World) command(dir string, args ...string) *exec.Cmd {
	if dir != "" {
		args = append([]string{"--git-dir=" + dir}, args...)
	}
	cmd := exec.Command(w.git, args...)
	cmd.Dir = w.dir
	env := slices.DeleteFunc(cmd.Environ(), func(s string) bool {
		return strings.HasPrefix(s, "GIT_") || strings.HasPrefix(s, "HOME=") || strings.HasPrefix(s, "LC_") || strings.HasPrefix(s, "LANG")
	})
	cmd.Env = append(env, "HOME="+w.dir, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_TERMINAL_PROMPT=0")
	return cmd
}

// run runs git on the repository in dir.
func (w *World) run(dir string, stdin []byte, args ...string) ([]byte, error) {
	return w.runWith(dir, stdin, nil, args...)
}

func (w *World) runWith(dir string, stdin []byte, env []string, args ...string) ([]byte, error) {
	cmd := w.command(dir, args...)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdin = bytes.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return out.Bytes(), &gitError{args[0], exit.ExitCode(), errs.String()}
		}
		return nil, fmt.Errorf("git %s: %w", args[0], err)
	}
	return out.Bytes(), nil
}

// exitCode is the exit code of a git that failed, -1 for other errors.
func exitCode(err error) int {
	var g *gitError
	if errors.As(err, &g) {
		return g.code
	}
	return -1
}

// ref is a reference as git keeps it.
type ref struct {
	name   string // refs/heads/main
	sha    string
	kind   string // commit, tag, tree or blob
	commit string // what an annotated tag points to; sha otherwise
}

// refs lists the references whose names begin with prefix, sorted as git sorts. below are valid names that limit it.
func (r *Repository) refs(prefix string, below ...string) ([]ref, error) {
	args := append([]string{"for-each-ref", "--format=%(refname) %(objectname) %(objecttype) %(*objectname)"}, below...)
	out, err := r.w.run(r.Dir, nil, args...)
	if err != nil {
		return nil, err
	}
	var list []ref
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(f[0], prefix) {
			continue
		}
		entry := ref{f[0], f[1], f[2], f[1]}
		if len(f) > 3 {
			entry.commit = f[3]
		}
		list = append(list, entry)
	}
	return list, nil
}

// ref finds a reference by its full name.
func (r *Repository) ref(name string) (ref, bool, error) {
	if !validRef(name) {
		return ref{}, false, nil
	}
	if x, known := r.loose(name); known {
		return x, true, nil
	}
	// Where there are many, listing them all takes long. A valid name begins with refs/ and has no sign that is more than
	// itself in a pattern; it finds itself and what is below it.
	list, err := r.refs(name, name)
	if err != nil {
		return ref{}, false, err
	}
	for _, x := range list {
		if x.name == name {
			if r.tips == nil {
				r.tips = map[string]ref{}
			}
			r.tips[x.sha] = x
			return x, true, nil
		}
	}
	return ref{}, false, nil
}

// loose reads a ref from git's file, which saves starting git for every event of a burst. What it points to never changes
// and has been looked up before; anything else is git's to tell.
func (r *Repository) loose(name string) (ref, bool) {
	b, err := os.ReadFile(filepath.Join(r.Dir, filepath.FromSlash(name)))
	if err != nil {
		return ref{}, false
	}
	x, known := r.tips[strings.TrimSuffix(string(b), "\n")]
	x.name = name
	return x, known
}

// resolve finds the commit that a branch, a tag, heads/…, tags/… or a sha names, "" when there is none, and the full name
// of the ref if it was one.
func (r *Repository) resolve(name string) (sha, full string, err error) {
	list, err := r.refs("refs/")
	if err != nil {
		return "", "", err
	}
	for _, candidate := range []string{"refs/heads/" + name, "refs/tags/" + name, "refs/" + name, name} {
		for _, x := range list {
			if x.name == candidate {
				return x.commit, x.name, nil
			}
		}
	}
	if !shortPattern.MatchString(name) {
		return "", "", nil
	}
	out, err := r.w.run(r.Dir, nil, "rev-parse", "--quiet", "--verify", "--end-of-options", name+"^{commit}")
	if exitCode(err) > 0 {
		return "", "", nil
	}
	return strings.TrimSpace(string(out)), "", err
}

// objectType is commit, tree, blob or tag, "" for an object that is not there.
func (r *Repository) objectType(sha string) (string, error) {
	if !shaPattern.MatchString(sha) {
		return "", nil
	}
	out, err := r.w.run(r.Dir, []byte(sha+"\n"), "cat-file", "--batch-check=%(objecttype)")
	if err != nil {
		return "", err
	}
	if kind := strings.TrimSpace(string(out)); !strings.HasSuffix(kind, "missing") {
		return kind, nil
	}
	return "", nil
}

// isAncestor tells whether of is reachable from tip.
func (r *Repository) isAncestor(of, tip string) (bool, error) {
	_, err := r.w.run(r.Dir, nil, "merge-base", "--is-ancestor", of, tip)
	if exitCode(err) == 1 {
		return false, nil
	}
	return err == nil, err
}

// mergeBase is the best common ancestor, "" for unrelated histories.
func (r *Repository) mergeBase(a, b string) (string, error) {
	out, err := r.w.run(r.Dir, nil, "merge-base", a, b)
	if exitCode(err) == 1 {
		return "", nil
	}
	return strings.TrimSpace(string(out)), err
}

// commit is a commit as git keeps it.
type commit struct {
	sha, tree         string
	parents           []string
	author, committer signature
	message           string
}

type signature struct {
	name, email string
	date        time.Time
}

const commitFormat = "--format=%H%x00%T%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B"

// log lists commits; the arguments are options of ours and object names.
func (r *Repository) log(args ...string) ([]commit, error) {
	out, err := r.w.run(r.Dir, nil, append(append([]string{"log", "-z", commitFormat}, args...), "--")...)
	if err != nil || len(out) == 0 {
		return nil, err
	}
	const fields = 10
	f := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	var list []commit
	for ; len(f) >= fields; f = f[fields:] {
		c := commit{sha: f[0], tree: f[1], parents: strings.Fields(f[2]), message: strings.TrimRight(f[9], "\n")}
		c.author = signature{f[3], f[4], parseGitTime(f[5])}
		c.committer = signature{f[6], f[7], parseGitTime(f[8])}
		list = append(list, c)
	}
	return list, nil
}

func parseGitTime(s string) time.Time {
	t, _ := time.Parse(time.RFC3339, s)
	return t
}

// commit reads one commit.
func (r *Repository) commit(sha string) (commit, error) {
	list, err := r.log("--max-count=1", sha)
	if err == nil && len(list) != 1 {
		err = fmt.Errorf("reading commit %s: not there", sha)
	}
	if err != nil {
		return commit{}, err
	}
	return list[0], nil
}

// count counts the commits of a range.
func (r *Repository) count(args ...string) (int, error) {
	out, err := r.w.run(r.Dir, nil, append(append([]string{"rev-list", "--count"}, args...), "--")...)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}

// change is a file that differs between two trees.
type change struct {
	path, previous string
	status         string // added, removed, modified, renamed or changed
	sha            string // of the blob now, or of the one removed
	added, deleted int
}

const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

// diff lists what changed from one tree or commit to another, below path when it is not "".
func (r *Repository) diff(from, to string, paths ...string) ([]change, error) {
	args := append([]string{"diff-tree", "-r", "-M", "-z", "--raw", "--no-abbrev", "--numstat", from, to, "--"}, paths...)
	out, err := r.w.run(r.Dir, nil, args...)
	if err != nil {
		return nil, err
	}
	f := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	var list []change
	at := map[string]int{}
	for len(f) > 0 && f[0] != "" {
		if raw, isRaw := strings.CutPrefix(f[0], ":"); isRaw {
			w := strings.Fields(raw) // mode mode sha sha status
			c := change{path: f[1], sha: w[3]}
			f = f[2:]
			switch w[4][0] {
			case 'A':
				c.status = "added"
			case 'D':
				c.status, c.sha = "removed", w[2]
			case 'R':
				c.status, c.previous, c.path = "renamed", c.path, f[0]
				f = f[1:]
			case 'T':
				c.status = "changed"
			default:
				c.status = "modified"
			}
			at[c.path] = len(list)
			list = append(list, c)
			continue
		}
		w := strings.SplitN(f[0], "\t", 3)
		f = f[1:]
		path := w[2]
		if path == "" { // a rename: old and new follow
			path = f[1]
			f = f[2:]
		}
		if i, ok := at[path]; ok {
			list[i].added, _ = strconv.Atoi(w[0]) // "-" of a binary file counts as 0
			list[i].deleted, _ = strconv.Atoi(w[1])
		}
	}
	return list, nil
}

// mergeTree merges two commits as the buttons do; ok is false on a conflict.
func (r *Repository) mergeTree(ours, theirs string) (tree string, ok bool, err error) {
	out, err := r.w.run(r.Dir, nil, "merge-tree", "--write-tree", "--no-messages", ours, theirs)
	if exitCode(err) == 1 {
		return "", false, nil
	}
	if err != nil && strings.Contains(err.Error(), "unrelated histories") {
		return "", false, nil
	}
	return strings.TrimSpace(string(out)), err == nil, err
}

// commitTree makes a commit.
func (r *Repository) commitTree(tree, message string, author, committer signature, parents ...string) (string, error) {
	args := []string{"commit-tree", "-F", "-"}
	for _, p := range parents {
		args = append(args, "-p", p)
	}
	date := func(t time.Time) string { return fmt.Sprintf("@%d %s", t.Unix(), t.Format("-0700")) }
	env := []string{
		"GIT_AUTHOR_NAME=" + author.name, "GIT_AUTHOR_EMAIL=" + author.email, "GIT_AUTHOR_DATE=" + date(author.date),
		"GIT_COMMITTER_NAME=" + committer.name, "GIT_COMMITTER_EMAIL=" + committer.email, "GIT_COMMITTER_DATE=" + date(committer.date),
	}
	out, err := r.w.runWith(r.Dir, []byte(message), env, append(args, tree)...)
	return strings.TrimSpace(string(out)), err
}

// edit is a file to put into a tree; a nil content takes it away.
type edit struct {
	path, mode string
	sha        string // of a blob that is there already, with a nil content
	content    *string
}

// writeTree makes a tree from another ("" for the empty one) with edits.
func (r *Repository) writeTree(base string, edits []edit) (string, error) {
	dir, err := os.MkdirTemp(r.w.dir, "index-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	env := []string{"GIT_INDEX_FILE=" + dir + "/index"}
	if base == "" {
		base = emptyTree
		if _, err := r.w.run(r.Dir, nil, "hash-object", "-w", "-t", "tree", "--stdin"); err != nil {
			return "", err
		}
	}
	if _, err := r.w.runWith(r.Dir, nil, env, "read-tree", base); err != nil {
		return "", err
	}
	var input bytes.Buffer
	for _, e := range edits {
		sha := e.sha
		if e.content != nil {
			out, err := r.w.run(r.Dir, []byte(*e.content), "hash-object", "-w", "--stdin")
			if err != nil {
				return "", err
			}
			sha = strings.TrimSpace(string(out))
		}
		if sha == "" {
			fmt.Fprintf(&input, "0 %s\t%s\x00", zeros, e.path)
			continue
		}
		fmt.Fprintf(&input, "%s %s\t%s\x00", e.mode, sha, e.path)
	}
	if _, err := r.w.runWith(r.Dir, input.Bytes(), env, "update-index", "-z", "--index-info"); err != nil {
		return "", err
	}
	out, err := r.w.runWith(r.Dir, nil, env, "write-tree")
	return strings.TrimSpace(string(out)), err
}

// Commit puts files onto a branch, which is made from the tip of main (or from nothing) when it is not there, and returns
// the commit. An empty content removes a file. It builds a world: it is no event and starts no workflow.
func (r *Repository) Commit(branch, message string, files map[string]string) (string, error) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	u, err := r.build(branch, message, files, signature{"World Builder", "builder@example.invalid", r.w.clock()})
	if err == nil {
		err = r.writeRefs([]refUpdate{u})
	}
	if err != nil {
		return "", fmt.Errorf("committing to %s: %w", branch, err)
	}
	return u.to, r.followPulls(u.name, u.to)
}

// build makes the commit that puts files onto a branch. The branch is not moved yet.
func (r *Repository) build(branch, message string, files map[string]string, who signature) (refUpdate, error) {
	full := "refs/heads/" + branch
	if !validRef(full) {
		return refUpdate{}, fmt.Errorf("%q is not a branch name", branch)
	}
	old, exists, err := r.ref(full)
	if err != nil {
		return refUpdate{}, err
	}
	from := old
	if !exists {
		if from, _, err = r.ref("refs/heads/" + defaultBranch); err != nil {
			return refUpdate{}, err
		}
	}
	var edits []edit
	for _, path := range sortedKeys(files) {
		if !validPath(path) {
			return refUpdate{}, fmt.Errorf("%q is not a path", path)
		}
		e := edit{path: path, mode: "100644"}
		if content := files[path]; content != "" {
			e.content = &content
		}
		edits = append(edits, e)
	}
	base, parents := "", []string(nil)
	if from.sha != "" {
		base, parents = from.sha, []string{from.sha}
	}
	tree, err := r.writeTree(base, edits)
	if err != nil {
		return refUpdate{}, err
	}
	sha, err := r.commitTree(tree, message, who, who, parents...)
	return refUpdate{full, deflt(old.sha, zeros), sha}, err
}

func deflt(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// refUpdate moves a ref from one object to another; zeros stand for "not there".
type refUpdate struct{ name, from, to string }

// errMoved is a ref that is not where the update expected it.
var errMoved = errors.New("a reference is not where it was expected")

// writeRefs applies updates, all or none. Names have passed validRef.
func (r *Repository) writeRefs(updates []refUpdate) error {
	var input bytes.Buffer
	input.WriteString("start\x00")
	for _, u := range updates {
		switch {
		case u.to == zeros:
			fmt.Fprintf(&input, "delete %s\x00%s\x00", u.name, u.from)
		default:
			fmt.Fprintf(&input, "update %s\x00%s\x00%s\x00", u.name, u.to, u.from)
		}
	}
	input.WriteString("commit\x00")
	_, err := r.w.run(r.Dir, input.Bytes(), "update-ref", "-z", "--stdin")
	var g *gitError
	if errors.As(err, &g) {
		return fmt.Errorf("%w: %s", errMoved, strings.TrimSpace(g.stderr))
	}
	return err
}

// validRef is git-check-ref-format with GitHub's length, for full names.
func validRef(name string) bool {
	rest, ok := strings.CutPrefix(name, "refs/")
	if !ok || len(name) > 255 || !utf8.ValidString(name) || !strings.Contains(rest, "/") {
		return false
	}
	if strings.Contains(name, "..") || strings.Contains(name, "@{") || strings.HasSuffix(name, ".") || strings.ContainsAny(name, " ~^:?*[\\\x7f") {
		return false
	}
	for _, c := range name {
		if c < 0x20 {
			return false
		}
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	branch, isBranch := strings.CutPrefix(name, "refs/heads/")
	return !isBranch || branch[0] != '-' && branch != "HEAD" && !shaPattern.MatchString(branch)
}

// validPath tells whether git takes a path into a tree.
func validPath(path string) bool {
	if path == "" || strings.ContainsRune(path, 0) || strings.ContainsRune(path, '\\') || !utf8.ValidString(path) {
		return false
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." || strings.EqualFold(part, ".git") {
			return false
		}
	}
	return true
}
