package deploy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/fleet"
)

// Gate asks a release, over its own hostname, what it is. The zero value asks
// the real internet; set the fields before use. Safe for concurrent use.
type Gate struct {
	// EdgeURL, when set, is where requests go instead of https://<hostname>,
	// with the hostname in the Host header: the edge of `shopfleet sim`.
	EdgeURL string
	// Transport is used instead of http.DefaultTransport when it is not nil.
	Transport http.RoundTripper
	// Sleep waits between two tries; nil sleeps for real and stops early with ctx.
	Sleep func(ctx context.Context, d time.Duration) error
	// Now is the clock that the timeout is measured with; nil is time.Now.
	Now func() time.Time

	header http.Header // goes with every request
}

// GateResult is what the gate saw.
type GateResult struct {
	Passed bool `json:"passed"`
	// URL is the address that decided.
	URL string `json:"url,omitempty"`
	// Tries counts the rounds until the gate passed or gave up.
	Tries int `json:"tries"`
	// Reason says why the gate did not pass; "" when it did.
	Reason string `json:"reason,omitempty"`
	// Identity is what the release sees in each of its stores ("d1", "r2", "kv"): the slug in the identity record, "" where
	// there is none. Nil when it was not asked.
	Identity map[string]string `json:"identity,omitempty"`
	// Bounced are the protected paths that sent a stranger away.
	Bounced []string `json:"bounced,omitempty"`
	// Skipped says what could not be checked, and why, although the gate passed.
	Skipped string `json:"skipped,omitempty"`
}

// maxGateBody bounds what is read of an answer: build_info.json is well below
// 4 KiB, and a page that is larger is not it.
const maxGateBody = 64 << 10

// Question is what a release is asked.
type Question struct {
	Hostname     string
	Policy       fleet.Gate
	BuildInfoURL string // "" where the policy names none, or no release can show it
	// Shop is the slug that the release and its stores must give, where Identity.Path says how to ask for it.
	Shop     string
	Identity fleet.Identity
	// Stores are those that the shop's Worker is bound to, as the answer calls them: d1, r2, kv.
	Stores []string
	// Recorded says that the stores have identity records, so that a release which cannot be asked for them is worth a note.
	Recorded bool
}

// question is what the shop's releases are asked.
func (want *Desired) question(recorded bool) Question {
	return Question{
		Hostname: want.Shop.Hostname, Policy: want.Gate, BuildInfoURL: want.BuildInfoURL,
		Shop: want.Shop.Slug, Identity: want.Identity, Stores: want.storeWords(), Recorded: recorded,
	}
}

// storeWords are the kinds of stores that the config binds, as the answer of a release calls them.
func (want *Desired) storeWords() []string {
	var out []string
	for _, s := range want.stores() {
		if w := map[string]string{kindD1: "d1", kindR2: "r2", kindKV: "kv"}[s.Kind]; !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return out
}

// Check polls the hostname until build_info.json is, byte for byte, what was
// uploaded, the health path answers with the status that the policy wants, the
// release says that it sees this shop in its stores, and the protected paths
// send a stranger away; or until the policy's timeout is over. A new release
// needs some seconds until every place serves it, so a wrong answer is asked
// again; only the last one counts. What this very release can not mean otherwise
// ends it at once: another shop's slug, and a protected path that answers a
// stranger. The error is the context's; a gate that is not passed is a result,
// not an error.
func (g *Gate) Check(ctx context.Context, q Question, want []byte) (GateResult, error) {
	return g.poll(ctx, q, len(want) > 0, func(ctx context.Context) (string, error) { return g.sameBytes(ctx, q, want) }, g.ask)
}

// Healthy is Check where no version went out: what answers has to carry the mark. With a timeout of 0 it asks once.
func (g *Gate) Healthy(ctx context.Context, q Question, mark string) (GateResult, error) {
	return g.poll(ctx, q, q.BuildInfoURL != "", func(ctx context.Context) (string, error) {
		at, body, _, err := g.get(ctx, q.Hostname, q.BuildInfoURL)
		if err != nil {
			return at, err
		}
		var info BuildInfo
		if err := json.Unmarshal(body, &info); err != nil {
			return at, errors.New("what is served there is not a build_info.json")
		}
		if info.Content != mark {
			return at, fmt.Errorf("it says content %q, the live version is marked %q", info.Content, mark)
		}
		return at, nil
	}, g.ask)
}

// finalError is an answer that no further try makes good.
type finalError struct{ reason string }

func (e *finalError) Error() string { return e.reason }

// poll tries until everything that ask wants to know is as it should be. known says whether it can be told which release
// answers; is does that.
func (g *Gate) poll(ctx context.Context, q Question, known bool, is func(context.Context) (string, error),
	ask func(context.Context, Question, *GateResult) (string, error)) (GateResult, error) {
	now, sleep := g.Now, g.Sleep
	if now == nil {
		now = time.Now
	}
	if sleep == nil {
		sleep = sleepContext
	}
	var res GateResult
	end := now().Add(q.Policy.Timeout)
	for {
		tries := res.Tries + 1
		res = GateResult{Tries: tries}
		at, err := "https://"+q.Hostname, error(nil)
		if known {
			at, err = is(ctx)
		} else {
			res.note("the fleet policy names no build_info, so the gate cannot tell which release answered")
		}
		if err == nil {
			at, err = ask(ctx, q, &res)
		}
		res.URL = at
		if err == nil {
			res.Passed = true
			return res, nil
		}
		if ctx.Err() != nil {
			return res, ctx.Err()
		}
		res.Reason = err.Error()
		// While a release spreads, one place may answer with it and the next with the one before: what is held against it
		// must stand between two answers that are its own.
		if final := (*finalError)(nil); known && errors.As(err, &final) {
			if _, err := is(ctx); err == nil {
				return res, nil
			}
		}
		if !now().Add(q.Policy.Interval).Before(end) {
			return res, nil
		}
		if err := sleep(ctx, q.Policy.Interval); err != nil {
			return res, err
		}
	}
}

// ask asks the release how it is, what it sees in its stores, and what it does with strangers. It returns the address
// that decided.
func (g *Gate) ask(ctx context.Context, q Question, res *GateResult) (string, error) {
	healthy, err := g.status(ctx, q.Hostname, q.Policy)
	if err != nil {
		return healthy, err
	}
	if at, err := g.proof(ctx, q, res); err != nil {
		return at, err
	}
	return healthy, nil
}

// proof is the part of ask that is about isolation.
func (g *Gate) proof(ctx context.Context, q Question, res *GateResult) (string, error) {
	if q.Identity.Path != "" {
		if at, err := g.identity(ctx, q, res); err != nil {
			return at, err
		}
	} else if q.Recorded {
		res.note("fleet.yml names no identity.path, so the release was not asked which shop it sees in its stores")
	}
	for _, path := range q.Policy.Protected {
		if at, err := g.bounces(ctx, q, path); err != nil {
			return at, err
		}
		res.Bounced = append(res.Bounced, path)
	}
	return "https://" + q.Hostname, nil
}

// identityStores are the stores that a release may tell of, in the words of its answer.
var identityStores = []string{"d1", "r2", "kv"}

// identity asks the release which shop it is, and which it sees in each store.
func (g *Gate) identity(ctx context.Context, q Question, res *GateResult) (string, error) {
	at, body, status, err := g.get(ctx, q.Hostname, q.Identity.Path)
	switch {
	case err != nil:
		return at, err
	case status != http.StatusOK:
		return at, fmt.Errorf("asked which shop it sees, it answered %d, not 200", status)
	}
	var answer map[string]any
	if json.Unmarshal(body, &answer) != nil {
		return at, errors.New(`asked which shop it sees, it did not answer {"shop": …}`)
	}
	shop, _ := answer["shop"].(string)
	if shop == "" {
		return at, errors.New("it does not say which shop it is")
	}
	if shop != q.Shop {
		return at, &finalError{fmt.Sprintf("it says that it is shop %s, not %s", excerpt(shop), q.Shop)}
	}
	res.Identity = map[string]string{}
	var missing, untold []string
	for _, store := range identityStores {
		value, told := answer[store]
		slug, isText := value.(string)
		slug = strings.TrimSpace(slug)
		switch {
		case !told:
			if slices.Contains(q.Stores, store) {
				untold = append(untold, store)
			}
			continue
		case value != nil && !isText:
			return at, fmt.Errorf("what it says of %s is neither a slug nor null", store)
		case slug == "":
			missing = append(missing, store)
		case slug != q.Shop:
			return at, &finalError{fmt.Sprintf("in %s it sees the data of shop %s, not of %s", store, excerpt(slug), q.Shop)}
		}
		res.Identity[store] = slug
	}
	var what []string
	if len(missing) > 0 {
		what = append(what, fmt.Sprintf("no identity record is in %s: shopfleet adopt %s", strings.Join(missing, ", "), q.Shop))
	}
	if len(untold) > 0 {
		what = append(what, fmt.Sprintf("it is bound to %s and does not say what it sees there", strings.Join(untold, ", ")))
	}
	if text := strings.Join(what, "; "); text != "" && q.Identity.Missing == LevelError {
		return at, errors.New(text)
	} else if text != "" {
		res.note(text)
	}
	return at, nil
}

// bounces asks for a path as a stranger, who has to be sent away.
func (g *Gate) bounces(ctx context.Context, q Question, path string) (string, error) {
	at, _, resp, err := g.request(ctx, q.Hostname, path)
	if err != nil {
		return at, err
	}
	switch status := resp.StatusCode; {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return at, nil
	case slices.Contains([]int{301, 302, 303, 307, 308}, status):
		base, err := url.Parse(at)
		if err != nil {
			return at, fmt.Errorf("reading the path %s: %w", excerpt(path), err)
		}
		to, err := base.Parse(resp.Header.Get("Location"))
		if err != nil || resp.Header.Get("Location") == "" {
			return at, fmt.Errorf("it answered %d without saying where to go", status)
		}
		inside := func(p string) bool { return plainPath(p) == plainPath(to.Path) }
		if strings.EqualFold(strings.TrimSuffix(to.Hostname(), "."), q.Hostname) && (inside(base.Path) || slices.ContainsFunc(q.Policy.Protected, func(p string) bool {
			p, _, _ = strings.Cut(p, "?")
			return inside(p)
		})) {
			return at, fmt.Errorf("it sends a stranger to %s, which is protected too", excerpt(to.Path))
		}
		return at, nil
	case status >= 200 && status < 300:
		return at, &finalError{fmt.Sprintf("a stranger gets %d at %s, and has to be sent away", status, path)}
	default:
		return at, fmt.Errorf("a stranger gets %d at %s, and has to be sent away", status, path)
	}
}

// plainPath is a path without what most servers overlook.
func plainPath(p string) string { return "/" + strings.ToLower(strings.Trim(p, "/")) }

// note adds to what could not be checked.
func (r *GateResult) note(text string) {
	if r.Skipped != "" {
		text = r.Skipped + "; " + text
	}
	r.Skipped = text
}

func (g *Gate) sameBytes(ctx context.Context, q Question, want []byte) (string, error) {
	at, got, status, err := g.get(ctx, q.Hostname, q.BuildInfoURL)
	switch {
	case err != nil:
		return at, err
	case status != http.StatusOK:
		return at, fmt.Errorf("it answered %d, not 200", status)
	case !bytes.Equal(got, want):
		return at, fmt.Errorf("it serves other bytes (sha256 %s) than were released (%s)", shortSum(got), shortSum(want))
	}
	return at, nil
}

func (g *Gate) status(ctx context.Context, hostname string, policy fleet.Gate) (string, error) {
	if policy.Path == "" {
		return "https://" + hostname, nil
	}
	at, _, status, err := g.get(ctx, hostname, policy.Path)
	if err != nil {
		return at, err
	}
	if status != policy.Status {
		return at, fmt.Errorf("it answered %d, the policy wants %d", status, policy.Status)
	}
	return at, nil
}

// get returns the address as people know it, the body and the status.
func (g *Gate) get(ctx context.Context, hostname, path string) (string, []byte, int, error) {
	at, body, resp, err := g.request(ctx, hostname, path)
	if resp == nil {
		return at, nil, 0, err
	}
	return at, body, resp.StatusCode, err
}

// request asks without any credentials. Redirects are not followed: where strangers are sent is the answer.
func (g *Gate) request(ctx context.Context, hostname, path string) (string, []byte, *http.Response, error) {
	at := "https://" + hostname + path
	target := at
	if g.EdgeURL != "" {
		edge, err := url.Parse(g.EdgeURL)
		if err != nil {
			return at, nil, nil, fmt.Errorf("reading the address of the edge: %w", err)
		}
		target = edge.Scheme + "://" + edge.Host + path
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return at, nil, nil, fmt.Errorf("building the request: %w", err)
	}
	req.Host = hostname
	for name, values := range g.header {
		req.Header[name] = values
	}
	req.Header.Set("Cache-Control", "no-cache")
	req.Header.Set("User-Agent", "shopfleet-gate")
	transport := g.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return at, nil, nil, plainNetError(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxGateBody))
	if err != nil {
		return at, nil, resp, fmt.Errorf("reading the answer: %w", plainNetError(err))
	}
	return at, body, resp, nil
}

// plainNetError says in people's words what the net package says in its own.
func plainNetError(err error) error {
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return errors.New("the hostname does not resolve")
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer within 15 s")
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return errors.New("no connection to it could be made")
	}
	return err
}

func shortSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}

func sleepContext(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
