package sim_test

import (
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/sim"
)

func split(pairs ...any) map[string]any {
	var list []any
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, map[string]any{"version_id": pairs[i], "percentage": pairs[i+1]})
	}
	return map[string]any{"strategy": "percentage", "versions": list}
}

func TestDeployments(t *testing.T) {
	c := shop(t, sim.Options{})
	c.ok("PUT", script, c.worker(nil, nil))
	one := c.live()[0]
	two := c.ok("POST", script+"/versions", c.worker(nil, nil)).text("id")
	three := c.ok("POST", script+"/versions", c.worker(nil, nil)).text("id")

	body := split(one, 90, two, 10)
	body["annotations"] = map[string]any{"workers/message": "sf-mark", "workers/triggered_by": "me"}
	made := c.ok("POST", script+"/deployments", body)
	a, _ := made.get("annotations").(map[string]any)
	if a["workers/message"] != "sf-mark" || a["workers/triggered_by"] != "deployment" {
		t.Errorf("annotations %v", a)
	}
	list := c.ok("GET", script+"/deployments", nil)
	if list.text("deployments.0.id") != made.text("id") || list.len("deployments") != 2 || list.len("deployments.0.versions") != 2 {
		t.Errorf("deployments %s", list.Body)
	}
	if got := c.ok("GET", script+"/deployments/"+made.text("id"), nil).get("versions.1.percentage"); got != float64(10) {
		t.Errorf("second share is %v", got)
	}

	bad := []struct {
		name         string
		status, code int
		body         any
	}{
		{"sum below 100", 400, 10026, split(one, 50, two, 49)},
		{"sum above 100", 400, 10026, split(one, 60, two, 60)},
		{"negative", 400, 10026, split(one, -10, two, 110)},
		{"three versions", 400, 10026, split(one, 30, two, 30, three, 40)},
		{"none", 400, 10026, map[string]any{"strategy": "percentage", "versions": []any{}}},
		{"same twice", 400, 10026, split(one, 50, one, 50)},
		{"unknown version", 404, 100146, split("00000000-0000-4000-8000-000000000000", 100)},
		{"other strategy", 400, 10026, map[string]any{"strategy": "blue", "versions": split(one, 100)["versions"]}},
	}
	for _, tt := range bad {
		t.Run(tt.name, func(t *testing.T) { c.refused(tt.status, tt.code, "POST", script+"/deployments", tt.body) })
	}
	if after := c.ok("GET", script+"/deployments", nil); after.len("deployments") != 2 {
		t.Error("a refused deployment is listed")
	}
	c.ok("POST", script+"/deployments", split(one, 33.4, two, 66.6))

	c.ok("DELETE", script+"/deployments/"+made.text("id"), nil)
	c.refused(404, 10336, "GET", script+"/deployments/"+made.text("id"), nil)
	current := c.ok("GET", script+"/deployments", nil).text("deployments.0.id")
	c.refused(400, 10336, "DELETE", script+"/deployments/"+current, nil)
}

// Rolling back over a rotated secret brings the old value back, so it has to be asked for (wire.md §2: 10220).
func TestRollbackOverChangedSecrets(t *testing.T) {
	c := shop(t, sim.Options{})
	c.ok("PUT", script, c.worker([]any{binding("KEPT", "secret_text", "text", "same"), binding("ROTATED", "secret_text", "text", "old")}, nil))
	old := c.live()[0]
	c.ok("PUT", script+"/secrets", map[string]any{"name": "ROTATED", "text": "new", "type": "secret_text"})
	c.ok("PUT", script+"/secrets", map[string]any{"name": "ADDED", "text": "x", "type": "secret_text"})
	newest := c.live()[0]

	a := c.refused(400, 10220, "POST", script+"/deployments", split(old, 100))
	if want := "The following secrets have changed: ADDED, ROTATED"; !strings.Contains(a.Errors[0].Message, want) {
		t.Errorf("message %q lacks %q", a.Errors[0].Message, want)
	}
	c.refused(400, 10220, "POST", script+"/deployments", split(newest, 90, old, 10))
	if live := c.live(); live[0] != newest {
		t.Fatal("a refused rollback changed what is live")
	}
	c.ok("POST", script+"/deployments?force=true", split(old, 100))
	if live := c.live(); live[0] != old {
		t.Fatal("force did not roll back")
	}
	c.ok("POST", script+"/deployments", split(newest, 100)) // forward again needs no force
}

func TestHistoryIsKeptFor100Versions(t *testing.T) {
	c := shop(t, sim.Options{RateLimit: -1})
	c.ok("PUT", script, c.worker(nil, nil))
	first := c.live()[0]
	var second string
	for i := range 105 {
		id := c.ok("POST", script+"/versions", c.worker(nil, nil)).text("id")
		if i == 0 {
			second = id
		}
	}
	list := c.ok("GET", script+"/versions?deployable=true", nil)
	if n := list.len("items"); n != 100 {
		t.Errorf("%d versions are kept, want 100", n)
	}
	c.ok("GET", script+"/versions/"+first, nil) // live, so it stays whatever its age
	c.refused(404, 100146, "GET", script+"/versions/"+second, nil)
	if n := list.get("items.0.number"); n != float64(106) {
		t.Errorf("newest version has number %v, want 106", n)
	}
}

func TestSecrets(t *testing.T) {
	c := shop(t, sim.Options{})
	put := func(name, text string) map[string]any {
		return map[string]any{"name": name, "text": text, "type": "secret_text"}
	}
	c.refused(404, 10007, "PUT", script+"/secrets", put("A", "1"))
	c.ok("PUT", script, c.worker([]any{binding("MODE", "plain_text", "text", "a")}, nil))
	before := c.live()[0]

	c.ok("PUT", script+"/secrets", put("A", "1"))
	after := c.live()[0]
	if after == before {
		t.Error("a secret did not make a version and a deployment")
	}
	if by := c.ok("GET", script+"/deployments", nil).get("deployments.0.annotations"); by.(map[string]any)["workers/triggered_by"] != "secret" {
		t.Errorf("annotations %v", by)
	}
	c.refused(400, 10053, "PUT", script+"/secrets", put("MODE", "1"))
	c.refused(400, 10021, "PUT", script+"/secrets", put("not a name", "1"))
	c.refused(404, 10056, "DELETE", script+"/secrets/NOPE?url_encoded=true", nil)

	c.ok("PATCH", script+"/secrets-bulk", map[string]any{"secrets": map[string]any{"A": nil, "B": put("B", "2"), "C": put("C", "3")}},
		"Content-Type", "application/merge-patch+json")
	list := c.ok("GET", script+"/secrets", nil)
	if list.len("") != 2 || list.text("0.name") != "B" || list.text("1.name") != "C" {
		t.Errorf("secrets %s", list.Body)
	}
	versions := c.ok("GET", script+"/versions?deployable=true", nil).len("items")
	if versions != 3 {
		t.Errorf("%d versions, want 3: one bulk edit is one version", versions)
	}
	c.ok("DELETE", script+"/secrets/B?url_encoded=true", nil)

	many := map[string]any{}
	for i := range 101 {
		name := "S" + strings.Repeat("x", i)
		many[name] = put(name, "1")
	}
	c.refused(400, 10026, "PATCH", script+"/secrets-bulk", map[string]any{"secrets": many})

	c.ok("POST", script+"/versions", c.worker(nil, map[string]any{"keep_bindings": []string{"secret_text"}}))
	c.refused(400, 10215, "PUT", script+"/secrets", put("D", "4"))
	c.refused(400, 10215, "PATCH", script+"/secrets-bulk", map[string]any{"secrets": map[string]any{"D": put("D", "4")}})
}
