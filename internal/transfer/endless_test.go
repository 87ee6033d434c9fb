package transfer

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

// endless is a Store in which everything goes on for a long time.
type endless struct {
	Store
	read int64
}

func (e *endless) Get(context.Context, string) (io.ReadCloser, error) {
	return io.NopCloser(io.TeeReader(io.LimitReader(zeros{}, 64<<20), e)), nil
}

func (e *endless) Write(p []byte) (int, error) {
	e.read += int64(len(p))
	return len(p), nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestMoreThanTheManifestSays has a place of backups hand out far more than a manifest promised: nobody's disk is filled with it.
func TestMoreThanTheManifestSays(t *testing.T) {
	sum := strings.Repeat("0", 64)
	for name, read := range map[string]func(e *endless) error{
		"a file": func(e *endless) error {
			return getPieces(t.Context(), e, File{[]Piece{{Key: "shops/a/b/kv.jsonl.gz", Bytes: 10, SHA256: sum}}}, io.Discard)
		},
		"an object": func(e *endless) error {
			_, err := packedContent(t.Context(), Shop{}, e, "a", packedObject{Key: "x", Size: 10, SHA256: sum}, t.TempDir())
			return err
		},
	} {
		e := &endless{}
		err := read(e)
		var list Findings
		if !errors.As(err, &list) || list[0].Rule != "backup-damaged" || e.read > 1<<20 {
			t.Errorf("%s: %v, after %d bytes", name, err, e.read)
		}
	}
}
