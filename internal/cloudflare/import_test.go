package cloudflare_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/sim/simtest"
)

func sqlFile(sql string) cloudflare.SQLFile {
	sum := md5.Sum([]byte(sql))
	return cloudflare.SQLFile{MD5: hex.EncodeToString(sum[:]), Size: int64(len(sql)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader([]byte(sql))), nil }}
}

func TestImport(t *testing.T) {
	w, cf := simulated(t)
	uploads := 0
	cf.Transport = carrier(func(req *http.Request) (*http.Response, error) {
		if !strings.HasPrefix(req.URL.Path, "/client/v4/") {
			uploads++
			if req.Header.Get("Authorization") != "" || strings.Contains(req.URL.String(), simtest.Token) {
				t.Error("the token travels to the host of the upload")
			}
		}
		return cloudflare.LoopbackOnly(nil).RoundTrip(req)
	})
	ctx := context.Background()
	file := sqlFile("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2);")
	done, err := cf.D1Import(ctx, d1ID, file)
	if err != nil || done.Statements != 2 || uploads != 1 {
		t.Fatalf("%+v, %v, %d uploads", done, err, uploads)
	}
	// The same file again is known.
	if again, err := cf.D1Import(ctx, d1ID, file); err != nil || again.Statements != 2 || uploads != 1 {
		t.Errorf("again: %+v, %v, %d uploads", again, err, uploads)
	}
	rows, err := cf.D1Read(ctx, d1ID, "SELECT count(*) AS n FROM t")
	if err != nil || string(rows.Rows) != `[{"n":2}]` {
		t.Errorf("rows %s, %v", rows.Rows, err)
	}
	_, err = cf.D1Import(ctx, d1ID, sqlFile("INSERT INTO t VALUES (3); INSERT INTO nowhere VALUES (1);"))
	if !errors.Is(err, cloudflare.ErrImportFailed) || !strings.Contains(err.Error(), "no such table: nowhere") {
		t.Errorf("a failing file: %v", err)
	}
	if rows, err := cf.D1Read(ctx, d1ID, "SELECT count(*) AS n FROM t"); err != nil || string(rows.Rows) != `[{"n":2}]` {
		t.Errorf("after a failing file: rows %s, %v", rows.Rows, err)
	}
	if _, err := cf.ReadOnly().D1Import(ctx, d1ID, file); !errors.Is(err, cloudflare.ErrReadOnly) {
		t.Errorf("a read-only client imported: %v", err)
	}
	w.ForgetRequests()
}

// carrier is a transport made of a function.
type carrier func(*http.Request) (*http.Response, error)

func (c carrier) RoundTrip(req *http.Request) (*http.Response, error) { return c(req) }

// A file goes only where it may: over https, or to this machine.
func TestImportAddress(t *testing.T) {
	for _, address := range []string{"http://files.example/x", "ftp://127.0.0.1/x", "https://user@files.example/x", "//files.example/x", "%zz"} {
		sent := false
		cf := &cloudflare.Client{BaseURL: "http://127.0.0.1:1", AccountID: account, Token: simtest.Token, Transport: carrier(func(req *http.Request) (*http.Response, error) {
			if req.Method == http.MethodPut {
				sent = true
			}
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Request: req,
				Body: io.NopCloser(strings.NewReader(`{"success":true,"errors":[],"messages":[],"result":{"filename":"f","upload_url":"` + address + `"}}`))}, nil
		})}
		if _, err := cf.D1Import(context.Background(), d1ID, sqlFile("SELECT 1")); !errors.Is(err, cloudflare.ErrMalformed) || sent {
			t.Errorf("%s: %v, sent %t", address, err, sent)
		}
	}
}

// A poll is open for as long as D1 works, and is asked again when its answer is lost; nothing else is sent twice.
func TestImportPollsAreRepeated(t *testing.T) {
	for _, after := range []sim.Drop{sim.DropAfter, sim.DropBefore} {
		w, cf := simulated(t)
		cf.Sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
		if _, err := w.Fault(sim.Rule{Path: `/import$`, Skip: 2, Count: 2, Drop: after}); err != nil { // init and ingest pass
			t.Fatal(err)
		}
		done, err := cf.D1Import(t.Context(), d1ID, sqlFile("CREATE TABLE t (a); INSERT INTO t VALUES (1);"))
		if err != nil || done.Statements != 2 {
			t.Errorf("drop %s: %+v, %v", after, done, err)
		}
		actions := 0
		for _, r := range w.Requests() {
			if strings.HasSuffix(r.Path, "/import") {
				actions++
			}
		}
		if actions != 5 {
			t.Errorf("drop %s: %d calls, want init, ingest and 3 polls", after, actions)
		}
	}
}
