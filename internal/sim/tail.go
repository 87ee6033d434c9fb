package sim

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Tails stream what a Worker does over a websocket (wire.md §8). wrangler sends its first frame unmasked, which RFC 6455
// forbids and the real service tolerates, so the few frames needed are read here instead of by a strict library.

func tailEndpoints() []endpoint {
	const tails = "/accounts/{account}/workers/scripts/{script}/tails"
	return []endpoint{
		{"GET " + tails, reads, (*call).listTails},
		{"POST " + tails, writes, (*call).createTail},
		{"DELETE " + tails + "/{tail}", writes, (*call).deleteTail},
		{"GET /accounts/{account}/workers/tails/by-consumer/{script}", reads, (*call).tailsByConsumer},
	}
}

const (
	tailLife = 6 * time.Hour
	tailPath = "/tail/"
)

// tailBook holds the open tails. They live in memory only: a client opens a new one after a restart.
type tailBook struct {
	mu  sync.Mutex
	all map[string]*tail
}

type tail struct {
	id, account, script string
	expires             time.Time
	filters             []json.RawMessage
	mu                  sync.Mutex
	conn                net.Conn // nil until the websocket is connected
}

func (t *tail) view(host string) map[string]any {
	return map[string]any{"id": t.id, "url": "ws://" + host + tailPath + t.id, "expires_at": stamp(t.expires)}
}

func (c *call) tailsOf(account, script string) []*tail {
	c.w.tails.mu.Lock()
	defer c.w.tails.mu.Unlock()
	var list []*tail
	for _, id := range sortedKeys(c.w.tails.all) {
		if t := c.w.tails.all[id]; t.account == account && t.script == script {
			list = append(list, t)
		}
	}
	return list
}

func (c *call) listTails() (any, error) {
	if _, err := c.script(); err != nil {
		return nil, err
	}
	list := []map[string]any{}
	for _, t := range c.tailsOf(c.account.ID, c.path("script")) {
		list = append(list, t.view(c.r.Host))
	}
	return list, nil
}

func (c *call) createTail() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	var in struct {
		Filters []json.RawMessage `json:"filters"`
	}
	if len(c.body) > 0 {
		if err := c.decode(&in); err != nil {
			return nil, err
		}
	}
	t := &tail{id: c.w.id(), account: c.account.ID, script: s.Name, expires: c.w.now().Add(tailLife), filters: in.Filters}
	c.w.tails.mu.Lock()
	if c.w.tails.all == nil {
		c.w.tails.all = map[string]*tail{}
	}
	c.w.tails.all[t.id] = t
	c.w.tails.mu.Unlock()
	return t.view(c.r.Host), nil
}

func (c *call) deleteTail() (any, error) {
	for _, t := range c.tailsOf(c.account.ID, c.path("script")) {
		if t.id == c.path("tail") {
			c.w.closeTail(t)
			return nil, nil
		}
	}
	return nil, refuse(http.StatusNotFound, 10057, "Tail %s could not be found.", c.path("tail"))
}

// tailsByConsumer lists the Workers that send their traces to this one.
func (c *call) tailsByConsumer() (any, error) {
	list := []map[string]any{}
	for _, name := range sortedKeys(c.account.Scripts) {
		s := c.account.Scripts[name]
		var consumers []struct {
			Service string `json:"service"`
		}
		if json.Unmarshal(rawJSON(s.TailConsumers), &consumers) != nil {
			continue
		}
		for _, x := range consumers {
			if x.Service == c.path("script") {
				list = append(list, map[string]any{"producer": map[string]any{"service": name, "environment": production}})
			}
		}
	}
	return list, nil
}

func rawJSON(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}

func (w *World) closeTail(t *tail) {
	w.tails.mu.Lock()
	delete(w.tails.all, t.id)
	w.tails.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn != nil {
		writeFrame(t.conn, opClose, []byte{0x03, 0xe8}) // 1000: normal closure
		t.conn.Close()
		t.conn = nil
	}
}

func (w *World) closeTailsOf(account, script string) {
	w.tails.mu.Lock()
	var list []*tail
	for _, t := range w.tails.all {
		if t.account == account && t.script == script {
			list = append(list, t)
		}
	}
	w.tails.mu.Unlock()
	for _, t := range list {
		w.closeTail(t)
	}
}

func (w *World) closeTails() {
	w.tails.mu.Lock()
	var list []*tail
	for _, t := range w.tails.all {
		list = append(list, t)
	}
	w.tails.mu.Unlock()
	for _, t := range list {
		w.closeTail(t)
	}
}

// tailSockets mounts the websocket ends of tails.
func (w *World) tailSockets(mux *http.ServeMux) {
	mux.HandleFunc("GET "+tailPath+"{tail}", func(rw http.ResponseWriter, r *http.Request) {
		w.tails.mu.Lock()
		t := w.tails.all[r.PathValue("tail")]
		w.tails.mu.Unlock()
		if t == nil || w.now().After(t.expires) {
			http.Error(rw, "no such tail", http.StatusNotFound)
			return
		}
		if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || r.Header.Get("Sec-WebSocket-Key") == "" {
			http.Error(rw, "expected a websocket", http.StatusUpgradeRequired)
			return
		}
		conn, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			http.Error(rw, "no websocket on this connection", http.StatusInternalServerError)
			return
		}
		sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		head := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
			base64.StdEncoding.EncodeToString(sum[:]) + "\r\n"
		if slices.Contains(strings.Split(r.Header.Get("Sec-WebSocket-Protocol"), ", "), "trace-v1") {
			head += "Sec-WebSocket-Protocol: trace-v1\r\n"
		}
		if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
			conn.Close()
			return
		}
		t.mu.Lock()
		if t.conn != nil {
			t.conn.Close()
		}
		t.conn = conn
		t.mu.Unlock()
		t.listen(conn, buf.Reader)
	})
}

// listen answers pings until the client goes away.
func (t *tail) listen(conn net.Conn, r *bufio.Reader) {
	defer func() {
		t.mu.Lock()
		if t.conn == conn {
			t.conn = nil
		}
		t.mu.Unlock()
		conn.Close()
	}()
	for {
		op, payload, err := readFrame(r)
		if err != nil || op == opClose {
			return
		}
		if op == opPing {
			t.mu.Lock()
			writeFrame(conn, opPong, payload)
			t.mu.Unlock()
		}
	}
}

// publish sends a trace item to the tails of a Worker that are connected and want it.
func (w *World) publish(e trafficEvent) {
	w.tails.mu.Lock()
	var list []*tail
	for _, t := range w.tails.all {
		if t.account == e.Account && t.script == e.Script {
			list = append(list, t)
		}
	}
	w.tails.mu.Unlock()
	if len(list) == 0 {
		return
	}
	event := map[string]any{"cron": e.Cron, "scheduledTime": e.At.UnixMilli()}
	if e.Kind == "fetch" {
		event = map[string]any{
			"request":  map[string]any{"url": e.URL, "method": e.Method, "headers": map[string]any{}, "cf": map[string]any{}},
			"response": map[string]any{"status": e.Status},
		}
	}
	item, err := json.Marshal(map[string]any{
		"outcome": e.Outcome, "scriptName": e.Script, "scriptVersion": map[string]any{"id": e.Version}, "exceptions": []any{}, "logs": []any{},
		"eventTimestamp": e.At.UnixMilli(), "event": event, "wallTime": e.Wall.Milliseconds(), "cpuTime": e.CPU.Milliseconds(),
	})
	if err != nil {
		return
	}
	for _, t := range list {
		if !t.wants(e) {
			continue
		}
		t.mu.Lock()
		if t.conn != nil {
			t.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
			writeFrame(t.conn, opText, item)
		}
		t.mu.Unlock()
	}
}

// wants applies the filters that can be decided from the outside: outcome and method.
func (t *tail) wants(e trafficEvent) bool {
	for _, raw := range t.filters {
		var f struct {
			Outcome []string `json:"outcome"`
			Method  []string `json:"method"`
		}
		if json.Unmarshal(raw, &f) != nil {
			continue
		}
		if len(f.Outcome) > 0 && !slices.Contains(f.Outcome, e.Outcome) || len(f.Method) > 0 && !slices.Contains(f.Method, e.Method) {
			return false
		}
	}
	return true
}

// Opcodes of RFC 6455 §5.2.
const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
)

const maxFrame = 1 << 20

var errFrame = errors.New("websocket frame too long")

// readFrame reads one frame, masked or not.
func readFrame(r *bufio.Reader) (op byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size := uint64(head[1] & 0x7f)
	switch size {
	case 126:
		var b [2]byte
		_, err = io.ReadFull(r, b[:])
		size = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		_, err = io.ReadFull(r, b[:])
		size = binary.BigEndian.Uint64(b[:])
	}
	if err == nil && size > maxFrame {
		err = errFrame
	}
	if err != nil {
		return 0, nil, err
	}
	var mask [4]byte
	if head[1]&0x80 != 0 {
		if _, err := io.ReadFull(r, mask[:]); err != nil {
			return 0, nil, err
		}
	}
	payload = make([]byte, size)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, err
	}
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return head[0] & 0x0f, payload, nil
}

// writeFrame sends one unfragmented, unmasked frame, as servers do. An error means that the client has gone, which its
// reader notices too.
func writeFrame(conn io.Writer, op byte, payload []byte) {
	b := []byte{0x80 | op}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	conn.Write(append(b, payload...))
}
