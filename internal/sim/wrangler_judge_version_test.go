package sim_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
	"time"
)

// versionSessions are about versions, deployments and going back, and about who is asking.
func versionSessions() []session {
	message := func(c *court, want string) {
		c.t.Helper()
		if got := c.ok("GET", judgedWorker+"/deployments", nil).text("deployments.0.annotations.workers/message"); got != want {
			c.t.Errorf("the deployment says %q, want %q", got, want)
		}
	}
	return []session{
		{name: "versions", open: func(c *court) {
			c.live()
			c.notes["v0"] = c.serving(recWorker)
		}, trials: []trial{
			{recording: "versions-upload", before: (*court).later, check: func(c *court, out string) {
				c.serves(c.notes["v0"]) // an upload releases nothing
				newest := c.ok("GET", judgedWorker+"/versions", nil).text("items.0.id")
				v := c.ok("GET", judgedWorker+"/versions/"+newest, nil)
				if newest == c.notes["v0"] || v.text("annotations.workers/tag") != "t1" || v.text("annotations.workers/message") != "m1" || v.text("annotations.workers/alias") != "stage" {
					c.t.Errorf("version %s has annotations %v", newest, v.get("annotations"))
				}
				c.prints(out, newest)
				c.notes["v1"] = newest
			}},
			{recording: "versions-list", check: func(c *court, out string) { c.prints(out, c.notes["v0"], c.notes["v1"], "t1", "m1") }},
			{recording: "versions-list-json", check: func(c *court, out string) {
				var list []struct{ ID string }
				if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 2 || list[0].ID != c.notes["v0"] || list[1].ID != c.notes["v1"] {
					c.t.Errorf("%v (%v), want v0 and v1", list, err)
				}
			}},
			{recording: "versions-view", args: []string{"versions", "view", "$v1", "--env", "swicked"}, check: func(c *court, out string) {
				c.prints(out, c.notes["v1"], "fetch", "nodejs_compat", "helm-swicked-assets", recD1)
			}},
			{recording: "versions-deploy", args: []string{"versions", "deploy", "$v1@100%", "--env", "swicked", "-y", "--message", "promote"}, before: (*court).later,
				check: func(c *court, _ string) {
					c.serves(c.notes["v1"])
					message(c, "promote")
				}},
			{recording: "deployments-status", check: func(c *court, out string) { c.prints(out, c.notes["v1"], "(100%)", "promote") }},
			{recording: "versions-deploy-split", args: []string{"versions", "deploy", "$v1@10%", "$v0@90%", "--env", "swicked", "-y"}, before: (*court).later,
				check: func(c *court, _ string) {
					if got := c.shares(); len(got) != 2 || got[c.notes["v1"]] != 10 || got[c.notes["v0"]] != 90 {
						c.t.Errorf("shares %v", got)
					}
				}},
			{recording: "versions-deploy-no-args-ci", check: func(c *court, _ string) { // ends well and does nothing
				if got := c.shares(); len(got) != 2 {
					c.t.Errorf("shares %v", got)
				}
			}},
			{recording: "versions-deploy-by-tag", before: (*court).later, check: func(c *court, _ string) { c.serves(c.notes["v1"]) }},
			{recording: "rollback", before: (*court).later, check: func(c *court, _ string) {
				// The deployment before the split served the same version: that is what it goes back to.
				c.serves(c.notes["v1"])
				if n := c.ok("GET", judgedWorker+"/deployments", nil).len("deployments"); n != 5 {
					c.t.Errorf("%d deployments", n)
				}
			}},
			{recording: "deployments-list", check: func(c *court, out string) {
				c.prints(out, c.notes["v0"], c.notes["v1"], "(10%)", "(90%)", "promote")
			}},
			{recording: "rollback-version-id", args: []string{"rollback", "$v0", "--env", "swicked", "-y", "--message", "bad release"}, before: (*court).later,
				check: func(c *court, _ string) {
					c.serves(c.notes["v0"])
					message(c, "bad release")
				}},
			{recording: "rollback-clean", before: (*court).later, check: func(c *court, _ string) {
				c.serves(c.notes["v1"])
				message(c, "Rollback")
			}},
			{recording: "rollback-again-toggles", before: (*court).later, check: func(c *court, _ string) { c.serves(c.notes["v0"]) }},
			{recording: "rollback-secret-changed-10220", before: func(c *court) {
				c.later()
				c.ok("POST", judgedWorker+"/deployments", map[string]any{"strategy": "percentage", "versions": []any{
					map[string]any{"version_id": c.notes["v1"], "percentage": 100}, // secrets change only where the newest version serves
				}})
				c.later()
				c.ok("PUT", judgedWorker+"/secrets", map[string]any{"name": "A", "text": "new", "type": "secret_text"})
				c.later()
			}, check: func(c *court, out string) {
				c.serves(c.notes["v1"])
				c.prints(out, "secrets have changed since version "+c.notes["v1"], "* A")
			}},
			{recording: "versions-upload-with-preview", before: func(c *court) {
				c.ok("POST", judgedWorker+"/subdomain", map[string]any{"enabled": true, "previews_enabled": true})
			}, check: func(c *court, out string) {
				c.serves(c.notes["v1"])
				newest := c.ok("GET", judgedWorker+"/versions", nil).text("items.0.id")
				c.prints(out, "https://"+newest[:8]+"-helm-swicked.acme.workers.dev", "https://stage-helm-swicked.acme.workers.dev")
			}},
		}},
		{name: "visitors", open: func(c *court) { c.put("helm-swicked-swicked", nil, nil) }, trials: []trial{
			{recording: "whoami", check: func(c *court, out string) { c.prints(out, "Stub Account", recAccount) }},
			{recording: "whoami-json", check: func(c *court, out string) {
				var who struct{ Accounts []struct{ ID, Name string } }
				if err := json.Unmarshal([]byte(out), &who); err != nil || len(who.Accounts) != 1 || who.Accounts[0].ID != recAccount {
					c.t.Errorf("%+v (%v)", who, err)
				}
			}},
			{recording: "no-account-id-d1-list", args: []string{"d1", "list"}, env: []string{"CLOUDFLARE_ACCOUNT_ID="},
				check: func(c *court, out string) { c.prints(out, recD1) }},
			{recording: "tail", run: (*court).tail, check: func(c *court, out string) {
				var item struct{ ScriptName, Outcome string }
				if err := json.Unmarshal([]byte(out), &item); err != nil || item.Outcome != "exception" || item.ScriptName != "helm-swicked-swicked" {
					c.t.Errorf("tailed %+v (%v)", item, err)
				}
				if n := c.ok("GET", "/accounts/"+recAccount+"/workers/scripts/helm-swicked-swicked/tails", nil).len(""); n != 0 {
					c.t.Errorf("%d tails are left", n)
				}
			}},
		}},
	}
}

// later lets an hour pass, so that what comes next is newer than what was.
func (c *court) later() { c.clock.advance(time.Hour) }

// tail follows a Worker's log until the first item, and interrupts it.
func (c *court) tail(args []string) string {
	c.t.Helper()
	cmd := c.tool.command(c.t, c.dir, c.home, c.w.URL, nil, args...)
	shown, in, err := os.Pipe()
	if err != nil {
		c.t.Fatal(err)
	}
	defer shown.Close()
	var complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = in, &complaints
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	in.Close()
	var first json.RawMessage
	read := make(chan error, 1)
	go func() {
		err := json.NewDecoder(shown).Decode(&first)
		read <- err
		io.Copy(io.Discard, shown)
	}()
	// What happens before wrangler listens is seen by nobody, so it happens until it is seen.
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for heard := false; !heard; {
		select {
		case err = <-read:
			heard = true
		case <-again.C:
			c.w.Invoke(recAccount, "helm-swicked-swicked", "v", "exception", time.Now(), 0)
		}
	}
	// Only the launcher is interrupted, which tells the process that works. Were both of them, as by Ctrl-C, the second signal
	// might come when wrangler has put its handler away, and end it with 130.
	if killed := cmd.Process.Signal(os.Interrupt); killed != nil && err == nil {
		err = killed
	}
	if ended := cmd.Wait(); ended != nil && err == nil {
		err = ended
	}
	if err != nil {
		c.t.Fatalf("wrangler %s: %v\n%s", strings.Join(args, " "), err, complaints.String())
	}
	return string(first)
}
