package git

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

var objectID = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// checkID refuses what is no full object id, so that nothing else is ever taken for a revision or an option.
func checkID(ids ...string) error {
	for _, id := range ids {
		if !objectID.MatchString(id) {
			return &NotFoundError{"commit", id}
		}
	}
	return nil
}

// objects is one git cat-file --batch: it answers any number of questions about objects. Bytes come as they are stored;
// attributes, line end conversion and filters have no part in it.
type objects struct {
	ctx    context.Context
	cmd    *exec.Cmd
	args   []string
	in     io.WriteCloser
	out    *bufio.Reader
	stderr *tail
	trees  map[string][]Entry // by id, one level each; shops share most of their trees
}

// objects starts the process; close ends it.
func (r *Repository) objects(ctx context.Context) (*objects, error) {
	args := []string{"cat-file", "--batch"}
	o := &objects{ctx: ctx, cmd: r.command(ctx, args), args: args, stderr: &tail{}, trees: map[string][]Entry{}}
	o.cmd.Stderr = o.stderr
	var err error
	if o.in, err = o.cmd.StdinPipe(); err != nil {
		return nil, failure(ctx, args, err, o.stderr)
	}
	stdout, err := o.cmd.StdoutPipe()
	if err != nil {
		return nil, failure(ctx, args, err, o.stderr)
	}
	o.out = bufio.NewReaderSize(stdout, 64<<10)
	if err := o.cmd.Start(); err != nil {
		return nil, failure(ctx, args, err, o.stderr)
	}
	return o, nil
}

// close ends the process. A process that was asked for nothing wrong has nothing to say at its end.
func (o *objects) close() {
	o.in.Close()
	_, _ = io.Copy(io.Discard, o.out)
	_ = o.cmd.Wait()
}

// broken makes the error of a process that stopped answering.
func (o *objects) broken(err error) error {
	o.in.Close()
	if waited := o.cmd.Wait(); waited != nil {
		err = waited
	}
	return failure(o.ctx, o.args, err, o.stderr)
}

// MissingError says that a repository lacks an object that others of its objects name.
type MissingError struct{ Object string }

func (e *MissingError) Error() string { return fmt.Sprintf("object %s is missing", e.Object) }

// Hint says what to do about it.
func (e *MissingError) Hint() string {
	return "the clone is partial or damaged: clone again without --filter"
}

// get asks for an object and hands its bytes to take, which need not read them all. The error is take's, a *MissingError
// when there is no such object, or an *Error. spec is made of object ids only.
func (o *objects) get(spec string, take func(kind, id string, size int64, body io.Reader) error) error {
	if _, err := io.WriteString(o.in, spec+"\n"); err != nil {
		return o.broken(err)
	}
	header, err := o.out.ReadString('\n')
	if err != nil {
		return o.broken(err)
	}
	f := strings.Fields(header)
	if len(f) == 2 && f[1] == "missing" {
		return &MissingError{spec}
	}
	if len(f) != 3 {
		return o.broken(fmt.Errorf("unexpected answer %q", header))
	}
	size, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil {
		return o.broken(fmt.Errorf("unexpected answer %q", header))
	}
	body := io.LimitReader(o.out, size)
	taken := take(f[1], f[0], size, body)
	if _, err := io.Copy(io.Discard, body); err != nil {
		return o.broken(err)
	}
	if _, err := o.out.Discard(1); err != nil {
		return o.broken(err)
	}
	return taken
}

// blob is get for the content of a file or link.
func (o *objects) blob(id string, take func(size int64, body io.Reader) error) error {
	return o.get(id, func(kind, id string, size int64, body io.Reader) error {
		if kind != "blob" {
			return fmt.Errorf("object %s is a %s, not a blob", id, kind)
		}
		return take(size, body)
	})
}

// tree reads one level of a tree.
func (o *objects) tree(spec string) ([]Entry, error) {
	if entries, ok := o.trees[spec]; ok {
		return entries, nil
	}
	var entries []Entry
	err := o.get(spec, func(kind, id string, size int64, body io.Reader) error {
		if kind != "tree" {
			return fmt.Errorf("object %s is a %s, not a tree", id, kind)
		}
		raw, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		entries, err = parseTree(raw, len(id)/2)
		o.trees[id] = entries
		return err
	})
	return entries, err
}

// root reads the top level of a commit's tree.
func (o *objects) root(commit string) ([]Entry, error) {
	if err := checkID(commit); err != nil {
		return nil, err
	}
	spec := commit + "^{tree}"
	entries, err := o.tree(spec)
	if missing := new(MissingError); errors.As(err, &missing) && missing.Object == spec {
		return nil, &NotFoundError{"commit", commit}
	}
	return entries, err
}

// parseTree reads a tree object: for each entry its mode in octal, a blank, its name, NUL, and the id in binary.
func parseTree(raw []byte, idSize int) ([]Entry, error) {
	var entries []Entry
	for len(raw) > 0 {
		mode, rest, blank := bytes.Cut(raw, []byte(" "))
		name, rest, nul := bytes.Cut(rest, []byte("\x00"))
		bits, err := strconv.ParseUint(string(mode), 8, 32)
		if !blank || !nul || err != nil || len(rest) < idSize {
			return nil, errors.New("damaged tree object")
		}
		entries = append(entries, Entry{Mode: Mode(bits), ID: hex.EncodeToString(rest[:idSize]), Path: string(name)})
		raw = rest[idSize:]
	}
	return entries, nil
}

// maxFile bounds what Files reads into memory; they are for configuration.
const maxFile = 8 << 20

// File is one file at one commit. Either Data or Err says something.
type File struct {
	Data []byte
	// Err is fs.ErrNotExist to errors.Is when the commit has no such file, and an *EntryError when it is none whose
	// bytes could be used: a link, a directory, a submodule, or more than 8 MiB.
	Err error
}

// Files reads one file, a slash-separated path from the top, at many commits; the results are in the order of the
// commits. It is one process however many there are, and equal contents are read once and shared: do not change them.
// The error is about the repository, not about single files.
func (r *Repository) Files(ctx context.Context, path string, commits ...string) ([]File, error) {
	if !fs.ValidPath(path) || path == "." {
		return nil, fmt.Errorf("reading %q: not a path in a repository", path)
	}
	o, err := r.objects(ctx)
	if err != nil {
		return nil, err
	}
	defer o.close()
	files := make([]File, len(commits))
	seen := map[string]File{}
	for i, commit := range commits {
		entry, err := o.lookup(commit, path)
		if isAboutFile(err) {
			files[i].Err = err
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s at %s: %w", path, commit, err)
		}
		f, ok := seen[entry.ID]
		if !ok {
			if f, err = o.file(entry); err != nil {
				return nil, fmt.Errorf("reading %s at %s: %w", path, commit, err)
			}
			seen[entry.ID] = f
		}
		files[i] = f
	}
	return files, nil
}

// isAboutFile tells what is wrong with one file at one commit from what is wrong with the repository.
func isAboutFile(err error) bool {
	var none *NotFoundError
	return errors.As(err, new(*EntryError)) || errors.As(err, &none) && none.What == "file"
}

// lookup finds the regular file at a path.
func (o *objects) lookup(commit, path string) (Entry, error) {
	level, err := o.root(commit)
	if err != nil {
		return Entry{}, err
	}
	parts := strings.Split(path, "/")
	for i, part := range parts {
		entry, ok := find(level, part)
		if !ok || i < len(parts)-1 && entry.Mode != modeTree {
			return Entry{}, &NotFoundError{"file", path}
		}
		if i == len(parts)-1 {
			entry.Path = path
			if !entry.Mode.isFile() {
				return Entry{}, &EntryError{path, "is a " + entry.Mode.String() + ", not a file"}
			}
			return entry, nil
		}
		if level, err = o.tree(entry.ID); err != nil {
			return Entry{}, err
		}
	}
	panic("git: a path has at least one part")
}

func find(level []Entry, name string) (Entry, bool) {
	for _, e := range level {
		if e.Path == name {
			return e, true
		}
	}
	return Entry{}, false
}

func (o *objects) file(e Entry) (File, error) {
	var f File
	err := o.blob(e.ID, func(size int64, body io.Reader) error {
		if size > maxFile {
			f.Err = &EntryError{e.Path, fmt.Sprintf("has %d bytes; at most %d are read", size, maxFile)}
			return nil
		}
		var err error
		f.Data, err = io.ReadAll(body)
		return err
	})
	return f, err
}
