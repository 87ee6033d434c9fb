package sim_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/sim"
)

// The client of this test does what wrangler does, including the unmasked first frame.
func TestTail(t *testing.T) {
	c := shop(t, sim.Options{})
	c.refused(404, 10007, "POST", script+"/tails", map[string]any{"filters": []any{}})
	c.putWorker("helm-swicked")
	made := c.ok("POST", script+"/tails", map[string]any{"filters": []any{map[string]any{"outcome": []string{"exception"}}}})
	u, err := url.Parse(made.text("url"))
	if err != nil || u.Scheme != "ws" {
		t.Fatalf("url %q", made.text("url"))
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	req, err := http.NewRequest("GET", "http://"+u.Host+u.Path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
		"Sec-WebSocket-Protocol": "trace-v1",
	} {
		req.Header.Set(k, v)
	}
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		t.Fatal(err)
	}
	// The accept value is the one of RFC 6455 §1.3 for this key.
	if resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || resp.Header.Get("Sec-WebSocket-Protocol") != "trace-v1" {
		t.Fatalf("HTTP %d %v", resp.StatusCode, resp.Header)
	}
	io.WriteString(conn, "\x81\x0f"+`{"debug":false}`)
	io.WriteString(conn, "\x89\x81\x00\x00\x00\x00p") // a masked ping; its pong tells that the frame before was taken
	frame := func() (byte, []byte) {
		t.Helper()
		var head [2]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			t.Fatal(err)
		}
		size := int(head[1])
		if size == 126 {
			var b [2]byte
			if _, err := io.ReadFull(r, b[:]); err != nil {
				t.Fatal(err)
			}
			size = int(b[0])<<8 | int(b[1])
		}
		payload := make([]byte, size)
		if _, err := io.ReadFull(r, payload); err != nil {
			t.Fatal(err)
		}
		return head[0], payload
	}
	if op, payload := frame(); op != 0x8a || string(payload) != "p" {
		t.Fatalf("frame %x %q, want a pong", op, payload)
	}

	c.w.Invoke(accountID, "helm-swicked", "v", "ok", time.Now(), 0) // filtered out
	c.w.Invoke(accountID, "other", "v", "exception", time.Now(), 0)
	c.w.Invoke(accountID, "helm-swicked", "v", "exception", time.Now(), 0)
	op, payload := frame()
	var item struct {
		Outcome    string
		ScriptName string
		Event      struct {
			Request struct{ URL, Method string }
		}
	}
	if err := json.Unmarshal(payload, &item); err != nil || op != 0x81 || item.Outcome != "exception" || item.ScriptName != "helm-swicked" || item.Event.Request.Method != "GET" {
		t.Errorf("frame %x %s (%v)", op, payload, err)
	}

	if n := c.ok("GET", script+"/tails", nil).len(""); n != 1 {
		t.Errorf("%d tails", n)
	}
	c.ok("DELETE", script+"/tails/"+made.text("id"), nil)
	if op, _ := frame(); op != 0x88 {
		t.Errorf("frame %x, want a close", op)
	}
	if resp, err := http.Get("http://" + u.Host + u.Path); err != nil || resp.StatusCode != 404 {
		t.Errorf("after the end: HTTP %d %v", resp.StatusCode, err)
	}
}
