package sim_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evanw/esbuild/pkg/api"
	"github.com/kvick/shopfleet/internal/sim"
	"github.com/tailscale/hujson"
)

// Helm, the product in testdata, on real workerd: the shop that the demo deploys has to work, not only to deploy.

const (
	helmSlug = "swicked"
	helmHost = "helm-swicked.kvick.bike"
	helmKey  = "an-honest-session-key-of-40-characters!!"
)

// helmTree assembles what the branch of a shop holds: main with the overlay on top.
func helmTree(t *testing.T, slug string) string {
	t.Helper()
	dir := t.TempDir()
	for _, from := range []string{"helm", "helm.overlays/" + slug} {
		if err := os.CopyFS(filepath.Join(dir, from), os.DirFS(filepath.Join("..", "..", "testdata", from))); err != nil {
			t.Fatal(err)
		}
	}
	tree := filepath.Join(dir, "helm")
	overlay := filepath.Join(dir, "helm.overlays", slug)
	err := filepath.WalkDir(overlay, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(overlay, path)
		if err != nil {
			return err
		}
		return os.Rename(path, filepath.Join(tree, rel))
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// helmConfig is the part of a shop's wrangler.jsonc that the upload needs.
type helmConfig struct {
	CompatibilityDate  string   `json:"compatibility_date"`
	CompatibilityFlags []string `json:"compatibility_flags"`
	Assets             struct {
		Binding  string `json:"binding"`
		HTML     string `json:"html_handling"`
		NotFound string `json:"not_found_handling"`
	} `json:"assets"`
	Env map[string]struct {
		Vars map[string]string `json:"vars"`
		D1   []struct {
			Binding, Name string
			ID            string `json:"database_id"`
		} `json:"d1_databases"`
		R2 []struct {
			Binding string
			Bucket  string `json:"bucket_name"`
		} `json:"r2_buckets"`
		KV     []struct{ Binding, ID string } `json:"kv_namespaces"`
		Routes []struct {
			Pattern string `json:"pattern"`
		} `json:"routes"`
		Triggers struct{ Crons []string } `json:"triggers"`
	} `json:"env"`
}

// helm is a deployed shop and the browser of somebody in front of it.
type helm struct {
	*client
	config  helmConfig
	issuer  *issuer
	browser *http.Client
}

// openHelm deploys swicked as a deploy would: migrations, code, files, hostname and crons.
func openHelm(t *testing.T) *helm {
	t.Helper()
	c := withRuntime(t)
	tree := helmTree(t, helmSlug)
	h := &helm{client: c, issuer: newIssuer(t)}
	source, err := os.ReadFile(filepath.Join(tree, "wrangler.jsonc"))
	if err != nil {
		t.Fatal(err)
	}
	if source, err = hujson.Standardize(source); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(source, &h.config); err != nil {
		t.Fatal(err)
	}
	env := h.config.Env[helmSlug]

	for _, file := range helmMigrations(t, tree) {
		h.migrate(file)
	}

	bindings := []any{
		binding("SESSION_KEY", "secret_text", "text", helmKey), binding("OAUTH_CLIENT_SECRET", "secret_text", "text", "oauth-secret"),
		binding("STRIPE_SECRET_KEY", "secret_text", "text", "sk_test_x"), binding("TWILIO_ACCOUNT_SID", "secret_text", "text", "AC1"),
		binding(h.config.Assets.Binding, "assets"),
	}
	vars := maps.Clone(env.Vars)
	vars["OAUTH_ISSUER"] = h.issuer.URL
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		bindings = append(bindings, binding(name, "plain_text", "text", vars[name]))
	}
	for _, b := range env.D1 {
		bindings = append(bindings, binding(b.Binding, "d1", "id", b.ID))
	}
	for _, b := range env.R2 {
		bindings = append(bindings, binding(b.Binding, "r2_bucket", "bucket_name", b.Bucket))
	}
	for _, b := range env.KV {
		bindings = append(bindings, binding(b.Binding, "kv_namespace", "namespace_id", b.ID))
	}
	headers, err := os.ReadFile(filepath.Join(tree, "public", "_headers"))
	if err != nil {
		t.Fatal(err)
	}
	meta := map[string]any{
		"main_module": "index.js", "bindings": bindings,
		"compatibility_date": h.config.CompatibilityDate, "compatibility_flags": h.config.CompatibilityFlags,
		"assets": map[string]any{"jwt": h.uploadPublic(filepath.Join(tree, "public")), "config": map[string]any{
			"html_handling": h.config.Assets.HTML, "not_found_handling": h.config.Assets.NotFound, "_headers": string(headers)}},
	}
	built := api.Build(api.BuildOptions{
		EntryPoints: []string{filepath.Join(tree, "src", "index.ts")}, Bundle: true, Format: api.FormatESModule, Target: api.ES2024,
		Loader: map[string]api.Loader{".svg": api.LoaderText}, Outfile: "index.js", LogLevel: api.LogLevelSilent,
	})
	if len(built.Errors) > 0 {
		t.Fatalf("bundling helm: %v", built.Errors)
	}
	c.ok("PUT", script, newForm(t, meta, part{"index.js", module, string(built.OutputFiles[0].Contents)}))
	for _, r := range env.Routes {
		c.ok("PUT", "/accounts/"+accountID+"/workers/domains", map[string]any{
			"hostname": r.Pattern, "service": "helm-swicked", "environment": "production", "zone_id": zoneID})
	}
	crons := []any{}
	for _, cron := range env.Triggers.Crons {
		crons = append(crons, map[string]any{"cron": cron})
	}
	c.ok("PUT", script+"/schedules", crons)
	h.browser = h.newBrowser()
	return h
}

func helmMigrations(t *testing.T, tree string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(tree, "migrations", "*.sql"))
	if err != nil || len(files) != 16 {
		t.Fatalf("%d migrations, %v; want 16", len(files), err)
	}
	return files // Glob sorts
}

func (h *helm) migrate(file string) {
	h.t.Helper()
	sql, err := os.ReadFile(file)
	if err != nil {
		h.t.Fatal(err)
	}
	h.sql(string(sql))
}

// uploadPublic uploads the static files and returns the completion token (wire.md §5).
func (h *helm) uploadPublic(dir string) string {
	h.t.Helper()
	manifest, content := map[string]any{}, map[string][]byte{}
	for _, name := range []string{"build_info.json", "favicon.svg", "helm.css"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			h.t.Fatal(err)
		}
		hash := fmt.Sprintf("%x", sha256.Sum256(append([]byte(name), data...)))[:32]
		manifest["/"+name] = map[string]any{"hash": hash, "size": len(data)}
		content[hash] = data
	}
	session := h.ok("POST", script+"/assets-upload-session", map[string]any{"manifest": manifest})
	var parts []part
	for _, hash := range slices.Sorted(maps.Keys(content)) {
		parts = append(parts, part{hash, "text/plain; charset=utf-8", base64.StdEncoding.EncodeToString(content[hash])})
	}
	upload, err := h.send(h.raw, "POST", "/accounts/"+accountID+"/workers/assets/upload?base64=true", newForm(h.t, nil, parts...),
		"Authorization", "Bearer "+session.text("jwt"))
	if err != nil || !upload.Success {
		h.t.Fatalf("uploading files: %v %s", err, upload.Body)
	}
	return upload.text("jwt")
}

// sql runs statements over REST and returns the rows of the last one.
func (h *helm) sql(text string) []any {
	h.t.Helper()
	a := h.ok("POST", "/accounts/"+accountID+"/d1/database/"+d1ID+"/query", map[string]any{"sql": text})
	rows, _ := a.get(fmt.Sprintf("%d.results", a.len("")-1)).([]any)
	return rows
}

// one is the only value of a query with one row and one column.
func (h *helm) one(text string) any {
	h.t.Helper()
	rows := h.sql(text)
	if len(rows) != 1 {
		h.t.Fatalf("%s gives %d rows, want 1", text, len(rows))
	}
	for _, v := range rows[0].(map[string]any) {
		return v
	}
	return nil
}

// signIn puts somebody on the list and through the gate.
func (h *helm) signIn(email, role string) {
	h.t.Helper()
	h.sql(fmt.Sprintf("INSERT INTO staff (email, name, role) VALUES ('%s', 'N. <%s>', '%s')", email, role, role))
	h.issuer.email = email
	if p := h.get("/"); p.status != 200 || p.url.Path != "/" {
		h.t.Fatalf("signing in as %s ends at %s with %d:\n%s", role, p.url, p.status, p.body)
	}
}

// TestHelmMigrations rebuilds work_orders (015) under rows that point at it, as it happens in a shop that is open already.
func TestHelmMigrations(t *testing.T) {
	h := &helm{client: shop(t, sim.Options{})}
	files := helmMigrations(t, helmTree(t, helmSlug))
	for _, file := range files {
		if strings.HasPrefix(filepath.Base(file), "015") {
			h.sql(`INSERT INTO customers (id, name) VALUES (1, 'Ada');
				INSERT INTO work_orders (id, customer_id, summary, created_at) VALUES (7, 1, 'squeaks', '2026-01-02T03:04:05Z');
				INSERT INTO work_order_items (work_order_id, product_id, quantity, unit_price_cents) VALUES (7, 4, 3, 899);
				INSERT INTO sales (id, work_order_id) VALUES (1, 7);
				INSERT INTO sale_items (sale_id, product_id, quantity, unit_price_cents) VALUES (1, 4, 3, 899);`)
		}
		h.migrate(file)
	}
	equalJSON(t, "rows", mustJSON(t, h.sql("SELECT w.id, w.created_at, t.total_cents, s.id AS sale FROM work_orders w JOIN work_order_totals t ON t.work_order_id = w.id JOIN sales s ON s.work_order_id = w.id")),
		`[{"id":7,"created_at":"2026-01-02T03:04:05Z","total_cents":2697,"sale":1}]`)
	if rows := h.sql("PRAGMA foreign_key_check"); len(rows) != 0 {
		t.Errorf("references are broken: %v", rows)
	}
	h.sql("UPDATE work_orders SET status = 'waiting_parts' WHERE id = 7")
	equalJSON(t, "stock", mustJSON(t, h.sql("SELECT on_hand FROM inventory_levels WHERE product_id = 4")), `[{"on_hand":-3}]`)
	equalJSON(t, "permissions", mustJSON(t, h.sql("SELECT role, count(*) AS n FROM role_permissions WHERE permission LIKE 'screen.%' GROUP BY role ORDER BY role")),
		`[{"role":"cashier","n":3},{"role":"manager","n":4},{"role":"mechanic","n":3},{"role":"sys_admin","n":6}]`)
	if rows := h.sql("SELECT t.name FROM sqlite_master AS t, pragma_table_info(t.name) AS c WHERE c.name = 'tenant_id'"); len(rows) != 0 {
		t.Errorf("tables that tell tenants apart: %v", rows)
	}
}

func TestHelmGate(t *testing.T) {
	h := openHelm(t)
	unfollowed := *h.browser
	unfollowed.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

	// Every screen, and every path that is none, sends a stranger away.
	for _, path := range []string{"/", "/work-orders", "/customers", "/inventory?x=1", "/settings", "/permissions", "/logo", "/nothing/here"} {
		p := h.show(unfollowed.Get("https://" + helmHost + path))
		want := "/auth/login?return_to=" + url.QueryEscape(path)
		if p.status != http.StatusFound || p.header.Get("Location") != want {
			t.Errorf("%s: %d to %q, want 302 to %q", path, p.status, p.header.Get("Location"), want)
		}
	}
	if p := h.show(unfollowed.PostForm("https://"+helmHost+"/settings", url.Values{"hours": {"never"}})); p.status != http.StatusFound {
		t.Errorf("a stranger's form gives %d, want 302", p.status)
	}
	// What is public answers.
	if p := h.get("/build_info.json"); p.status != 200 || p.header.Get("Cache-Control") != "no-store" || !strings.Contains(p.body, `"released": false`) {
		t.Errorf("build_info.json: %d %v %s", p.status, p.header, p.body)
	}
	equalJSON(t, "identity", h.get("/__identity").body, `{"shop":"swicked","d1":null,"r2":null,"kv":null}`)
	h.sql("INSERT INTO settings (key, value) VALUES ('shop_identity', 'swicked')")
	equalJSON(t, "identity", h.get("/__identity").body, `{"shop":"swicked","d1":"swicked","r2":null,"kv":null}`)
	if p := h.get("/theme.css"); p.body != ":root { --accent: #8a1f2d; }\n" {
		t.Errorf("the theme is %q, want the one of the shop's branch", p.body)
	}
	if p := h.get("/favicon.ico"); p.status != 200 || !strings.Contains(p.body, "<svg") {
		t.Errorf("favicon.ico: %d %q", p.status, p.body)
	}

	// Known to the provider is not enough.
	h.issuer.email = "stranger@example.com"
	if p := h.get("/customers"); p.status != 403 || !strings.Contains(p.body, "stranger@example.com is not registered at Swicked Cycles") {
		t.Errorf("a stranger ends at %s with %d:\n%s", p.url, p.status, p.body)
	}
	h.sql("INSERT INTO staff (email, name, role, active) VALUES ('gone@kvick.bike', 'Gone', 'sys_admin', 0)")
	h.issuer.email = "gone@kvick.bike"
	if p := h.get("/"); p.status != 403 {
		t.Errorf("inactive staff get %d, want 403", p.status)
	}
	h.sql("INSERT INTO staff (email, name, role) VALUES ('boss@kvick.bike', 'Boss', 'sys_admin')")
	h.issuer.email, h.issuer.verified = "boss@kvick.bike", false
	if p := h.get("/"); p.status != 403 {
		t.Errorf("an address that the provider has not verified gets %d, want 403", p.status)
	}
	h.issuer.verified = true

	// Being on the list is, in whatever case the address is written, and one lands where one wanted to go.
	h.issuer.email = "Boss@Kvick.Bike"
	if p := h.get("/customers?q=x"); p.status != 200 || p.url.RequestURI() != "/customers?q=x" {
		t.Errorf("the boss ends at %s with %d", p.url, p.status)
	}
	session := h.browser.Jar.Cookies(&url.URL{Scheme: "https", Host: helmHost, Path: "/"})
	if len(session) != 1 || session[0].Name != "__Host-helm_session" {
		t.Errorf("the browser keeps the cookies %v, want the session only", session)
	}
	// Discovery is asked once and remembered.
	if n := strings.Count(strings.Join(h.issuer.asked, " "), "openid-configuration"); n != 1 {
		t.Errorf("the provider was discovered %d times, want once", n)
	}
	// Losing one's place on the list takes effect at once.
	h.sql("UPDATE staff SET active = 0 WHERE email = 'boss@kvick.bike'")
	if p := h.get("/"); p.status != 403 {
		t.Errorf("after being locked out: %d, want 403", p.status)
	}
	h.sql("UPDATE staff SET active = 1")
	if p := h.post("/auth/logout"); p.url.Path != "/auth/signed-out" || h.one("SELECT count(*) FROM sessions") != 0.0 {
		t.Errorf("signing out ends at %s and leaves %v sessions", p.url, h.one("SELECT count(*) FROM sessions"))
	}
	if cookies := h.browser.Jar.Cookies(&url.URL{Scheme: "https", Host: helmHost, Path: "/"}); len(cookies) != 0 {
		t.Errorf("after signing out the browser still has %v", cookies)
	}
}

func TestHelmCookies(t *testing.T) {
	h := openHelm(t)
	h.signIn("boss@kvick.bike", "sys_admin")
	at := &url.URL{Scheme: "https", Host: helmHost, Path: "/"}
	good := h.browser.Jar.Cookies(at)[0].Value
	for name, value := range map[string]string{
		"changed payload":   "A" + good[1:],
		"changed signature": good[:len(good)-2] + "AA",
		"no signature":      strings.Split(good, ".")[0],
		"empty":             "",
		"not base64":        "!.!",
	} {
		resp := visit(t, h.w.World.Edge(), "GET", "https://"+helmHost+"/", "", "Cookie", "__Host-helm_session="+value)
		if resp.StatusCode != http.StatusFound {
			t.Errorf("a cookie with %s gives %d, want 302", name, resp.StatusCode)
		}
	}
	// A state that is not the browser's own is not taken.
	p := h.show(h.newBrowser().Get("https://" + helmHost + "/auth/callback?code=code-0&state=guessed"))
	if p.status != 400 {
		t.Errorf("a callback without a login gives %d, want 400", p.status)
	}
	// Neither is a place outside of the shop to return to.
	fresh := h.newBrowser()
	last := h.show(fresh.Get("https://" + helmHost + "/auth/login?return_to=" + url.QueryEscape("https://evil.example/x")))
	if last.url.Host != helmHost || last.url.Path != "/" {
		t.Errorf("after signing in one lands at %s", last.url)
	}
	resp := visit(t, h.w.World.Edge(), "GET", "https://"+helmHost+"/auth/login", "")
	set := resp.Header.Get("Set-Cookie")
	for _, want := range []string{"__Host-helm_login=", "Path=/", "HttpOnly", "Secure", "SameSite=Lax", "Max-Age=600"} {
		if !strings.Contains(set, want) {
			t.Errorf("the login cookie %q lacks %s", set, want)
		}
	}
}

func TestHelmScreens(t *testing.T) {
	h := openHelm(t)
	h.signIn("boss@kvick.bike", "sys_admin")

	// A day in the shop, by its forms.
	if p := h.post("/customers", "name", `Ada <script>"`, "email", "ada@example.com", "phone", "555-0100"); p.url.Path != "/customers/1" ||
		!strings.Contains(p.body, "Ada &lt;script&gt;&quot;") || strings.Contains(p.body, "<script>") {
		t.Errorf("a new customer: %s %d\n%s", p.url, p.status, p.body)
	}
	if p := h.post("/customers", "name", "Other", "email", "ADA@example.com"); p.status != 422 || !strings.Contains(p.body, "belongs to another customer") {
		t.Errorf("the same address again: %d\n%s", p.status, p.body)
	}
	if p := h.post("/customers/1/bikes", "make", "Surly", "model", "Cross-Check", "color", "green", "serial_number", "S1"); !strings.Contains(p.body, "Surly Cross-Check") {
		t.Errorf("a new bike: %s %d\n%s", p.url, p.status, p.body)
	}
	if p := h.post("/work-orders", "customer_id", "1", "bike_id", "1", "summary", "Squeaks & rattles", "due_on", "2026-01-02"); p.url.Path != "/work-orders/1" ||
		!strings.Contains(p.body, "Squeaks &amp; rattles") || !strings.Contains(p.body, "Surly Cross-Check") {
		t.Errorf("a new work order: %s %d\n%s", p.url, p.status, p.body)
	}
	if p := h.post("/work-orders", "customer_id", "99", "summary", "x"); p.status != 422 {
		t.Errorf("a work order for nobody: %d", p.status)
	}
	h.post("/work-orders/1/items", "product_id", "1", "quantity", "1") // basic tune-up, 85.00
	h.post("/work-orders/1/items", "product_id", "4", "quantity", "2") // tubes, 8.99 each
	h.post("/work-orders/1/status", "status", "waiting_parts")
	if p := h.get("/work-orders?status=waiting_parts"); !strings.Contains(p.body, "$102.98") || !strings.Contains(p.body, "Waiting for parts") {
		t.Errorf("the board:\n%s", p.body)
	}
	h.post("/inventory/4/moves", "kind", "receive", "quantity", "10", "reason", "delivery")
	if p := h.post("/inventory/1/moves", "kind", "receive", "quantity", "1"); p.status != 422 || !strings.Contains(p.body, "no shelf") {
		t.Errorf("stocking a service: %d", p.status)
	}
	if p := h.post("/settings", "hours", "always", "turnaround_days", "3", "sales_tax_bp", "1000", "receipt_footer", "bye"); p.status != 200 {
		t.Errorf("settings: %d\n%s", p.status, p.body)
	}
	if p := h.get("/"); !strings.Contains(p.body, "Open always.") || !strings.Contains(p.body, "Coffee is on") {
		t.Errorf("the dashboard does not show the new settings:\n%s", p.body)
	}
	if p := h.post("/settings", "hours", "x", "turnaround_days", "soon", "sales_tax_bp", "0"); p.status != 422 {
		t.Errorf("a turnaround of soon: %d", p.status)
	}
	if p := h.post("/work-orders/1/charge", "method", "cash"); !strings.Contains(p.body, "Closed") {
		t.Errorf("charging: %d\n%s", p.status, p.body)
	}
	if p := h.post("/work-orders/1/charge", "method", "cash"); p.status != 422 {
		t.Errorf("charging twice: %d", p.status)
	}
	equalJSON(t, "the sale", mustJSON(t, h.sql("SELECT s.tax_cents, p.amount_cents, p.method, (SELECT count(*) FROM sale_items) AS items, l.on_hand FROM sales s JOIN payments p ON p.sale_id = s.id, inventory_levels l WHERE l.product_id = 4")),
		`[{"tax_cents":1030,"amount_cents":11328,"method":"cash","items":2,"on_hand":8}]`)

	for path, want := range map[string]string{
		"/":            "$102.98",
		"/work-orders": "Take a bike in", "/work-orders/1": "Basic tune-up", "/work-orders/99": "no such record",
		"/customers": "ada@example.com", "/customers?q=ADA": "ada@example.com", "/customers/1": "S1", "/customers/x": "no such record",
		"/inventory": "CHAIN-11", "/settings": "test mode", "/permissions": "N. &lt;sys_admin&gt;", "/nothing": "no such page",
	} {
		p := h.get(path)
		if !strings.Contains(p.body, want) || p.status >= 500 {
			t.Errorf("%s: %d without %q:\n%s", path, p.status, want, p.body)
		}
		if !strings.Contains(p.header.Get("Content-Security-Policy"), "default-src 'none'") || p.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: headers %v", path, p.header)
		}
	}
	if p := h.get("/customers?q=nobody"); strings.Contains(p.body, "ada@example.com") {
		t.Error("a search for nobody finds somebody")
	}

	// A form without the token of the session does nothing.
	p := h.show(h.browser.PostForm("https://"+helmHost+"/customers", url.Values{"name": {"Forged"}, "form_token": {"x"}}))
	if p.status != 403 || h.one("SELECT count(*) FROM customers") != 1.0 {
		t.Errorf("a forged form: %d, %v customers", p.status, h.one("SELECT count(*) FROM customers"))
	}
	if n := h.one("SELECT count(*) FROM audit_log WHERE action = 'work_order.charge'"); n != 1.0 {
		t.Errorf("charging was noted %v times, want once", n)
	}

	// The logo is the branch's until one is uploaded.
	if p := h.get("/logo"); p.header.Get("Content-Type") != "image/svg+xml" || !strings.Contains(p.body, "Swicked Cycles") {
		t.Errorf("the bundled logo: %v %s", p.header, p.body)
	}
	if a, err := h.send(h.raw, "PUT", "/accounts/"+accountID+"/r2/buckets/helm-swicked-assets/objects/branding/logo", "PNG", "Content-Type", "image/png"); err != nil || !a.Success {
		t.Fatalf("uploading a logo: %v %s", err, a.Body)
	}
	logo := h.get("/logo")
	if logo.header.Get("Content-Type") != "image/png" || logo.body != "PNG" {
		t.Errorf("the uploaded logo: %v %q", logo.header, logo.body)
	}
	req, err := http.NewRequest("GET", "https://"+helmHost+"/logo", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("If-None-Match", logo.header.Get("Etag"))
	if again := h.show(h.browser.Do(req)); again.status != http.StatusNotModified {
		t.Errorf("the same logo again: %d, want 304", again.status)
	}
}

func TestHelmPermissions(t *testing.T) {
	h := openHelm(t)
	h.signIn("boss@kvick.bike", "sys_admin")
	boss := h.browser
	h.browser = h.newBrowser()
	h.signIn("mech@kvick.bike", "mechanic")
	mechanic := h.browser

	sees := func(who *http.Client, path string) bool {
		t.Helper()
		h.browser = who
		p := h.get(path)
		if p.status != 200 && p.status != 403 {
			t.Errorf("%s: %d", path, p.status)
		}
		return p.status == 200
	}
	for path, want := range map[string]bool{"/": true, "/work-orders": true, "/inventory": true, "/customers": false, "/settings": false, "/permissions": false} {
		if got := sees(mechanic, path); got != want {
			t.Errorf("a mechanic sees %s: %v, want %v", path, got, want)
		}
	}
	decide := func(permission, decision string) {
		t.Helper()
		h.browser = boss
		if p := h.post("/permissions/staff/2", "permission", permission, "decision", decision); p.status != 200 {
			t.Fatalf("%s %s: %d\n%s", decision, permission, p.status, p.body)
		}
	}
	decide("screen.customers", "allow")
	decide("screen.inventory", "deny")
	if !sees(mechanic, "/customers") || sees(mechanic, "/inventory") {
		t.Error("a decision for a person does not overrule the role")
	}
	decide("screen.customers", "role")
	if sees(mechanic, "/customers") {
		t.Error("taking a decision back does not give the word to the role")
	}
	h.browser = mechanic
	if p := h.post("/permissions/staff/2", "permission", "screen.permissions", "decision", "allow"); p.status != 403 {
		t.Errorf("a mechanic decides for themselves: %d, want 403", p.status)
	}
	h.browser = boss
	if p := h.post("/permissions/staff/1/active", "active", "no"); p.status != 422 {
		t.Errorf("the boss locks themselves out: %d, want 422", p.status)
	}
	if p := h.post("/permissions/staff", "name", "Cash", "email", "cash@kvick.bike", "role", "cashier"); !strings.Contains(p.body, "cash@kvick.bike") {
		t.Errorf("letting somebody in: %d", p.status)
	}
	if p := h.post("/permissions/staff/2/active", "active", "no"); p.status != 200 || h.one("SELECT count(*) FROM sessions WHERE staff_id = 2") != 0.0 {
		t.Errorf("locking somebody out: %d, and their sessions stay", p.status)
	}
}

func TestHelmCrons(t *testing.T) {
	h := openHelm(t)
	h.sql(`INSERT INTO sales (id, sold_at, tax_cents) VALUES (1, strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-1 day'), 50);
		INSERT INTO sale_items (sale_id, product_id, quantity, unit_price_cents) VALUES (1, 4, 2, 899), (1, 1, 1, 8500);
		INSERT INTO sales (id, sold_at, voided) VALUES (2, strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-1 day'), 1);
		INSERT INTO staff (email, name, role) VALUES ('a@b', 'A', 'cashier');
		INSERT INTO sessions (id, staff_id, expires_at) VALUES ('old', 1, '2020-01-01T00:00:00Z'), ('new', 1, '2999-01-01T00:00:00Z');
		INSERT INTO audit_log (action, at) VALUES ('old', '2020-01-01T00:00:00Z'), ('new', strftime('%Y-%m-%dT%H:%M:%SZ', 'now'));`)
	for _, cron := range h.config.Env[helmSlug].Triggers.Crons {
		if err := h.w.FireCron(t.Context(), accountID, "helm-swicked", cron); err != nil {
			t.Error(err)
		}
	}
	runs := mustJSON(t, h.sql("SELECT job, cron, outcome, finished_at IS NOT NULL AS finished FROM cron_runs ORDER BY id"))
	equalJSON(t, "cron_runs", runs, `[{"job":"daily-close","cron":"0 13 * * *","outcome":"ok","finished":1},
		{"job":"low-stock-report","cron":"0 14 * * mon","outcome":"ok","finished":1},{"job":"purge","cron":"0 15 1 * *","outcome":"ok","finished":1}]`)
	equalJSON(t, "the close", mustJSON(t, h.sql("SELECT sales, gross_cents, tax_cents FROM daily_closes")), `[{"sales":1,"gross_cents":10298,"tax_cents":50}]`)
	equalJSON(t, "sessions", mustJSON(t, h.sql("SELECT id FROM sessions")), `[{"id":"new"}]`)
	equalJSON(t, "audit rows", mustJSON(t, h.sql("SELECT action FROM audit_log")), `[{"action":"new"}]`)
	key, _ := h.one("SELECT summary FROM cron_runs WHERE job = 'low-stock-report'").(string)
	_, key, _ = strings.Cut(key, ", ")
	a, err := h.send(h.w.URL, "GET", "/accounts/"+accountID+"/r2/buckets/helm-swicked-assets/objects/"+key, nil)
	if err != nil || !strings.HasPrefix(string(a.Body), "sku,name,on_hand,reorder_point\r\n\"CHAIN-11\"") && !strings.Contains(string(a.Body), `"CHAIN-11","Chain, 11 speed",0,4`) {
		t.Errorf("the report at %q is %s, %v", key, a.Body, err)
	}
}

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestHelmOverlaysBundle builds every shop, with the theme and logo of its branch in the code.
func TestHelmOverlaysBundle(t *testing.T) {
	shops, err := os.ReadDir(filepath.Join("..", "..", "testdata", "helm.overlays"))
	if err != nil || len(shops) == 0 {
		t.Fatalf("%d overlays, %v", len(shops), err)
	}
	for _, shop := range shops {
		tree := helmTree(t, shop.Name())
		var theme struct{ Accent, Greeting string }
		raw, err := os.ReadFile(filepath.Join(tree, "shop-overrides", "theme.json"))
		if err == nil {
			err = json.Unmarshal(raw, &theme)
		}
		if err != nil {
			t.Fatal(err)
		}
		built := api.Build(api.BuildOptions{
			EntryPoints: []string{filepath.Join(tree, "src", "index.ts")}, Bundle: true, Format: api.FormatESModule, Outfile: "index.js",
			Loader: map[string]api.Loader{".svg": api.LoaderText}, LogLevel: api.LogLevelSilent,
		})
		if len(built.Errors) > 0 {
			t.Fatalf("%s: %v", shop.Name(), built.Errors)
		}
		if code := string(built.OutputFiles[0].Contents); !strings.Contains(code, theme.Accent) || !strings.Contains(code, theme.Greeting) {
			t.Errorf("%s: the bundle lacks the shop's own theme", shop.Name())
		}
	}
}
