package report_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/report"
)

// browser is a headless Chromium that is spoken to over a pipe (--remote-debugging-pipe: messages of the DevTools protocol,
// https://chromedevtools.github.io/devtools-protocol/, each ended by a zero byte). It reaches no network.
type browser struct {
	t       *testing.T
	in      *os.File
	out     *bufio.Reader
	session string
	id      int
	// requests are addresses that the page asked for, said what it wrote to the console, policy violations among it.
	requests, said []string
}

type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// openBrowser skips the test, and says so, where there is no Chromium.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		t.Skip("no browser to show the page to: apt-get install chromium")
	}
	ours, theirs, err := pipes()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
		"--disable-extensions", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	var said bytes.Buffer
	cmd.ExtraFiles, cmd.Stderr = theirs, &said
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range theirs {
		f.Close()
	}
	b := &browser{t: t, in: ours[0], out: bufio.NewReaderSize(ours[1], 1<<20)}
	killed := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
	t.Cleanup(func() {
		killed.Stop()
		b.session = ""
		fmt.Fprint(b.in, `{"id":1000000,"method":"Browser.close"}`+"\x00")
		done := make(chan struct{})
		go func() { cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			<-done
		}
		ours[0].Close()
		ours[1].Close()
		if t.Failed() {
			t.Logf("the browser said: %.2000s", said.String())
		}
	})
	var target struct{ TargetID string }
	b.call(&target, "Target.createTarget", map[string]any{"url": "about:blank"})
	var attached struct{ SessionID string }
	b.call(&attached, "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true})
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Network", "Runtime", "Log"} {
		b.call(nil, domain+".enable", nil)
	}
	return b
}

// pipes are what we keep (to write to, to read from), and what the browser gets as its files 3 and 4.
func pipes() (ours, theirs []*os.File, err error) {
	r1, w1, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	r2, w2, err := os.Pipe()
	return []*os.File{w1, r2}, []*os.File{r1, w2}, err
}

func (b *browser) next() message {
	b.t.Helper()
	text, err := b.out.ReadBytes(0)
	if err != nil {
		b.t.Fatalf("the browser ended: %v", err)
	}
	var m message
	if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
		b.t.Fatal(err)
	}
	var p struct {
		Request struct{ URL string }
		Entry   struct{ Level, Text string }
		Args    []struct{ Value any }
	}
	switch m.Method {
	case "Network.requestWillBeSent":
		json.Unmarshal(m.Params, &p)
		b.requests = append(b.requests, p.Request.URL)
	case "Log.entryAdded":
		json.Unmarshal(m.Params, &p)
		b.said = append(b.said, p.Entry.Level+": "+p.Entry.Text)
	case "Runtime.exceptionThrown", "Runtime.consoleAPICalled":
		b.said = append(b.said, string(m.Params))
	}
	return m
}

func (b *browser) call(out any, method string, params map[string]any) {
	b.t.Helper()
	b.id++
	id := b.id
	m := map[string]any{"id": id, "method": method}
	if params != nil {
		m["params"] = params
	}
	if b.session != "" {
		m["sessionId"] = b.session
	}
	text, err := json.Marshal(m)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.in.Write(append(text, 0)); err != nil {
		b.t.Fatal(err)
	}
	for {
		m := b.next()
		if m.ID != id {
			continue
		}
		if m.Error != nil {
			b.t.Fatalf("%s: %s", method, m.Error.Message)
		}
		if out != nil {
			if err := json.Unmarshal(m.Result, out); err != nil {
				b.t.Fatal(err)
			}
		}
		return
	}
}

// show opens a page from a file and waits until it is loaded.
func (b *browser) show(page []byte, fragment string) {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), "page.html")
	if err := os.WriteFile(file, page, 0o644); err != nil {
		b.t.Fatal(err)
	}
	b.requests, b.said = nil, nil
	b.call(nil, "Page.navigate", map[string]any{"url": "file://" + file + fragment})
	for b.next().Method != "Page.loadEventFired" {
	}
}

// eval is what an expression gives, as JSON.
func (b *browser) eval(out any, expression string) {
	b.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	b.call(&r, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true})
	if r.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", expression, r.ExceptionDetails)
	}
	if err := json.Unmarshal(r.Result.Value, out); err != nil {
		b.t.Fatalf("%s: %v: %s", expression, err, r.Result.Value)
	}
}

func (b *browser) text(expression string) (s string) {
	b.t.Helper()
	b.eval(&s, expression)
	return s
}

// screen is how large the window is, and which colours are wanted.
func (b *browser) screen(width, height int, phone, dark bool) {
	b.t.Helper()
	b.call(nil, "Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone})
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	b.call(nil, "Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": scheme}}})
}

// shoot keeps a picture of the page where SHOPFLEET_PICTURES names a folder.
func (b *browser) shoot(name string) {
	dir := os.Getenv("SHOPFLEET_PICTURES")
	if dir == "" {
		return
	}
	var shot struct{ Data []byte }
	b.call(&shot, "Page.captureScreenshot", map[string]any{"format": "png"})
	if err := os.WriteFile(filepath.Join(dir, name+".png"), shot.Data, 0o644); err != nil {
		b.t.Error(err)
	}
}

const (
	visible = `[...document.querySelectorAll("#shops tbody tr")].filter(r => !r.hidden).map(r => r.cells[0].textContent).join(" ")`
	// contrast is the worst of the contrasts between text and what is behind it (WCAG 2.2, 1.4.3), as [ratio, where].
	contrast = `(() => {
  const parse = c => c.match(/[\d.]+/g).map(Number);
  const lum = c => c.slice(0, 3).map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const back = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  let worst = [99, ""];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || e.closest("script,[hidden],.sr")) continue;
    const a = lum(parse(getComputedStyle(e).color)), b = lum(back(e)), ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < worst[0]) worst = [ratio, e.outerHTML.slice(0, 200)];
  }
  return worst;
})()`
)

func press(heading string) string {
	return `(() => { const b = [...document.querySelectorAll("#shops thead button")].find(b => b.textContent === "` + heading + `"); b.click(); return b.closest("th").getAttribute("aria-sort"); })()`
}

func typed(words string) string {
	return `(() => { const i = document.querySelector("#shops-filter"); i.value = ` + fmt.Sprintf("%q", words) + `; i.dispatchEvent(new Event("input", {bubbles: true})); return document.querySelector("#shops-tools [role=status]").textContent; })()`
}

func chip(word string) string {
	return `(() => { document.querySelector('#shops-tools button[data-tag="` + word + `"]').click(); return document.querySelector("#shops-tools [role=status]").textContent; })()`
}

// TestStatusInBrowser wants the page of 500 shops to work in a real browser: it asks for nothing but itself, sorts and filters,
// fits on a phone, and can be read in the light and in the dark.
func TestStatusInBrowser(t *testing.T) {
	b := openBrowser(t)
	var page bytes.Buffer
	if err := report.StatusHTML(&page, standing(491)); err != nil {
		t.Fatal(err)
	}
	equal := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %q; want %q", what, got, want)
		}
	}
	first := func(n int) string {
		return strings.Join(strings.Fields(b.text(visible))[:n], " ")
	}
	b.screen(1280, 900, false, false)
	b.show(page.Bytes(), "")
	b.shoot("status-light")
	const own = "adler hub ember bolt drift idler cargo fixie gravel shop-000"
	equal("the page's own order", first(10), own)
	equal("the count", b.text(`document.querySelector("#shops-tools [role=status]").textContent`), "500 of 500")
	var rows int
	b.eval(&rows, `document.querySelectorAll("#shops tbody tr").length`)
	if rows != 500 {
		t.Errorf("the page has %d rows", rows)
	}

	// Sorting: by number, by name, and back.
	equal("Behind once", b.text(press("Behind")), "ascending")
	equal("Behind twice", b.text(press("Behind")), "descending")
	equal("the most behind", first(1), "fixie")
	equal("Shop", b.text(press("Shop")), "ascending")
	equal("by name", first(3), "adler bolt cargo")
	equal("another heading gives up", b.text(`document.querySelectorAll("#shops th[aria-sort=descending]").length + ""`), "0")
	b.text(press("Secrets"))
	equal("the oldest secret first", first(1), "gravel")
	b.text(press("Live"))
	b.text(press("Live"))
	equal("what has no commit comes last either way", b.text(visible)[len(b.text(visible))-len("drift"):], "drift")
	equal("the third press", b.text(press("Live")), "none")
	equal("gives the page's own order back", first(10), own)

	// Filtering: all words, whatever their case and accents; a button; both; and both in the address.
	equal("a word", b.text(typed("SHOP-00")), "10 of 500")
	equal("two words", b.text(typed("kvíck-2 held")), "1 of 500")
	equal("who is held", b.text(visible), "bolt")
	equal("nothing", b.text(typed("nobody-has-this")), "0 of 500")
	equal("all again", b.text(typed("")), "500 of 500")
	equal("a button", b.text(chip("pending")), "1 of 500")
	equal("whose", b.text(visible), "cargo")
	equal("another button", b.text(chip("behind")), "1 of 500")
	equal("and a word", b.text(typed("fix")), "1 of 500")
	equal("in the address", b.text(`location.hash`), "#q=fix&only=behind")
	equal("the button again", b.text(chip("behind")), "1 of 500")
	if len(b.requests) != 1 || !strings.HasPrefix(b.requests[0], "file://") {
		t.Errorf("the page asked for %q", b.requests)
	}
	if len(b.said) != 0 {
		t.Errorf("the console has %q", b.said)
	}
	b.show(page.Bytes(), "#q=shop-1&only=")
	equal("an address that was sent", b.text(visible)[:8], "shop-100")

	// The policy that the page states holds: neither a script nor a request gets past it, and no style.
	var policy string
	b.eval(&policy, `new Promise(done => {
  const seen = [];
  addEventListener("securitypolicyviolation", e => { seen.push(e.effectiveDirective); if (seen.length === 4) done(seen.sort().join(" ")); });
  const s = document.createElement("script"); s.textContent = "window.ran = 1"; document.body.append(s);
  const c = document.createElement("style"); c.textContent = "body{display:none}"; document.body.append(c);
  const i = document.createElement("img"); i.src = "https://evil.example/x.png"; document.body.append(i);
  fetch("https://evil.example/").catch(() => {});
  setTimeout(() => done("only " + seen.sort().join(" ")), 5000);
})`)
	equal("what the policy keeps out", policy, "connect-src img-src script-src-elem style-src-elem")
	var ran bool
	b.eval(&ran, `!!window.ran || getComputedStyle(document.body).display === "none"`)
	if ran {
		t.Error("a script or a style that is not the page's got into it")
	}

	for _, dark := range []bool{false, true} {
		for _, phone := range []bool{false, true} {
			name := map[bool]string{false: "light", true: "dark"}[dark] + " " + map[bool]string{false: "desk", true: "phone"}[phone]
			if phone {
				b.screen(360, 740, true, dark)
			} else {
				b.screen(1280, 900, false, dark)
			}
			b.show(page.Bytes(), "")
			b.shoot("status-" + strings.ReplaceAll(name, " ", "-"))
			var worst []any
			b.eval(&worst, contrast)
			if ratio, ok := worst[0].(float64); !ok || ratio < 4.5 {
				t.Errorf("%s: the contrast of %v is %v; 4.5 is the least", name, worst[1], worst[0])
			}
			var background string
			b.eval(&background, `getComputedStyle(document.body).backgroundColor`)
			if want := map[bool]string{false: "rgb(255, 255, 255)", true: "rgb(13, 17, 23)"}[dark]; background != want {
				t.Errorf("%s: the paper is %s; want %s", name, background, want)
			}
			var cut bool
			b.eval(&cut, `(() => { const w = document.querySelector(".wide"); return w.scrollWidth > w.clientWidth; })()`)
			if cut {
				t.Errorf("%s: the table is wider than the window", name)
			}
			if !phone {
				continue
			}
			var sizes struct {
				Wide, Over int
				Text, Tap  float64
				Labels     string
			}
			b.eval(&sizes, `(() => {
  const all = [...document.querySelectorAll("body *")].filter(e => e.offsetParent && !e.closest(".sr"));
  const texts = all.filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()));
  const row = document.querySelector("#shops tbody tr");
  return {
    Wide: document.documentElement.scrollWidth,
    Over: all.filter(e => e.getBoundingClientRect().right > innerWidth + 1).length,
    Text: Math.min(...texts.map(e => parseFloat(getComputedStyle(e).fontSize))),
    Tap: Math.min(...[...document.querySelectorAll("button, input")].filter(e => e.offsetParent).map(e => e.getBoundingClientRect().height)),
    Labels: [...row.querySelectorAll("td")].filter(c => c.offsetParent).map(c => getComputedStyle(c, "::before").content).join(" "),
  };
})()`)
			if sizes.Wide > 360 || sizes.Over > 0 {
				t.Errorf("%s: the page is %d pixels wide, and %d things stick out", name, sizes.Wide, sizes.Over)
			}
			if sizes.Text < 13 || sizes.Tap < 44 {
				t.Errorf("%s: text of %g pixels and buttons of %g; at least 13 and 44 are wanted", name, sizes.Text, sizes.Tap)
			}
			equal(name+": what a card says of its values", sizes.Labels, `"State" "Why" "Account" "Live" "Since" "Behind" "Schema" "Health" "Last deploy" "Secrets"`)
			equal(name+": sorting", b.text(press("Behind")), "ascending")
			equal(name+": filtering", b.text(typed("held")), "1 of 500")
		}
	}

	// Without scripts everything is there.
	b.call(nil, "Emulation.setScriptExecutionDisabled", map[string]any{"value": true})
	b.screen(1280, 900, false, false)
	b.show(page.Bytes(), "")
	b.call(nil, "Emulation.setScriptExecutionDisabled", map[string]any{"value": false})
	equal("without scripts", first(10), own)
	var hidden bool
	b.eval(&hidden, `document.querySelector("#shops-tools").hidden`)
	if !hidden {
		t.Error("without scripts the page shows tools that do nothing")
	}
}
