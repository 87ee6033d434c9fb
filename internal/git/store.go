package git

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"sort"
	"strings"
)

// Store reads a repository's objects and makes new ones: trees are compared and edited here, and not by a git for each of
// them, so that thousands of commits cost one process to read and one to write. What is made can be read at once; other
// gits see it after Flush. A Store is for one goroutine. Use it in a Scratch repository: see there.
//
// A *MissingError or *EntryError is about the object that was asked for, or about one below it, and the next question
// can be asked; every other error is about the repository.
type Store struct {
	r      *Repository
	ctx    context.Context
	o      *objects
	sha256 bool

	made    map[string]made    // what was made and not flushed, by id
	size    int                // of made, packed
	packer  *zlib.Writer       // many times as large as what it packs
	written map[string]bool    // what was flushed
	levels  map[string][]Entry // trees that were read, one level each
	entries int                // in levels
}

// made is an object that was made.
type made struct {
	kind   byte
	size   int    // unpacked
	packed []byte // by zlib
}

// Store opens a repository's objects; Close ends it.
func (r *Repository) Store(ctx context.Context) (*Store, error) {
	out, err := r.run(ctx, nil, "rev-parse", "--show-object-format")
	if err != nil {
		return nil, fmt.Errorf("finding the object format: %w", err)
	}
	o, err := r.objects(ctx)
	if err != nil {
		return nil, err
	}
	return &Store{r: r, ctx: ctx, o: o, sha256: strings.TrimSpace(string(out)) == "sha256", made: map[string]made{},
		written: map[string]bool{}, levels: map[string][]Entry{}}, nil
}

// Close ends the process that reads. What was not flushed is gone.
func (s *Store) Close() { s.o.close() }

// The kinds of objects as a pack numbers them.
const (
	packCommit = 1
	packTree   = 2
	packBlob   = 3
)

var packKinds = map[byte]string{packCommit: "commit", packTree: "tree", packBlob: "blob"}

// maxObject bounds what is read into memory of a commit or a tree.
const maxObject = 64 << 20

// read is the bytes of an object of one kind.
func (s *Store) read(id string, kind byte, limit int64) ([]byte, error) {
	if err := checkID(id); err != nil {
		return nil, &MissingError{id}
	}
	if m, ok := s.made[id]; ok {
		if m.kind != kind {
			return nil, &EntryError{id, "is a " + packKinds[m.kind] + ", not a " + packKinds[kind]}
		}
		z, err := zlib.NewReader(bytes.NewReader(m.packed))
		if err != nil {
			return nil, fmt.Errorf("unpacking %s: %w", id, err)
		}
		return io.ReadAll(z)
	}
	var raw []byte
	err := s.o.get(id, func(got, _ string, size int64, body io.Reader) error {
		if got != packKinds[kind] {
			return &EntryError{id, "is a " + got + ", not a " + packKinds[kind]}
		}
		if size > limit {
			return &EntryError{id, fmt.Sprintf("has %d bytes; at most %d are read", size, limit)}
		}
		var err error
		raw, err = io.ReadAll(body)
		return err
	})
	if said := new(Error); errors.As(err, &said) && s.ctx.Err() == nil {
		// git dies of an object that is damaged. The others can still be read, by another one.
		o, again := s.r.objects(s.ctx)
		if again != nil {
			return nil, err
		}
		s.o = o
		return nil, &MissingError{id}
	}
	return raw, err
}

// Blob reads a file's bytes; more than limit are an *EntryError.
func (s *Store) Blob(id string, limit int64) ([]byte, error) { return s.read(id, packBlob, limit) }

// maxCached is how many entries of trees are kept, about 120 bytes each.
const maxCached = 200_000

// level reads one level of a tree and makes sure that it is one git would write. "" is the empty tree.
func (s *Store) level(id string) ([]Entry, error) {
	if id == "" {
		return nil, nil
	}
	if level, ok := s.levels[id]; ok {
		return level, nil
	}
	raw, err := s.read(id, packTree, maxObject)
	if err != nil {
		return nil, err
	}
	level, err := parseTree(raw, len(id)/2)
	if err != nil {
		return nil, &EntryError{id, "is a damaged tree"}
	}
	for i, e := range level {
		if e.Path == "" || strings.Contains(e.Path, "/") || i > 0 && compareEntries(level[i-1], e) >= 0 {
			return nil, &EntryError{id, "is a damaged tree"}
		}
	}
	s.keep(id, level)
	return level, nil
}

func (s *Store) keep(id string, level []Entry) {
	if s.entries += len(level) + 1; s.entries > maxCached {
		clear(s.levels)
		s.entries = len(level) + 1
	}
	s.levels[id] = level
}

// compareEntries is the order of a tree: directories stand where their names would with a slash behind.
func compareEntries(a, b Entry) int {
	if strings.HasPrefix(a.Path, b.Path) || strings.HasPrefix(b.Path, a.Path) {
		return strings.Compare(sortName(a), sortName(b))
	}
	return strings.Compare(a.Path, b.Path)
}

func sortName(e Entry) string {
	if e.Mode == modeTree {
		return e.Path + "/"
	}
	return e.Path
}

// Lookup finds what a tree has at a path: a file, link, submodule or directory. The zero Entry is nothing.
func (s *Store) Lookup(tree, path string) (Entry, error) {
	for rest := path; ; {
		level, err := s.level(tree)
		if err != nil {
			return Entry{}, err
		}
		name, below, more := strings.Cut(rest, "/")
		i := slices.IndexFunc(level, func(e Entry) bool { return e.Path == name })
		if i < 0 {
			return Entry{}, nil
		}
		if e := level[i]; !more {
			return Entry{Mode: e.Mode, ID: e.ID, Path: path}, nil
		} else if e.Mode != modeTree {
			return Entry{}, nil
		} else {
			tree, rest = e.ID, below
		}
	}
}

// IsDir says whether an entry that Lookup found is a directory.
func (e Entry) IsDir() bool { return e.Mode == modeTree }

// IsFile says whether an entry is a regular file, executable or not.
func (e Entry) IsFile() bool { return e.Mode.isFile() }

// Change is a path in which two trees differ. A renamed file is two of them.
type Change struct {
	Path     string
	Old, New Entry // the zero Entry is nothing
}

// Diff lists how one tree becomes another, in no order that means anything but always the same. "" is the empty tree.
func (s *Store) Diff(old, new string) ([]Change, error) {
	var out []Change
	err := s.diff(&out, "", old, new)
	return out, err
}

func (s *Store) diff(out *[]Change, dir, old, new string) error {
	if old == new {
		return nil
	}
	a, err := s.level(old)
	if err != nil {
		return err
	}
	b, err := s.level(new)
	if err != nil {
		return err
	}
	for len(a) > 0 || len(b) > 0 {
		order := 0
		switch {
		case len(a) == 0:
			order = 1
		case len(b) == 0:
			order = -1
		default:
			order = compareEntries(a[0], b[0])
		}
		var x, y Entry
		if order <= 0 {
			x, a = a[0], a[1:]
		}
		if order >= 0 {
			y, b = b[0], b[1:]
		}
		if x.Mode == y.Mode && x.ID == y.ID {
			continue
		}
		if err := s.differ(out, dir, x, y); err != nil {
			return err
		}
	}
	return nil
}

// differ lists how one entry becomes another one of the same name.
func (s *Store) differ(out *[]Change, dir string, x, y Entry) error {
	path := dir + x.Path
	if x.Mode == 0 {
		path = dir + y.Path
	}
	if len(path) > maxPath {
		return &EntryError{path[:64] + "…", fmt.Sprintf("is longer than %d bytes", maxPath)}
	}
	var from, to string
	if x.Mode == modeTree {
		from, x = x.ID, Entry{}
	}
	if y.Mode == modeTree {
		to, y = y.ID, Entry{}
	}
	if from != "" || to != "" {
		if err := s.diff(out, path+"/", from, to); err != nil {
			return err
		}
	}
	if x.Mode == 0 && y.Mode == 0 {
		return nil
	}
	if len(*out) >= maxEntries {
		return &EntryError{path, fmt.Sprintf("is one of more than %d paths that differ", maxEntries)}
	}
	x.Path, y.Path = path, path
	*out = append(*out, Change{path, x, y})
	return nil
}

// Edit makes a tree of another one: each entry is put at its path, and taken away where its mode is 0. Directories that
// nothing is left in go, too; the empty tree is a tree like others. Nothing is put where a directory stays, or below a
// file that stays.
func (s *Store) Edit(tree string, entries []Entry) (string, error) {
	for _, e := range entries {
		if e.Mode == 0 {
			continue
		}
		if err := e.Check(); err != nil {
			return "", err
		}
	}
	id, err := s.edit(tree, "", slices.Clone(entries))
	if err == nil && id == "" {
		id = s.put(packTree, nil)
	}
	return id, err
}

// Check says why an entry must not get into a tree: git would refuse to check it out, or to push it. The error is an
// *EntryError.
func (e Entry) Check() error {
	for part := range strings.SplitSeq(e.Path, "/") {
		if part == "" || part == "." || part == ".." || isDotGit(part) || strings.ContainsRune(part, 0) {
			return &EntryError{e.Path, "is no path that git would check out"}
		}
	}
	if !e.Mode.isFile() && e.Mode != ModeLink && e.Mode != ModeSubmodule || checkID(e.ID) != nil {
		return &EntryError{e.Path, "is an " + e.Mode.String()}
	}
	return nil
}

// edit is Edit of one level and those below; entries' paths begin with dir. "" is a tree that nothing is in.
func (s *Store) edit(tree, dir string, entries []Entry) (string, error) {
	level, err := s.level(tree)
	if err != nil {
		return "", err
	}
	now := make(map[string]Entry, len(level))
	for _, e := range level {
		now[e.Path] = e
	}
	below := map[string][]Entry{}
	var direct []Entry
	for _, e := range entries {
		name, _, more := strings.Cut(e.Path[len(dir):], "/")
		if more {
			below[name] = append(below[name], e)
			continue
		}
		if e.Path = name; e.Mode != 0 {
			direct = append(direct, e)
		} else if now[name].Mode != modeTree {
			delete(now, name)
		}
	}
	for name, list := range below {
		there := now[name]
		if there.Mode != 0 && there.Mode != modeTree {
			if slices.ContainsFunc(list, func(e Entry) bool { return e.Mode != 0 }) {
				return "", &EntryError{dir + name, "is a file where a directory has to be"}
			}
			continue
		}
		id, err := s.edit(there.ID, dir+name+"/", list)
		if err != nil {
			return "", err
		}
		if id == "" {
			delete(now, name)
		} else {
			now[name] = Entry{Mode: modeTree, ID: id, Path: name}
		}
	}
	for _, e := range direct {
		if now[e.Path].Mode == modeTree {
			return "", &EntryError{dir + e.Path, "is a directory where a file has to be"}
		}
		now[e.Path] = e
	}
	if len(now) == 0 {
		return "", nil
	}
	out := make([]Entry, 0, len(now))
	for _, e := range now {
		out = append(out, e)
	}
	sort.Slice(out, func(i, j int) bool { return compareEntries(out[i], out[j]) < 0 })
	var raw bytes.Buffer
	for _, e := range out {
		fmt.Fprintf(&raw, "%o %s\x00", uint32(e.Mode), e.Path)
		bits, _ := hex.DecodeString(e.ID)
		raw.Write(bits)
	}
	id := s.put(packTree, raw.Bytes())
	s.keep(id, out)
	return id, nil
}

// RawCommit is a commit as git keeps it. Signatures are not in it: they are about other bytes.
type RawCommit struct {
	Tree      string
	Parents   []string
	Author    string // name <address> seconds zone
	Committer string
	Encoding  string // what Message, Author and Committer are written in; "" is UTF-8
	Message   []byte // byte for byte
}

// RawCommit reads a commit. What git can read can be read here; Check says whether it would take it again.
func (s *Store) RawCommit(id string) (RawCommit, error) {
	raw, err := s.read(id, packCommit, maxObject)
	if err != nil {
		return RawCommit{}, err
	}
	return parseRawCommit(id, raw)
}

func parseRawCommit(id string, raw []byte) (RawCommit, error) {
	var c RawCommit
	header, message, _ := bytes.Cut(raw, []byte("\n\n"))
	c.Message = message
	for line := range strings.SplitSeq(string(header), "\n") {
		key, value, _ := strings.Cut(line, " ")
		switch {
		case key == "tree" && c.Tree == "":
			c.Tree = value
		case key == "parent":
			c.Parents = append(c.Parents, value)
		case key == "author" && c.Author == "":
			c.Author = value
		case key == "committer" && c.Committer == "":
			c.Committer = value
		case key == "encoding":
			c.Encoding = value
		}
	}
	if checkID(append([]string{c.Tree}, c.Parents...)...) != nil {
		return RawCommit{}, &EntryError{id, "is a damaged commit"}
	}
	return c, nil
}

// Check says why git would refuse a commit like it in a push. Old ones, and those of other programs, may be so.
func (c RawCommit) Check() error {
	if !signatureLine.MatchString(c.Author) || !signatureLine.MatchString(c.Committer) || bytes.IndexByte(c.Message, 0) >= 0 || strings.ContainsAny(c.Encoding, "\x00\n") {
		return fmt.Errorf("it says in no way that git takes who made it and when (%.80q)", c.Author)
	}
	return nil
}

// Subject is the first paragraph of the message, on one line.
func (c RawCommit) Subject() string {
	subject, _, _ := strings.Cut(strings.TrimLeft(string(c.Message), "\n"), "\n\n")
	return strings.ToValidUTF8(strings.Join(strings.Fields(subject), " "), "\ufffd")
}

// PutCommit makes a commit and returns its id.
func (s *Store) PutCommit(c RawCommit) string {
	var raw bytes.Buffer
	fmt.Fprintf(&raw, "tree %s\n", c.Tree)
	for _, p := range c.Parents {
		fmt.Fprintf(&raw, "parent %s\n", p)
	}
	fmt.Fprintf(&raw, "author %s\ncommitter %s\n", c.Author, c.Committer)
	if c.Encoding != "" {
		fmt.Fprintf(&raw, "encoding %s\n", c.Encoding)
	}
	raw.WriteByte('\n')
	raw.Write(c.Message)
	return s.put(packCommit, raw.Bytes())
}

// PutBlob makes a file's bytes an object and returns its id.
func (s *Store) PutBlob(b []byte) string { return s.put(packBlob, b) }

// put makes an object and returns its id. It is written with the next Flush.
func (s *Store) put(kind byte, raw []byte) string {
	h := s.hash()
	fmt.Fprintf(h, "%s %d\x00", packKinds[kind], len(raw))
	h.Write(raw)
	id := hex.EncodeToString(h.Sum(nil))
	if _, ok := s.made[id]; ok || s.written[id] {
		return id
	}
	var packed bytes.Buffer
	if s.packer == nil {
		s.packer, _ = zlib.NewWriterLevel(&packed, zlib.BestSpeed)
	} else {
		s.packer.Reset(&packed)
	}
	_, _ = s.packer.Write(raw)
	_ = s.packer.Close()
	s.made[id] = made{kind, len(raw), packed.Bytes()}
	s.size += packed.Len()
	return id
}

func (s *Store) hash() hash.Hash {
	if s.sha256 {
		return sha256.New()
	}
	return sha1.New()
}

// Full says that much is waiting to be flushed.
func (s *Store) Full() bool { return s.size > 16<<20 }

// Flush writes what was made, as one pack. Objects were looked at when they were made, and git is not asked to judge
// them: it would refuse all of them for a .gitmodules that one shop has had for years.
func (s *Store) Flush() error {
	if len(s.made) == 0 {
		return nil
	}
	ids := make([]string, 0, len(s.made))
	for id := range s.made {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	sum := s.hash()
	read, write := io.Pipe()
	go func() {
		b := bufio.NewWriterSize(io.MultiWriter(write, sum), 64<<10)
		head := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(ids)))
		_, _ = b.Write(head)
		for _, id := range ids {
			m := s.made[id]
			_, _ = b.Write(packHeader(m.kind, m.size))
			_, _ = b.Write(m.packed)
		}
		err := b.Flush()
		if err == nil {
			_, err = write.Write(sum.Sum(nil))
		}
		write.CloseWithError(err)
	}()
	_, err := s.r.run(s.ctx, read, "index-pack", "--stdin")
	read.CloseWithError(io.ErrClosedPipe)
	if err != nil {
		return fmt.Errorf("writing %d objects: %w", len(ids), err)
	}
	for _, id := range ids {
		s.written[id] = true
	}
	clear(s.made)
	s.size = 0
	return nil
}

// packHeader is what stands before an object in a pack: its kind and how long it is, seven bits at a time.
func packHeader(kind byte, size int) []byte {
	b := kind<<4 | byte(size&15)
	var out []byte
	for size >>= 4; size > 0; size >>= 7 {
		out = append(out, b|0x80)
		b = byte(size & 0x7f)
	}
	return append(out, b)
}
