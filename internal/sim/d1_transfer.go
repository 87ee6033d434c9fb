package sim

import (
	"context"
	"crypto/md5"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"time"

	"github.com/kvick/shopfleet/internal/d1"
)

// Import and export (wire.md §7.3). Both run in the background and are polled: the first answer is always "active", a poll
// waits for the end, and what it waits for is named by the bookmark that the database had in the beginning. Files travel
// over presigned URLs.

const (
	// longPoll is how long a poll waits before it says that nothing has changed.
	longPoll = 10 * time.Second
	// keepFiles is how long a presigned URL, and the file behind it, lives.
	keepFiles = time.Hour
)

// transfer is an import or export.
type transfer struct {
	kind, bookmark string
	done           chan struct{} // closed when the fields below are set
	result         map[string]any
	messages       []string
	err            error
}

// transferBook holds the transfers of a database: at most one runs, and the last one can still be asked about.
type transferBook struct {
	mu   sync.Mutex
	last *transfer
}

// begin starts a transfer in the background, unless one is running.
func (db *database) begin(kind, bookmark string, run func(context.Context) (map[string]any, []string, error)) (*transfer, error) {
	b := &db.transfers
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last != nil {
		select {
		case <-b.last.done:
		default:
			return nil, refuse(http.StatusBadRequest, 7500, "Currently processing a long-running %s.", b.last.kind)
		}
	}
	t := &transfer{kind: kind, bookmark: bookmark, done: make(chan struct{})}
	ctx, finished, err := db.s.job()
	if err != nil {
		return nil, err
	}
	b.last = t
	go func() {
		defer finished()
		defer close(t.done)
		t.result, t.messages, t.err = run(ctx)
	}()
	return t, nil
}

// job registers work in the background, which the context ends when the storage is closed.
func (s *storage) job() (ctx context.Context, finished func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return nil, nil, d1.ErrClosed
	default:
	}
	s.jobs.Add(1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-s.closed:
		case <-ctx.Done():
		}
		cancel()
	}()
	return ctx, func() { cancel(); s.jobs.Done() }, nil
}

// poll waits for the transfer that began at a bookmark and describes it.
func (db *database) poll(ctx context.Context, kind, bookmark string) (any, error) {
	db.transfers.mu.Lock()
	t := db.transfers.last
	db.transfers.mu.Unlock()
	if t == nil || t.kind != kind || t.bookmark != bookmark {
		return nil, refuse(http.StatusBadRequest, 7400, "Invalid property: current_bookmark => There is no %s at bookmark %s", kind, bookmark)
	}
	wait := time.NewTimer(longPoll)
	defer wait.Stop()
	select {
	case <-t.done:
		return t.view(), nil
	case <-wait.C:
	case <-ctx.Done():
	}
	return t.active(), nil
}

// active describes a transfer that has not ended.
func (t *transfer) active(messages ...string) map[string]any {
	return map[string]any{
		"success": true, "type": t.kind, "at_bookmark": t.bookmark, "messages": append([]string{}, messages...),
		"status": "active",
	}
}

// view describes a transfer that has ended.
func (t *transfer) view() map[string]any {
	view := t.active(t.messages...)
	if t.err != nil {
		maps.Copy(view, map[string]any{"success": false, "status": "error", "error": t.err.Error(), "errors": []string{t.err.Error()}})
		return view
	}
	maps.Copy(view, map[string]any{"status": "complete", "result": t.result})
	return view
}

// present is the bookmark of what the database holds. It names the moment; nobody is promised to be able to come back.
func (db *database) present(ctx context.Context) (bookmark string, err error) {
	err = db.exclusive(ctx, func() error {
		bookmark = db.now.bookmark()
		return nil
	})
	return bookmark, err
}

var md5Hex = regexp.MustCompile(`^[0-9a-f]{32}$`)

func importDatabase(c *storageCall, db *database) (any, error) {
	var in struct {
		Action   string `json:"action"`
		ETag     string `json:"etag"`
		Filename string `json:"filename"`
		Bookmark string `json:"current_bookmark"`
	}
	if err := decodeD1(c, &in); err != nil {
		return nil, err
	}
	switch in.Action {
	case "init":
		if !md5Hex.MatchString(in.ETag) {
			return nil, refuse(http.StatusBadRequest, 7400, "Invalid property: etag => Must be the MD5 of the file in hexadecimal digits")
		}
		return db.initImport(c, in.ETag)
	case "ingest":
		f, err := db.s.file(c.ctx, db.id, in.Filename)
		if err != nil {
			return nil, err
		}
		if f == nil || f.export || !f.complete || f.etag != in.ETag {
			return nil, refuse(http.StatusBadRequest, 7400, "Invalid property: filename => The file %s has not been uploaded with etag %s", in.Filename, in.ETag)
		}
		return db.ingest(c.ctx, in.Filename)
	case "poll":
		return db.poll(c.ctx, "import", in.Bookmark)
	}
	return nil, refuse(http.StatusBadRequest, 7400, "Invalid property: action => Must be init, ingest or poll")
}

// initImport asks for the file, unless it is known: one that has been imported is not imported twice, and one that was
// only uploaded, or failed, is run at once.
func (db *database) initImport(c *storageCall, etag string) (any, error) {
	if err := db.s.dropFiles(c.ctx, db.id); err != nil {
		return nil, err
	}
	name := db.id + "." + etag[:8] + ".sql"
	f, err := db.s.file(c.ctx, db.id, name)
	if err != nil {
		return nil, err
	}
	if f != nil && f.complete && f.etag == etag {
		if f.imported != "" {
			return json.RawMessage(f.imported), nil
		}
		return db.ingest(c.ctx, name)
	}
	signature, err := db.s.addFile(c.ctx, db.id, file{name: name, etag: etag})
	if err != nil {
		return nil, err
	}
	return map[string]any{"filename": name, "upload_url": signedURL(c.r, db.id, name, signature)}, nil
}

// ingest starts to run the statements of an uploaded file, as one transaction.
func (db *database) ingest(ctx context.Context, name string) (any, error) {
	bookmark, err := db.present(ctx)
	if err != nil {
		return nil, err
	}
	t, err := db.begin("import", bookmark, func(ctx context.Context) (map[string]any, []string, error) {
		done, final, err := db.runImport(ctx, db.s.openChunks(ctx, fileOwner(db.id, name)))
		if err != nil {
			return nil, nil, err
		}
		db.s.uses.imported(db.account, db.id, db.s.now(), done)
		result := map[string]any{"num_queries": done.Statements, "final_bookmark": final, "meta": db.metaView(done.Meta)}
		known := transfer{kind: "import", bookmark: bookmark, result: result}
		return result, []string{fmt.Sprintf("Processed %d queries.", done.Statements)}, db.s.markImported(ctx, db.id, name, known.view())
	})
	if err != nil {
		return nil, err
	}
	return t.active("Importing..."), nil
}

func (db *database) runImport(ctx context.Context, r io.Reader) (done d1.Imported, final string, err error) {
	err = db.exclusive(ctx, func() error {
		err := db.write(ctx, func() (bool, error) {
			done, err = db.engine.Import(ctx, r)
			return done.Meta.ChangedDB, err
		})
		final = db.now.bookmark()
		return err
	})
	return done, final, err
}

func exportDatabase(c *storageCall, db *database) (any, error) {
	var in struct {
		Format   string `json:"output_format"`
		Bookmark string `json:"current_bookmark"`
		Options  struct {
			NoSchema bool     `json:"no_schema"`
			NoData   bool     `json:"no_data"`
			Tables   []string `json:"tables"`
		} `json:"dump_options"`
	}
	if err := decodeD1(c, &in); err != nil {
		return nil, err
	}
	if in.Format != "polling" {
		return nil, refuse(http.StatusBadRequest, 7400, "Invalid property: output_format => Must be polling")
	}
	if in.Bookmark != "" {
		return db.poll(c.ctx, "export", in.Bookmark)
	}
	if in.Options.NoSchema && in.Options.NoData {
		return nil, refuse(http.StatusBadRequest, 7400, "Invalid property: dump_options => no_schema and no_data leave nothing to export")
	}
	if err := db.s.dropFiles(c.ctx, db.id); err != nil {
		return nil, err
	}
	bookmark, err := db.present(c.ctx)
	if err != nil {
		return nil, err
	}
	t, err := db.begin("export", bookmark, func(ctx context.Context) (map[string]any, []string, error) {
		f := file{name: db.name + "-" + db.s.hexID()[:8] + ".sql", export: true}
		signature, err := db.runExport(ctx, f, d1.DumpOptions(in.Options))
		if err != nil {
			return nil, nil, err
		}
		return map[string]any{"filename": f.name, "signed_url": signedURL(c.r, db.id, f.name, signature)}, []string{"Uploaded part 1"}, nil
	})
	if err != nil {
		return nil, err
	}
	return t.active("Generating export"), nil
}

// runExport writes a dump to a file and returns the signature that lets it be read.
func (db *database) runExport(ctx context.Context, f file, o d1.DumpOptions) (signature string, err error) {
	out, err := db.s.newChunks(ctx, fileOwner(db.id, f.name))
	if err != nil {
		return "", err
	}
	if err = db.exclusive(ctx, func() error { return db.engine.Dump(ctx, out, o) }); err == nil {
		err = out.flush()
	}
	if err != nil {
		return "", err
	}
	return db.s.addFile(ctx, db.id, f)
}

// file is what a presigned URL stands for.
type file struct {
	name, etag, signature string
	export                bool // to be read; otherwise to be written
	complete              bool // written, with the content that the etag promised
	// imported is the status of the import that ran this file to its end; "" when there was none, or when the database
	// has been taken back since.
	imported string
}

func fileOwner(database, name string) string { return "file/" + database + "/" + name }

// addFile makes a presigned URL's file known, in place of one of that name, and returns its signature.
func (s *storage) addFile(ctx context.Context, database string, f file) (signature string, err error) {
	signature = s.hexID() + s.hexID()
	return signature, s.exec(ctx, d1.Query{
		SQL:    `INSERT OR REPLACE INTO uploads(database, filename, etag, signature, export, expires) VALUES(?, ?, ?, ?, ?, ?)`,
		Params: []any{database, f.name, f.etag, signature, f.export, millis(s.now().Add(keepFiles))},
	})
}

// file finds a file that has not expired; nil when there is none.
func (s *storage) file(ctx context.Context, database, name string) (*file, error) {
	rows, err := s.rows(ctx, "SELECT etag, signature, export, complete, imported FROM uploads WHERE database = ? AND filename = ? AND expires > ?",
		database, name, millis(s.now()))
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	r := rows[0]
	return &file{
		name: name, etag: r[0].(string), signature: r[1].(string), export: r[2] != int64(0), complete: r[3] != int64(0), imported: r[4].(string),
	}, nil
}

// markImported notes with which status a file was imported.
func (s *storage) markImported(ctx context.Context, database, name string, status map[string]any) error {
	text, err := json.Marshal(status)
	if err != nil {
		return err
	}
	return s.exec(ctx, d1.Query{SQL: "UPDATE uploads SET imported = ? WHERE database = ? AND filename = ?", Params: []any{string(text), database, name}})
}

// dropFiles forgets the files of a database that have expired.
func (s *storage) dropFiles(ctx context.Context, database string) error {
	const old = "FROM uploads WHERE database = ?1 AND expires <= ?2"
	params := []any{database, millis(s.now())}
	return s.exec(ctx,
		d1.Query{SQL: "DELETE FROM chunks WHERE owner IN (SELECT 'file/' || database || '/' || filename " + old + ")", Params: params},
		d1.Query{SQL: "DELETE " + old, Params: params})
}

// signedURL is where a file is read or written, on the host that the client called.
func signedURL(r *http.Request, database, name, signature string) string {
	u := url.URL{Scheme: "http", Host: r.Host, Path: "/signed/d1/" + database + "/" + name}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	u.RawQuery = url.Values{"X-Amz-Expires": {fmt.Sprint(int(keepFiles.Seconds()))}, "X-Amz-Signature": {signature}}.Encode()
	return u.String()
}

// signed finds the file of a presigned URL, if the signature admits to it.
func (s *storage) signed(r *http.Request, export bool) (*file, error) {
	f, err := s.file(r.Context(), r.PathValue("database"), r.PathValue("filename"))
	if err != nil || f == nil || f.export != export {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(f.signature), []byte(r.URL.Query().Get("X-Amz-Signature"))) == 0 {
		return nil, nil
	}
	return f, nil
}

func forbidden(rw http.ResponseWriter) {
	http.Error(rw, "The signature is not valid, or it has expired.", http.StatusForbidden)
}

// putSigned takes the file of an import and answers with its ETag, which the client compares (wire.md §7.3).
func (s *storage) putSigned(rw http.ResponseWriter, r *http.Request) {
	f, err := s.signed(r, false)
	if err == nil && f == nil {
		forbidden(rw)
		return
	}
	etag := ""
	if err == nil {
		etag, err = s.upload(r.Context(), r.PathValue("database"), f, r.Body)
	}
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	rw.Header().Set("ETag", `"`+etag+`"`)
	rw.WriteHeader(http.StatusOK)
}

func (s *storage) upload(ctx context.Context, database string, f *file, body io.Reader) (etag string, err error) {
	completed := func(yes bool) error {
		return s.exec(ctx, d1.Query{
			SQL: "UPDATE uploads SET complete = ?, imported = '' WHERE database = ? AND filename = ?", Params: []any{yes, database, f.name},
		})
	}
	if err := completed(false); err != nil {
		return "", err
	}
	out, err := s.newChunks(ctx, fileOwner(database, f.name))
	if err != nil {
		return "", err
	}
	sum := md5.New()
	if _, err := io.Copy(io.MultiWriter(out, sum), body); err != nil {
		return "", err
	}
	if err := out.flush(); err != nil {
		return "", err
	}
	etag = hex.EncodeToString(sum.Sum(nil))
	return etag, completed(etag == f.etag)
}

// getSigned hands out the file of an export.
func (s *storage) getSigned(rw http.ResponseWriter, r *http.Request) {
	f, err := s.signed(r, true)
	switch {
	case err != nil:
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	case f == nil:
		forbidden(rw)
		return
	}
	rw.Header().Set("Content-Type", "application/sql")
	io.Copy(rw, s.openChunks(r.Context(), fileOwner(r.PathValue("database"), f.name))) // a client that left needs no answer
}
