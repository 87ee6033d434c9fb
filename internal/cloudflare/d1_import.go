package cloudflare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// SQLFile is a file of SQL statements on its way into a database.
type SQLFile struct {
	MD5  string // 32 hexadecimal digits
	Size int64  // bytes
	Open func() (io.ReadCloser, error)
}

// D1Imported is what an import did.
type D1Imported struct {
	Statements int64
	Meta       D1Meta
	// Known says that D1 has imported a file with this MD5 before, and did not look at the database again: what it made may
	// have been taken away since.
	Known bool
}

// importStatus is what D1 says of an import (wire.md §7.3).
type importStatus struct {
	Filename  string `json:"filename"`
	UploadURL string `json:"upload_url"`
	Success   *bool  `json:"success"`
	Status    string `json:"status"`
	Bookmark  string `json:"at_bookmark"`
	Error     string `json:"error"`
	Result    struct {
		Queries float64 `json:"num_queries"`
		Meta    D1Meta  `json:"meta"`
	} `json:"result"`
}

// ErrImportFailed says that D1 ran an import and took nothing of it: a statement failed.
var ErrImportFailed = errors.New("D1 refused the file; nothing of it was applied")

// D1Import uploads a file of SQL and lets D1 run it as one transaction (wire.md §7.3). The database answers nobody else
// while it runs. D1 remembers files by their MD5: one that it has imported may be answered without being run again.
//
// A failed import wraps ErrImportFailed. After any other error it may have happened or may still be happening: look
// into the database before repeating it.
func (c *Client) D1Import(ctx context.Context, database string, file SQLFile) (D1Imported, error) {
	var state importStatus
	call := func(body map[string]string) error {
		state = importStatus{}
		return c.raw(ctx, request{op: "D1Import", args: []string{database}, body: body}, &state)
	}
	if err := call(map[string]string{"action": "init", "etag": file.MD5}); err != nil {
		return D1Imported{}, err
	}
	known := state.UploadURL == "" && state.Status == "complete"
	if state.UploadURL != "" {
		name := state.Filename
		if err := c.putFile(ctx, state.UploadURL, file); err != nil {
			return D1Imported{}, err
		}
		if err := call(map[string]string{"action": "ingest", "filename": name, "etag": file.MD5}); err != nil {
			return D1Imported{}, err
		}
	}
	lost := 0 // polls in a row that came to nothing
	for pause := importPause; ; pause = min(2*pause, maxImportPause) {
		switch {
		case state.Status == "complete":
			return D1Imported{Statements: int64(state.Result.Queries), Meta: state.Result.Meta, Known: known}, nil
		case state.Status == "error", state.Success != nil && !*state.Success:
			message := redact(orDefault(state.Error, "D1 does not say why"), []Secret{c.Token})
			return D1Imported{}, c.refuse(request{op: "D1Import", args: []string{database}}, fmt.Errorf("%w: %s", ErrImportFailed, message))
		case state.Bookmark == "":
			return D1Imported{}, c.refuse(request{op: "D1Import", args: []string{database}}, fmt.Errorf("%w: the import has no status and no bookmark", ErrMalformed))
		}
		began, bookmark := c.wire.now(), state.Bookmark
		if err := call(map[string]string{"action": "poll", "current_bookmark": bookmark}); err != nil {
			// A poll only looks, unlike what else goes to this endpoint, and it is open for as long as D1 works: it is asked again.
			if lost++; lost == c.wire.attempts || !errors.Is(err, ErrUnknownOutcome) || c.wire.sleep(ctx, time.Duration(lost)*time.Second) != nil {
				return D1Imported{}, err
			}
			state = importStatus{Bookmark: bookmark, Status: "active"}
			continue
		}
		lost = 0
		// D1 holds a poll until something happens; one that comes back at once must not become a storm.
		if state.Status == "active" && c.wire.now().Sub(began) < time.Second {
			if err := c.wire.sleep(ctx, pause); err != nil {
				return D1Imported{}, c.refuse(request{op: "D1Import", args: []string{database}}, err)
			}
		}
	}
}

const (
	importPause    = 100 * time.Millisecond
	maxImportPause = 5 * time.Second
	// slowUpload is the slowest connection that is waited for, in bytes a second, beyond the client's Timeout.
	slowUpload = 128 << 10
)

// putFile sends a file to the address that D1 named, which is another host's: without the token, and nowhere in clear text.
func (c *Client) putFile(ctx context.Context, address string, file SQLFile) error {
	fail := func(err error) error { return c.refuse(request{op: "D1Import", args: []string{"upload"}}, err) }
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
		return fail(fmt.Errorf("%w: the upload address is not one that a file may be sent to", ErrMalformed))
	}
	for try := 1; ; try++ {
		err := c.putOnce(ctx, u, file)
		// The same bytes at the same place: a second time does no more than the first.
		if err == nil || ctx.Err() != nil || try == c.wire.attempts {
			if err != nil {
				return fail(fmt.Errorf("uploading the file: %w", err))
			}
			return nil
		}
		if err := c.wire.sleep(ctx, time.Duration(try)*time.Second); err != nil {
			return fail(err)
		}
	}
}

func (c *Client) putOnce(ctx context.Context, u *url.URL, file SQLFile) error {
	ctx, cancel := context.WithTimeout(ctx, c.wire.timeout+time.Duration(file.Size/slowUpload)*time.Second)
	defer cancel()
	body, err := file.Open()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u.String(), body)
	if err != nil {
		body.Close()
		return err
	}
	req.ContentLength = file.Size
	resp, err := c.wire.next.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: status %d", ErrMalformed, resp.StatusCode)
	}
	if etag := strings.Trim(resp.Header.Get("ETag"), `"`); !strings.EqualFold(etag, file.MD5) {
		return fmt.Errorf("%w: what arrived has another MD5 than what was sent", ErrMalformed)
	}
	return nil
}
