package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// disk keeps small state files and content-addressed blobs below one directory, or in memory when dir is empty.
// A file is replaced by renaming a complete one over it, so that a kill at any moment leaves the old or the new state.
type disk struct {
	dir   string
	mu    sync.Mutex
	blobs map[string][]byte // when dir is empty
}

func (d *disk) writeFile(name string, content []byte) error {
	path := filepath.Join(d.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// put keeps content and returns its name, the hex sha256.
func (d *disk) put(content []byte) (string, error) {
	sum := sha256.Sum256(content)
	hash := hex.EncodeToString(sum[:])
	if d.dir == "" {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.blobs == nil {
			d.blobs = map[string][]byte{}
		}
		if _, ok := d.blobs[hash]; !ok {
			d.blobs[hash] = content
		}
		return hash, nil
	}
	if _, err := os.Stat(d.blobPath(hash)); err == nil {
		return hash, nil
	}
	return hash, d.writeFile("blobs/"+hash[:2]+"/"+hash, content)
}

func (d *disk) get(hash string) ([]byte, error) {
	if d.dir == "" {
		d.mu.Lock()
		defer d.mu.Unlock()
		if b, ok := d.blobs[hash]; ok {
			return b, nil
		}
		return nil, fmt.Errorf("blob %s: %w", hash, fs.ErrNotExist)
	}
	if len(hash) != sha256.Size*2 {
		return nil, fmt.Errorf("blob %q: %w", hash, fs.ErrNotExist)
	}
	return os.ReadFile(d.blobPath(hash))
}

func (d *disk) blobPath(hash string) string { return filepath.Join(d.dir, "blobs", hash[:2], hash) }

// blob returns the bytes of a module or of a static file. They must not be modified.
func (w *World) blob(hash string) ([]byte, error) { return w.disk.get(hash) }

// worldFile is what is kept outside accounts.
type worldFile struct {
	Secret []byte        `json:"secret"`
	Tokens []*credential `json:"tokens"`
}

func accountFile(id string) string { return "accounts/" + id + "/account.json" }

func scriptFile(account, name string) string {
	return "accounts/" + account + "/scripts/" + name + ".json"
}

// load reads the state of an earlier run, or makes a new world.
func (w *World) load() error {
	if w.dir == "" {
		w.newSecret()
		return nil
	}
	switch b, err := os.ReadFile(filepath.Join(w.dir, "world.json")); {
	case errors.Is(err, fs.ErrNotExist):
		w.newSecret()
		w.touchWorld()
		return w.flush()
	case err != nil:
		return err
	default:
		var f worldFile
		if err := json.Unmarshal(b, &f); err != nil {
			return fmt.Errorf("reading world.json: %w", err)
		}
		w.secret = f.Secret
		for _, t := range f.Tokens {
			w.tokens[t.Secret] = t
		}
	}
	accounts, err := entries(filepath.Join(w.dir, "accounts"))
	if err != nil {
		return err
	}
	for _, id := range accounts {
		a := &account{Scripts: map[string]*script{}}
		if err := readJSON(filepath.Join(w.dir, filepath.FromSlash(accountFile(id))), a); err != nil {
			return err
		}
		dir := filepath.Join(w.dir, "accounts", id, "scripts")
		scripts, err := entries(dir)
		if err != nil {
			return err
		}
		for _, name := range scripts {
			s := &script{}
			if err := readJSON(filepath.Join(dir, name), s); err != nil {
				return err
			}
			a.Scripts[s.Name] = s
		}
		w.accounts[a.ID] = a
	}
	return w.loadUsage()
}

// entries are the names in a directory, without the unfinished files of a run that was killed.
func entries(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range list {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, err
}

func readJSON(file string, v any) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	return nil
}

func (w *World) newSecret() {
	w.secret = make([]byte, 32)
	w.fill(w.secret)
}

// The touch functions note that something changed; flush writes it. All need mu.

func (w *World) touchWorld() { w.dirty["world.json"] = nil }

func (w *World) touch(a *account) { w.dirty[accountFile(a.ID)] = a }

func (w *World) touchScript(a *account, s *script) {
	w.dirty[scriptFile(a.ID, s.Name)] = s
	delete(w.gone, scriptFile(a.ID, s.Name))
}

func (w *World) dropScript(a *account, name string) {
	delete(w.dirty, scriptFile(a.ID, name))
	w.gone[scriptFile(a.ID, name)] = true
}

// released notes that what the edge serves has changed. It needs mu.
func (w *World) released() { w.changes.Add(1) }

// flush puts everything that was touched on disk. It needs mu.
func (w *World) flush() error {
	if w.dir == "" {
		clear(w.dirty)
		clear(w.gone)
		return nil
	}
	for name, state := range w.dirty {
		if strings.HasPrefix(name, "world") {
			f := worldFile{Secret: w.secret}
			for _, t := range w.tokens {
				f.Tokens = append(f.Tokens, t)
			}
			state = f
		}
		b, err := json.Marshal(state)
		if err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
		if err := w.disk.writeFile(name, b); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
		delete(w.dirty, name)
	}
	for name := range w.gone {
		if err := os.Remove(filepath.Join(w.dir, filepath.FromSlash(name))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		delete(w.gone, name)
	}
	return nil
}
