package transfer

import (
	"compress/gzip"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"
)

// spooled is something on its way, in a file of its own.
type spooled struct {
	file        *os.File
	size        int64
	sha256, md5 string
}

// drop closes and removes the file.
func (s *spooled) drop() error { return errors.Join(s.file.Close(), os.Remove(s.file.Name())) }

// spoolTries is how often something is read that breaks off.
const spoolTries = 4

// spool reads what open gives into a file in dir. What breaks off is begun anew.
func spool(ctx context.Context, s Shop, dir string, open func() (io.ReadCloser, error)) (*spooled, error) {
	file, err := os.CreateTemp(dir, "object-")
	if err != nil {
		return nil, fmt.Errorf("making room: %w", err)
	}
	out := &spooled{file: file}
	for try := 1; ; try++ {
		err := out.read(open)
		if err == nil {
			return out, nil
		}
		var broken *brokenError
		if !errors.As(err, &broken) || try == spoolTries || ctx.Err() != nil || s.sleep(ctx, time.Duration(try)*time.Second) != nil {
			return nil, errors.Join(err, out.drop())
		}
	}
}

// brokenError is an answer that broke off.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return "it broke off: " + e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

func (s *spooled) read(open func() (io.ReadCloser, error)) (err error) {
	r, err := open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := s.file.Truncate(0); err != nil {
		return err
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sha, sum := sha256.New(), md5.New()
	source := &watched{r: r}
	s.size, err = io.Copy(io.MultiWriter(s.file, sha, sum), source)
	if source.err != nil {
		return &brokenError{source.err}
	}
	s.sha256, s.md5 = hexSum(sha), hexSum(sum)
	return err
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// watched tells a failed read from a failed write.
type watched struct {
	r   io.Reader
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// lines writes values as compressed lines of JSON into a file of dir.
type lines struct {
	file *os.File
	gz   *gzip.Writer
	json *json.Encoder
	n    int
}

func newLines(dir string) (*lines, error) {
	file, err := os.CreateTemp(dir, "lines-")
	if err != nil {
		return nil, fmt.Errorf("making room: %w", err)
	}
	l := &lines{file: file, gz: gzip.NewWriter(file)}
	l.json = json.NewEncoder(l.gz)
	l.json.SetEscapeHTML(false)
	return l, nil
}

func (l *lines) add(v any) error {
	l.n++
	return l.json.Encode(v)
}

// put closes what was written and puts it into the store.
func (l *lines) put(ctx context.Context, store Store, key string) (File, error) {
	size, err := finished(l.file, l.gz)
	if err != nil {
		return File{}, fmt.Errorf("writing %s: %w", key, err)
	}
	return putPieces(ctx, store, key, l.file, size)
}

// drop removes the file.
func (l *lines) drop() error { return errors.Join(l.file.Close(), os.Remove(l.file.Name())) }

func finished(file *os.File, gz *gzip.Writer) (int64, error) {
	if err := gz.Close(); err != nil {
		return 0, err
	}
	return file.Seek(0, io.SeekEnd)
}

// fetched is a file of a backup, unpacked and held against its checksums, at its beginning.
func fetched(ctx context.Context, store Store, f File, dir string) (_ *os.File, err error) {
	packed, err := os.CreateTemp(dir, "packed-")
	if err != nil {
		return nil, fmt.Errorf("making room: %w", err)
	}
	defer func() { err = errors.Join(err, packed.Close(), os.Remove(packed.Name())) }()
	if err := getPieces(ctx, store, f, packed); err != nil {
		return nil, err
	}
	if _, err := packed.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	name := "a file without pieces"
	if len(f.Pieces) > 0 {
		name = f.Pieces[0].Key
	}
	gz, err := gzip.NewReader(packed)
	if err != nil {
		return nil, damaged(name, err.Error())
	}
	file, err := os.CreateTemp(dir, "unpacked-")
	if err != nil {
		return nil, fmt.Errorf("making room: %w", err)
	}
	source := &watched{r: gz}
	_, err = io.Copy(file, source)
	switch {
	case source.err != nil:
		err = damaged(name, source.err.Error())
	case err == nil:
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(file.Name()))
	}
	return file, nil
}

// readLines decodes the lines of a file, each into a T.
func readLines[T any](file io.Reader, each func(T) error) error {
	for d := json.NewDecoder(file); ; {
		var v T
		switch err := d.Decode(&v); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := each(v); err != nil {
			return err
		}
	}
}
