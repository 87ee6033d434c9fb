package cloudflare

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// One method of each effect.
func read(c *Client) error {
	_, err := c.Secrets(context.Background(), "helm-swicked")
	return err
}

func set(c *Client) error {
	return c.PutSchedules(context.Background(), "helm-swicked", []string{"0 13 * * *"})
}

func add(c *Client) error {
	_, err := c.CreateVersion(context.Background(), "helm-swicked", "multipart/form-data; boundary=x", []byte("--x--"))
	return err
}

// TestWhatIsAnAnswer runs every odd answer through a read, a repeatable write and an adding write, and states for each the
// number of requests it leads to and what is known afterwards. Each answer is given to every attempt.
func TestWhatIsAnAnswer(t *testing.T) {
	html := map[string]string{"Content-Type": "text/html"}
	const page = "<!doctype html><title>502</title>"
	type result struct {
		requests int
		outcome  Outcome
	}
	succeeds := result{1, -1}
	for name, tc := range map[string]struct {
		answer         answer
		read, set, add result
		is             error // nil: not checked
	}{
		"success, HTTP 500":         {answer{status: 500, body: `{"success":true,"result":[{"id":"v"}]}`}, succeeds, succeeds, result{1, Unknown}, nil}, // adds: the result is not an object
		"success is a string":       {answer{status: 200, body: `{"success":"true","result":[]}`}, result{1, Refused}, result{1, Refused}, result{1, Refused}, nil},
		"SUCCESS in capitals":       {answer{status: 200, body: `{"SUCCESS":true,"result":[]}`}, result{1, Refused}, result{1, Unknown}, result{1, Unknown}, ErrMalformed},
		"success missing":           {answer{status: 200, body: `{"result":[]}`}, result{1, Refused}, result{1, Unknown}, result{1, Unknown}, ErrMalformed},
		"false with HTTP 200":       {no(200, 10021, "boom"), result{1, Refused}, result{1, Refused}, result{1, Refused}, nil},
		"false with HTTP 400":       {no(400, 10021, "boom"), result{1, Refused}, result{1, Refused}, result{1, Refused}, nil},
		"false with HTTP 409":       {no(409, 1, "boom"), result{1, Refused}, result{1, Refused}, result{1, Refused}, ErrConflict},
		"false with HTTP 500":       {no(500, 10013, "boom"), result{4, Refused}, result{4, Unknown}, result{1, Unknown}, nil},
		"false with HTTP 408":       {no(408, 0, "boom"), result{4, Refused}, result{4, Unknown}, result{1, Unknown}, nil},
		"rate limit, HTTP 429":      {no(429, 0, "slow down"), result{4, Refused}, result{4, Refused}, result{4, Refused}, ErrRateLimited},
		"rate limit, HTTP 200":      {no(200, 971, "slow down"), result{4, Refused}, result{4, Refused}, result{4, Refused}, ErrRateLimited},
		"rate limit without JSON":   {answer{status: 429, body: "slow down"}, result{4, Refused}, result{4, Refused}, result{4, Refused}, ErrRateLimited},
		"internal error under 1000": {no(400, 10001, "Internal error, try again"), result{4, Refused}, result{4, Unknown}, result{1, Unknown}, nil},
		"method not allowed":        {no(400, 10001, "method not allowed for this token"), result{1, Refused}, result{1, Refused}, result{1, Refused}, ErrUnauthorized},
		"web page, HTTP 502":        {answer{502, page, html}, result{4, Refused}, result{4, Unknown}, result{1, Unknown}, ErrMalformed},
		"web page, HTTP 200":        {answer{200, page, html}, result{1, Refused}, result{1, Unknown}, result{1, Unknown}, ErrMalformed},
		"web page, HTTP 404":        {answer{404, page, html}, result{1, Refused}, result{1, Refused}, result{1, Refused}, ErrMalformed},
		"firewall challenge":        {answer{503, page, map[string]string{"Cf-Mitigated": "challenge"}}, result{1, Refused}, result{1, Refused}, result{1, Refused}, ErrMalformed},
		"redirect":                  {answer{307, "", map[string]string{"Location": "https://example.com/"}}, result{1, Refused}, result{1, Refused}, result{1, Refused}, ErrMalformed},
		"cut JSON, HTTP 200":        {answer{status: 200, body: `{"success":true,"result":[`}, result{4, Refused}, result{4, Unknown}, result{1, Unknown}, ErrMalformed},
		"two JSON values":           {answer{status: 200, body: `{"success":true,"result":[]}{}`}, result{4, Refused}, result{4, Unknown}, result{1, Unknown}, ErrMalformed},
		"a list":                    {answer{status: 200, body: `[]`}, result{4, Refused}, result{4, Unknown}, result{1, Unknown}, ErrMalformed},
		"nothing, HTTP 200":         {answer{status: 200}, result{4, Refused}, result{4, Unknown}, result{1, Unknown}, ErrMalformed},
		"nothing, HTTP 204":         {answer{status: 204}, result{4, Refused}, succeeds, result{1, Unknown}, ErrMalformed}, // adds: it lacks the id
		"no result":                 {answer{status: 200, body: `{"success":true}`}, result{1, Refused}, succeeds, result{1, Unknown}, ErrMalformed},
		"result null":               {ok(`null`), result{1, Refused}, succeeds, result{1, Unknown}, ErrMalformed},
		"result of another shape":   {ok(`"x"`), result{1, NotSent}, succeeds, result{1, Unknown}, ErrMalformed},
		"bare string errors":        {answer{status: 400, body: `{"success":false,"errors":["a","b"]}`}, result{1, Refused}, result{1, Refused}, result{1, Refused}, nil},
		"errors is an object":       {answer{status: 400, body: `{"success":false,"errors":{"code":"10007","message":"gone"}}`}, result{1, Refused}, result{1, Refused}, result{1, Refused}, ErrNotFound},
		"messages only":             {answer{status: 400, body: `{"success":false,"errors":[],"messages":["look here"]}`}, result{1, Refused}, result{1, Refused}, result{1, Refused}, nil},
		"strings beside a success":  {answer{status: 200, body: `{"success":true,"errors":["x",1],"messages":["y",null],"result":[{"id":"v"}]}`}, succeeds, succeeds, result{1, Unknown}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for effect, call := range map[string]struct {
				do   func(*Client) error
				want result
			}{"read": {read, tc.read}, "set": {set, tc.set}, "add": {add, tc.add}} {
				w := newWorld(t, script(tc.answer))
				err := call.do(w.Client)
				if n := len(w.requests()); n != call.want.requests {
					t.Errorf("%s: %d requests, want %d (%v)", effect, n, call.want.requests, err)
				}
				if call.want == succeeds {
					if err != nil {
						t.Errorf("%s: %v", effect, err)
					}
					continue
				}
				e := asError(t, err)
				if e.Outcome != call.want.outcome {
					t.Errorf("%s: outcome %v, want %v (%v)", effect, e.Outcome, call.want.outcome, err)
				}
				if got := errors.Is(err, ErrUnknownOutcome); got != (call.want.outcome == Unknown) {
					t.Errorf("%s: is ErrUnknownOutcome: %v", effect, got)
				}
				if tc.is != nil && !errors.Is(err, tc.is) {
					t.Errorf("%s: %v is not %v", effect, err, tc.is)
				}
				for _, not := range []error{ErrNotFound, ErrConflict, ErrRateLimited, ErrUnauthorized} {
					if not != tc.is && errors.Is(err, not) {
						t.Errorf("%s: %v passes for %q", effect, err, not)
					}
				}
			}
		})
	}
}

func TestErrorTellsEverything(t *testing.T) {
	w := newWorld(t, script(answer{
		status: 400,
		body: `{"success":false,"errors":[{"code":10021,"message":"Uncaught Error: boom","error_chain":[{"code":10022,"message":"inner"}]},` +
			`{"code":10057,"message":"inherit binding 'API_KEY' is invalid"}],"messages":[],"result":null}`,
		header: map[string]string{"Cf-Ray": "8f2b3c4d5e6f7a8b-AMS", "Retry-After": "7"},
	}))
	e := asError(t, add(w.Client))
	want := "CreateVersion POST /accounts/" + testAccount + "/workers/scripts/helm-swicked/versions: Uncaught Error: boom (inner) [code: 10021]; " +
		"inherit binding 'API_KEY' is invalid [code: 10057], HTTP 400, ray 8f2b3c4d5e6f7a8b-AMS"
	if e.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", e, want)
	}
	if e.Op != "CreateVersion" || e.Code != 10021 || len(e.Codes) != 3 || e.Codes[1] != 10022 || e.Codes[2] != 10057 || e.RetryAfter != 7*time.Second || e.Attempts != 1 {
		t.Errorf("got %+v", e)
	}
	if strings.Contains(e.Path, "?") {
		t.Errorf("the path %q has a query", e.Path)
	}
}

// The bytes of a compressed answer are counted as they come out, so that a small one cannot fill the memory.
func TestBodyLimit(t *testing.T) {
	long := ok(`[{"name":"` + strings.Repeat("a", 2000) + `"}]`)
	w := newWorld(t, script(long))
	w.MaxBody = 1000
	if err := read(w.Client); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "longer than 1000 bytes") {
		t.Errorf("got %v", err)
	}
	w = newWorld(t, script(ok(`[{"success":true,"results":[{"a":"`+strings.Repeat("a", 2000)+`"}]}]`)))
	w.MaxBody = 1000
	if _, err := w.D1Read(context.Background(), "db", "SELECT 1"); err != nil {
		t.Errorf("rows may take eight times as much: %v", err)
	}
	// One that never ends is left where the limit is.
	w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		for chunk := []byte(strings.Repeat(" ", 1<<16)); ; {
			if _, err := rw.Write(chunk); err != nil {
				return
			}
		}
	})
	if err := read(w.Client); !errors.Is(err, ErrMalformed) {
		t.Errorf("got %v", err)
	}
	w = newWorld(t, script(answer{200, "\x1f\x8b\x08not gzip", map[string]string{"Content-Encoding": "gzip"}}))
	if err := read(w.Client); err == nil {
		t.Error("a broken compression was accepted")
	}
}

// A wrong account id or base URL must never read as "no such Worker", which would be deployed as a first one.
func TestNotFound(t *testing.T) {
	worker := func(c *Client) error { _, err := c.Settings(context.Background(), "x"); return err }
	database := func(c *Client) error { _, err := c.D1Database(context.Background(), "x"); return err }
	bucket := func(c *Client) error { _, err := c.R2Bucket(context.Background(), "x", ""); return err }
	for name, tc := range map[string]struct {
		do     func(*Client) error
		answer answer
		want   bool
	}{
		"worker 10007":               {worker, no(404, 10007, "This Worker does not exist on your account."), true},
		"worker 10090, HTTP 400":     {worker, no(400, 10090, "x"), true},
		"any code with 404":          {worker, no(404, 4711, "x"), true},
		"database 7404":              {database, no(404, 7404, "x"), true},
		"bucket 10006":               {bucket, no(400, 10006, "x"), true},
		"could not route":            {worker, no(404, 7003, "Could not route to /accounts/x/workers, perhaps your object identifier is invalid?"), false},
		"a proxy's 404":              {worker, answer{status: 404, body: "<h1>404"}, false},
		"JSON from elsewhere":        {worker, answer{status: 404, body: `{"error":"not found"}`}, false},
		"a bucket's code from D1":    {database, no(400, 10006, "x"), false},
		"a namespace's code from R2": {bucket, no(400, 10013, "x"), false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, script(tc.answer))
			if err := tc.do(w.Client); errors.Is(err, ErrNotFound) != tc.want {
				t.Errorf("%v: not found is %v, want %v", err, !tc.want, tc.want)
			}
		})
	}
}

func TestUnauthorized(t *testing.T) {
	for name, tc := range map[string]struct {
		answer answer
		want   bool
	}{
		"10000":                {no(400, 10000, "Authentication error"), true},
		"9109":                 {no(403, 9109, "Invalid access token"), true},
		"9106, HTTP 400":       {no(400, 9106, "Missing Authorization header"), true},
		"403":                  {no(403, 0, ""), true},
		"401 from a proxy":     {answer{status: 401, body: "no"}, true},
		"a zone that is wrong": {no(400, 9109, "Invalid zone identifier"), false},
		"challenge":            {answer{403, "<html>", map[string]string{"Cf-Mitigated": "challenge"}}, false},
		"not found":            {no(404, 10007, "x"), false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, script(tc.answer))
			if err := read(w.Client); errors.Is(err, ErrUnauthorized) != tc.want {
				t.Errorf("%v: unauthorised is %v, want %v", err, !tc.want, tc.want)
			}
		})
	}
}

func TestHints(t *testing.T) {
	ctx := context.Background()
	for name, tc := range map[string]struct {
		do     func(*Client) error
		answer answer
		want   string
	}{
		"token":           {read, no(403, 10000, "Authentication error"), "token was refused"},
		"permission":      {read, no(403, 0, ""), "the permission Account · Workers Scripts · Read"},
		"d1 permission":   {func(c *Client) error { _, err := c.CreateD1(ctx, D1Database{Name: "x"}); return err }, no(403, 10000, "Authentication error"), "Account · D1 · Edit"},
		"dns permission":  {func(c *Client) error { return c.DeleteDNSRecord(ctx, "z", "r") }, no(403, 9109, "Unauthorized to access requested resource"), "Zone · DNS · Edit"},
		"no worker":       {read, no(404, 10007, "x"), "deploy it first"},
		"no subdomain":    {func(c *Client) error { _, err := c.AccountSubdomain(ctx); return err }, no(404, 10007, "x"), "workers.dev"},
		"startup":         {add, no(400, 10021, "Script startup exceeded CPU time limit."), "while it starts"},
		"script":          {add, no(400, 10021, "Uncaught TypeError"), "could not start the script"},
		"too large":       {add, no(400, 10027, "x"), "dependencies"},
		"inherit":         {add, no(400, 10057, "x"), "secret"},
		"hostname":        {set, no(409, 100116, "x"), "another Worker"},
		"dns":             {set, no(409, 100117, "x"), "DNS records"},
		"database":        {func(c *Client) error { _, err := c.D1Database(ctx, "x"); return err }, no(404, 7404, "x"), "database_id"},
		"SQL":             {func(c *Client) error { _, err := c.D1Exec(ctx, "x", "y"); return err }, no(400, 7500, "x"), "SQLite"},
		"database exists": {func(c *Client) error { _, err := c.CreateD1(ctx, D1Database{Name: "x"}); return err }, no(400, 7502, "x"), "exists already"},
		"account id":      {read, no(400, 7003, "x"), "account_id"},
		"rate limit":      {read, no(200, 971, "x"), "1,200 calls"},
		"inner code":      {set, answer{status: 400, body: `{"success":false,"errors":[{"code":1,"message":"x","error_chain":[{"code":100116,"message":"y"}]}]}`}, "another Worker"},
		"challenge":       {read, answer{403, "", map[string]string{"Cf-Mitigated": "challenge"}}, "firewall"},
		"proxy":           {read, answer{status: 404, body: "<html>"}, "base URL"},
		"fault":           {read, answer{status: 502, body: "<html>"}, "fault"},
		"unclear":         {add, answer{status: 200, body: ""}, "base URL"},
		"read-only":       {func(c *Client) error { return set(c.ReadOnly()) }, ok(`null`), "only looks"},
		"nothing to say":  {set, no(400, 424242, "x"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, script(tc.answer))
			hint := asError(t, tc.do(w.Client)).Hint()
			if !strings.Contains(hint, tc.want) || (tc.want == "") != (hint == "") || strings.Contains(hint, "\n") {
				t.Errorf("hint %q, want %q in it", hint, tc.want)
			}
		})
	}
}

// TestCodesAgreeWithTheList compares our tables with codes that others met in production (error-codes.json).
func TestCodesAgreeWithTheList(t *testing.T) {
	type entry struct{ Service, Name, Match string }
	list := decodeContract[[]entry](t, "error-codes.json")
	for _, table := range []struct {
		is    string
		names []string
		codes map[string][]int
		extra []int // wire.md §2 names them, the list does not
	}{
		{"not found", []string{"NotFound", "NoSuchBucket"}, notFoundCodes, []int{10090, 10092}},
		{"conflict", []string{"AlreadyExists", "AlreadyInUse"}, conflictCodes, []int{100117}},
	} {
		for service, codes := range table.codes {
			for _, code := range codes {
				found := false
				for _, e := range list {
					for _, name := range table.names {
						found = found || e.Service == service && strings.Contains(e.Name, name) && strings.Contains(e.Match, "code: "+strconv.Itoa(code)+" ")
					}
				}
				for _, extra := range table.extra {
					found = found || code == extra
				}
				if !found {
					t.Errorf("%s of %s has %d, which error-codes.json does not", table.is, service, code)
				}
			}
		}
	}
}

// A member that a caller depends on must be there: an absent list would read as an empty one, an absent id as "".
func TestResultsAreWhole(t *testing.T) {
	ctx := context.Background()
	for name, tc := range map[string]struct {
		whole string
		do    func(*Client) error
	}{
		"DomainChangeset": {`{"added":[],"removed":[],"updated":[],"conflicting":[]}`, func(c *Client) error { _, err := c.DomainChangeset(ctx, "x", nil); return err }},
		"AssetsSession":   {`{"jwt":"j","buckets":[]}`, func(c *Client) error { _, err := c.AssetsSession(ctx, "x", nil); return err }},
		"R2Buckets":       {`{"buckets":[]}`, func(c *Client) error { _, err := c.R2Buckets(ctx, ""); return err }},
		"Versions":        {`{"items":[]}`, func(c *Client) error { _, err := c.Versions(ctx, "x"); return err }},
		"Version":         {`{"id":"v"}`, func(c *Client) error { _, err := c.Version(ctx, "x", "v"); return err }},
		"Schedules":       {`{"schedules":[]}`, func(c *Client) error { _, err := c.Schedules(ctx, "x"); return err }},
		"Subdomain":       {`{"enabled":false}`, func(c *Client) error { _, err := c.Subdomain(ctx, "x"); return err }},
		"CreateRoute":     {`{"id":"r"}`, func(c *Client) error { _, err := c.CreateRoute(ctx, "z", "p", "x"); return err }},
		"CreateKV":        {`{"id":"k"}`, func(c *Client) error { _, err := c.CreateKVNamespace(ctx, "x"); return err }},
		"CreateD1":        {`{"uuid":"u"}`, func(c *Client) error { _, err := c.CreateD1(ctx, D1Database{Name: "x"}); return err }},
		"D1Bookmark":      {`{"bookmark":"b"}`, func(c *Client) error { _, err := c.D1Bookmark(ctx, "x", time.Time{}); return err }},
		"D1Restore":       {`{"bookmark":"b","previous_bookmark":"p"}`, func(c *Client) error { _, err := c.D1Restore(ctx, "x", "b"); return err }},
	} {
		var members map[string]any
		if err := json.Unmarshal([]byte(tc.whole), &members); err != nil {
			t.Fatal(err)
		}
		if err := tc.do(newWorld(t, script(ok(tc.whole))).Client); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for member, value := range members {
			for _, lack := range []func(){func() { members[member] = nil }, func() { delete(members, member) }} {
				lack()
				text, _ := json.Marshal(members)
				w := newWorld(t, script(ok(string(text))))
				if err := tc.do(w.Client); !errors.Is(err, ErrMalformed) {
					t.Errorf("%s accepted %s (%v)", name, text, err)
				}
			}
			members[member] = value
		}
	}
}

func TestUndeclaredRequestIsRefused(t *testing.T) {
	w := newWorld(t, script(ok(`null`)))
	if err := read(w.Client); err == nil {
		t.Fatal("a null list was accepted")
	}
	sent := len(w.requests())
	req, _ := http.NewRequest(http.MethodDelete, w.BaseURL+"/accounts/x", nil)
	if _, err := w.wire.RoundTrip(req); !errors.Is(err, ErrArgument) || len(w.requests()) != sent {
		t.Errorf("a request that no method declared got %v", err)
	}
}
