package sim

import (
	"bytes"
	"context"
	"io"
	"strings"

	"github.com/kvick/shopfleet/internal/d1"
)

// Contents of any size (values, objects, uploads, copies of databases) are kept in the catalogue in chunks. The owner of
// the chunks is a path: kv/<namespace>/<key>, r2/<bucket>/<key>, copy/<database>/<seq>, file/<database>/<name>.

const chunkSize = 1 << 20

func dropChunks(owner string) d1.Query {
	return d1.Query{SQL: "DELETE FROM chunks WHERE owner = ?", Params: []any{owner}}
}

// dropChunksBelow drops the chunks of all owners below a path, which ends with a slash.
func dropChunksBelow(path string) d1.Query {
	return d1.Query{SQL: "DELETE FROM chunks WHERE owner >= ? AND owner < ?", Params: []any{path, strings.TrimSuffix(path, "/") + "0"}}
}

// putChunks replaces the content of owner.
func putChunks(owner string, content []byte) []d1.Query {
	queries := []d1.Query{dropChunks(owner)}
	for n := 0; n*chunkSize < len(content); n++ {
		queries = append(queries, addChunk(owner, n, content[n*chunkSize:min((n+1)*chunkSize, len(content))]))
	}
	return queries
}

func addChunk(owner string, n int, data []byte) d1.Query {
	return d1.Query{SQL: "INSERT INTO chunks VALUES(?, ?, ?)", Params: []any{owner, n, data}}
}

// readChunks reads the chunks that hold the bytes [from, to) of the content of owner.
func readChunks(owner string, from, to int64) d1.Query {
	return d1.Query{
		SQL:    "SELECT data FROM chunks WHERE owner = ? AND n BETWEEN ? AND ? ORDER BY n",
		Params: []any{owner, from / chunkSize, max(to-1, from) / chunkSize},
	}
}

// joinChunks takes the bytes [from, to) out of what readChunks gave.
func joinChunks(r d1.Result, from, to int64) []byte {
	content := []byte{}
	for _, row := range r.Rows {
		content = append(content, row[0].([]byte)...)
	}
	start := from / chunkSize * chunkSize
	end := min(to-start, int64(len(content)))
	return content[min(from-start, end):end]
}

// chunkWriter keeps what is written to it as the content of owner, chunk by chunk; flush writes the last one. When it
// fails a part of the content is there.
type chunkWriter struct {
	s      *storage
	ctx    context.Context
	owner  string
	n      int
	buffer []byte
}

// newChunks replaces the content of owner by what will be written.
func (s *storage) newChunks(ctx context.Context, owner string) (*chunkWriter, error) {
	return &chunkWriter{s: s, ctx: ctx, owner: owner}, s.exec(ctx, dropChunks(owner))
}

func (w *chunkWriter) Write(p []byte) (int, error) {
	for written := 0; ; {
		n := min(chunkSize-len(w.buffer), len(p)-written)
		w.buffer = append(w.buffer, p[written:written+n]...)
		if written += n; len(w.buffer) < chunkSize {
			return written, nil
		}
		if err := w.flush(); err != nil {
			return written, err
		}
	}
}

func (w *chunkWriter) flush() error {
	if len(w.buffer) == 0 {
		return nil
	}
	err := w.s.exec(w.ctx, addChunk(w.owner, w.n, w.buffer))
	w.n++
	w.buffer = w.buffer[:0]
	return err
}

// chunkReader reads a content chunk by chunk.
type chunkReader struct {
	s       *storage
	ctx     context.Context
	owner   string
	n       int
	current bytes.Reader
}

func (s *storage) openChunks(ctx context.Context, owner string) io.Reader {
	return &chunkReader{s: s, ctx: ctx, owner: owner}
}

func (r *chunkReader) Read(p []byte) (int, error) {
	if r.current.Len() == 0 {
		rows, err := r.s.rows(r.ctx, "SELECT data FROM chunks WHERE owner = ? AND n = ?", r.owner, r.n)
		if err != nil {
			return 0, err
		}
		if len(rows) == 0 {
			return 0, io.EOF
		}
		r.current.Reset(rows[0][0].([]byte))
		r.n++
	}
	return r.current.Read(p)
}
