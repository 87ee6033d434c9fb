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
	// Skipped says what could not be checked, and why, although the gate passed.
	Skipped string `json:"skipped,omitempty"`
}

// maxGateBody bounds what is read of an answer: build_info.json is well below
// 4 KiB, and a page that is larger is not it.
const maxGateBody = 64 << 10

// Check polls the hostname until build_info.json is, byte for byte, what was
// uploaded and the health path answers with the status that the policy wants,
// or until the policy's timeout is over. A new release needs some seconds
// until every place serves it, so a wrong answer is asked again; only the last
// one counts. The error is the context's; a gate that is not passed is a
// result, not an error.
func (g *Gate) Check(ctx context.Context, hostname string, policy fleet.Gate, buildInfoURL string, want []byte) (GateResult, error) {
	return g.poll(ctx, policy, func(ctx context.Context) (string, error) {
		if len(want) > 0 {
			if at, err := g.sameBytes(ctx, hostname, buildInfoURL, want); err != nil {
				return at, err
			}
		}
		return g.status(ctx, hostname, policy)
	}, len(want) == 0)
}

// Healthy polls until the live release of a hostname carries the mark and
// answers its health path, or policy.Timeout is over; with none it asks once.
// It is the check where no version went out.
func (g *Gate) Healthy(ctx context.Context, hostname string, policy fleet.Gate, buildInfoURL, mark string) (GateResult, error) {
	return g.poll(ctx, policy, func(ctx context.Context) (string, error) {
		if buildInfoURL != "" {
			at, body, _, err := g.get(ctx, hostname, buildInfoURL)
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
		}
		return g.status(ctx, hostname, policy)
	}, buildInfoURL == "")
}

func (g *Gate) poll(ctx context.Context, policy fleet.Gate, try func(context.Context) (string, error), noBuildInfo bool) (GateResult, error) {
	now, sleep := g.Now, g.Sleep
	if now == nil {
		now = time.Now
	}
	if sleep == nil {
		sleep = sleepContext
	}
	var res GateResult
	if noBuildInfo {
		res.Skipped = "the fleet policy names no build_info, so the gate cannot tell which release answered"
	}
	end := now().Add(policy.Timeout)
	for {
		res.Tries++
		at, err := try(ctx)
		res.URL = at
		if err == nil {
			res.Passed, res.Reason = true, ""
			return res, nil
		}
		if ctx.Err() != nil {
			return res, ctx.Err()
		}
		res.Reason = err.Error()
		if !now().Add(policy.Interval).Before(end) {
			return res, nil
		}
		if err := sleep(ctx, policy.Interval); err != nil {
			return res, err
		}
	}
}

func (g *Gate) sameBytes(ctx context.Context, hostname, path string, want []byte) (string, error) {
	at, got, status, err := g.get(ctx, hostname, path)
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
// Redirects are not followed: where a gate sends strangers is its answer.
func (g *Gate) get(ctx context.Context, hostname, path string) (string, []byte, int, error) {
	at := "https://" + hostname + path
	target := at
	if g.EdgeURL != "" {
		edge, err := url.Parse(g.EdgeURL)
		if err != nil {
			return at, nil, 0, fmt.Errorf("reading the address of the edge: %w", err)
		}
		target = edge.Scheme + "://" + edge.Host + path
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return at, nil, 0, fmt.Errorf("building the request: %w", err)
	}
	req.Host = hostname
	req.Header.Set("Cache-Control", "no-cache")
	req.Header.Set("User-Agent", "shopfleet-gate")
	transport := g.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return at, nil, 0, plainNetError(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxGateBody))
	if err != nil {
		return at, nil, resp.StatusCode, fmt.Errorf("reading the answer: %w", plainNetError(err))
	}
	return at, body, resp.StatusCode, nil
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
