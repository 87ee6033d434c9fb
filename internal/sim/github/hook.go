package github

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
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
	"strconv"
	"strings"
	"sync"
	"time"
)

// hookEvents are the webhook events that are played.
var hookEvents = []string{"push", "pull_request", "issues", "issue_comment", "deployment", "deployment_status", "check_run", "create", "delete", "workflow_dispatch", "workflow_run"}

const (
	deliveryWindow = 3 * 24 * time.Hour // wire.md §2d
	deliveryWait   = 10 * time.Second   // for a 2xx
	maxPayload     = 25 << 20           // a larger one is not sent at all
)

// delivery is one attempt to deliver a webhook.
type delivery struct {
	id         int64
	guid       string
	event      string
	action     string
	repo       *Repository
	inst       *Installation
	payload    []byte
	url        string
	redelivery bool

	at           time.Time
	duration     time.Duration
	headers      map[string]string
	code         int    // 0: no answer
	status       string // OK, or what went wrong
	response     http.Response
	responseBody string
}

func (d *delivery) ok() bool { return d.code >= 200 && d.code < 300 }

func (d *delivery) item() object {
	o := object{
		"id": d.id, "guid": d.guid, "delivered_at": stamp(d.at), "redelivery": d.redelivery, "duration": d.duration.Seconds(), "status": d.status, "status_code": d.code,
		"event": d.event, "action": maybe(d.action), "installation_id": nil, "repository_id": nil, "throttled_at": nil,
	}
	if d.inst != nil {
		o["installation_id"] = d.inst.ID
	}
	if d.repo != nil {
		o["repository_id"] = d.repo.ID
	}
	return o
}

// hooks delivers webhooks, in the order of the events: one after the other, or several at once when the world is told to.
// GitHub promises no order.
type hooks struct {
	world  *World
	client *http.Client

	mu      sync.Mutex
	idle    *sync.Cond
	queue   []job
	running int // deliveries on their way
	most    int // how many may be
	held    bool
	stopped bool
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

type job struct {
	app *App
	d   *delivery
}

func (h *hooks) start(w *World) {
	ctx, cancel := context.WithCancel(context.Background())
	h.world, h.cancel, h.most = w, cancel, 1
	h.idle = sync.NewCond(&h.mu)
	h.client = &http.Client{
		Timeout:       deliveryWait,
		Transport:     &http.Transport{DialContext: dialLoopback, MaxIdleConns: maxAtOnce, MaxIdleConnsPerHost: maxAtOnce, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // [K]
	}
	h.done.Add(1)
	go h.run(ctx)
}

// dialLoopback connects to this machine and nowhere else.
func dialLoopback(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%s is not a loopback address", addr)
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

func loopbackURL(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		return fmt.Errorf("webhook URL: %w", err)
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme != "http" && u.Scheme != "https" || u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("webhook URL %s is not on loopback", s)
	}
	return nil
}

func (h *hooks) stop() {
	h.mu.Lock()
	if h.stopped {
		h.mu.Unlock()
		return
	}
	h.stopped = true
	h.queue = nil
	h.idle.Broadcast()
	h.mu.Unlock()
	h.cancel()
	h.done.Wait()
	h.client.CloseIdleConnections()
}

// send queues a delivery; the caller holds World.mu.
func (h *hooks) send(app *App, d *delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return
	}
	h.queue = append(h.queue, job{app, d})
	h.idle.Broadcast()
}

func (h *hooks) run(ctx context.Context) {
	defer h.done.Done()
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		for !h.stopped && (h.held || len(h.queue) == 0 || h.running >= h.most) {
			h.idle.Wait()
		}
		if h.stopped {
			return
		}
		j := h.queue[0]
		h.queue = h.queue[1:]
		h.running++
		h.done.Add(1)
		go func() {
			defer h.done.Done()
			h.deliver(ctx, j)
			h.mu.Lock()
			defer h.mu.Unlock()
			h.running--
			h.idle.Broadcast()
		}()
	}
}

const maxAtOnce = 256

// DeliverAtOnce lets up to n webhooks be on their way at once, as in a burst, so that they come in any order. 1 is the
// beginning: one after the other in the order of the events.
func (w *World) DeliverAtOnce(n int) {
	h := &w.hooks
	h.mu.Lock()
	defer h.mu.Unlock()
	h.most = min(max(n, 1), maxAtOnce)
	h.idle.Broadcast()
}

// HoldDeliveries keeps all webhooks back until ReleaseDeliveries: what happens meanwhile comes in one burst.
func (w *World) HoldDeliveries() { w.hooks.hold(true) }

// ReleaseDeliveries lets go what HoldDeliveries kept back.
func (w *World) ReleaseDeliveries() { w.hooks.hold(false) }

func (h *hooks) hold(held bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = held
	h.idle.Broadcast()
}

// Settle waits until all webhooks that the world owes have been delivered (or have failed). Those that are held back are
// not waited for.
func (w *World) Settle() {
	h := &w.hooks
	h.mu.Lock()
	defer h.mu.Unlock()
	for (len(h.queue) > 0 && !h.held || h.running > 0) && !h.stopped {
		h.idle.Wait()
	}
}

func (h *hooks) deliver(ctx context.Context, j job) {
	w, d := h.world, j.d
	w.mu.Lock()
	secret := j.app.hookSecret
	d.url = j.app.hookURL
	to := j.app.reached(d.url)
	d.at = w.clock()
	d.headers = map[string]string{ // wire.md §2d
		"Accept": "*/*", "Content-Type": "application/json", "User-Agent": "GitHub-Hookshot/" + w.hookshot(),
		"X-GitHub-Delivery": d.guid, "X-GitHub-Event": d.event, "X-GitHub-Hook-ID": strconv.FormatInt(j.app.ID*10+1, 10),
		"X-GitHub-Hook-Installation-Target-ID": strconv.FormatInt(j.app.ID, 10), "X-GitHub-Hook-Installation-Target-Type": "integration",
	}
	if secret != "" {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(d.payload)
		d.headers["X-Hub-Signature-256"] = "sha256=" + hex.EncodeToString(mac.Sum(nil))
	}
	w.mu.Unlock()

	start := time.Now()
	code, response, body, err := h.post(ctx, d, to)
	took := time.Since(start)

	w.mu.Lock()
	defer w.mu.Unlock()
	d.duration, d.code, d.responseBody = took, code, body
	if response != nil {
		d.response.Header = response.Header
	}
	switch {
	case err != nil && isTimeout(err):
		d.status = "timed out"
	case err != nil:
		d.status = "failed to connect to host"
	case d.ok():
		d.status = "OK"
	default:
		d.status = "Invalid HTTP Response: " + strconv.Itoa(code)
	}
	at, _ := slices.BinarySearchFunc(j.app.deliveries, d.id, byID) // those of a burst end in any order
	j.app.deliveries = slices.Insert(j.app.deliveries, at, d)
}

func byID(d *delivery, id int64) int { return cmp.Compare(d.id, id) }

// Send delivers a payload to the App's webhook exactly as it is given, signed: a recorded one, or one that is meant to do
// harm. It returns the GUID. Permissions and subscriptions are not asked for.
func (a *App) Send(event string, payload []byte) (string, error) {
	w := a.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if a.hookURL == "" {
		return "", fmt.Errorf("sending %s to %s: it has no webhook", event, a.Slug)
	}
	var o struct {
		Action string `json:"action"`
	}
	if json.Unmarshal(payload, &o) != nil {
		o.Action = ""
	}
	d := &delivery{id: w.nextID(), guid: w.guid(), event: event, action: o.Action, payload: slices.Clone(payload)}
	w.hooks.send(a, d)
	return d.guid, nil
}

// Delivery is one attempt to deliver a webhook.
type Delivery struct {
	ID         int64
	GUID       string
	Event      string
	Action     string
	Code       int // of the answer; 0 for none
	Redelivery bool
}

// Deliveries are the attempts that have ended, oldest event first.
func (a *App) Deliveries() []Delivery {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	out := make([]Delivery, 0, len(a.deliveries))
	for _, d := range a.deliveries {
		out = append(out, Delivery{d.id, d.guid, d.event, d.action, d.code, d.redelivery})
	}
	return out
}

// Redeliver lets somebody press "Redeliver" in the App's settings: the event of that GUID comes once more.
func (a *App) Redeliver(guid string) error {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	for _, d := range a.deliveries {
		if d.guid == guid {
			a.again(d)
			return nil
		}
	}
	return fmt.Errorf("redelivering %s to %s: there was no such delivery", guid, a.Slug)
}

// again delivers the same payload under the same GUID (wire.md §2d).
func (a *App) again(d *delivery) {
	a.w.hooks.send(a, &delivery{id: a.w.nextID(), guid: d.guid, event: d.event, action: d.action, repo: d.repo, inst: d.inst, payload: d.payload, redelivery: true})
}

func (w *World) hookshot() string { return fmt.Sprintf("%07x", w.lastID&0xfffffff) }

func (h *hooks) post(ctx context.Context, d *delivery, to string) (int, *http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(d.payload))
	if err != nil {
		return 0, nil, "", err
	}
	for k, v := range d.headers {
		req.Header.Set(k, v)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, resp, string(body), err
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// notify sends an event to the Apps that are installed on the repository, subscribe to it and may read what it tells: need
// is a permission, or several of which one suffices.
func (r *Repository) notify(event, action, need string, payload func() (object, error)) error {
	return r.notifyOnly(func(*App) bool { return true }, event, action, need, payload)
}

// notifyOnly is notify for the Apps that an event is meant for.
func (r *Repository) notifyOnly(meant func(*App) bool, event, action, need string, payload func() (object, error)) error {
	w := r.w
	for _, a := range w.apps {
		may := slices.ContainsFunc(strings.Split(need, "|"), func(n string) bool { return a.permissions[n] != "" })
		if a.hookURL == "" || !may || !slices.Contains(a.events, event) || !meant(a) {
			continue
		}
		for _, i := range a.installations {
			if !i.covers(r) || !i.suspended.IsZero() {
				continue
			}
			body, err := payload()
			if err != nil {
				return err
			}
			if r.owner.Type == "Organization" {
				body["organization"] = w.organization(r.owner)
			}
			body["installation"] = object{"id": i.ID, "node_id": node("I", i.ID)}
			encoded, err := encode(body)
			if err != nil {
				return err
			}
			if len(encoded) > maxPayload {
				continue
			}
			w.hooks.send(a, &delivery{id: w.nextID(), guid: w.guid(), event: event, action: action, repo: r, inst: i, payload: encoded})
		}
	}
	return nil
}
