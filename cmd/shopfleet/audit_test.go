package main

import (
	"bytes"
	"context"
	"fmt"
	"mime/multipart"
	"net/textproto"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kvick/shopfleet/internal/cloudflare"
)

// TestAuditByHand runs the first steps of docs/audit.md.
func TestAuditByHand(t *testing.T) {
	byHand(t, "docs/audit.md", "## Try it", 1, "store-exposed (1)", "is reached by a Worker of no shop: reports as DB", "<!doctype html>")
}

// scriptAccount is a client of the script's account.
func scriptAccount(ts *testscript.TestScript) *cloudflare.Client {
	return &cloudflare.Client{BaseURL: ts.Getenv("CLOUDFLARE_API_BASE_URL"), AccountID: ts.Getenv("CLOUDFLARE_ACCOUNT_ID"), Token: demoToken}
}

func cmdReader(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: reader WORKER SHOP")
	}
	cf, ctx := scriptAccount(ts), context.Background()
	databases, err := cf.D1Databases(ctx, "")
	ts.Check(err)
	for _, db := range databases {
		if !strings.Contains(db.Name, "-"+args[1]) {
			continue
		}
		var b bytes.Buffer
		form := multipart.NewWriter(&b)
		ts.Check(form.WriteField("metadata", fmt.Sprintf(`{"main_module":"index.js","compatibility_date":"2026-06-01","bindings":[{"type":"d1","name":"DB","id":%q}]}`, db.ID)))
		part, err := form.CreatePart(textproto.MIMEHeader{"Content-Disposition": {`form-data; name="index.js"; filename="index.js"`}, "Content-Type": {"application/javascript+module"}})
		ts.Check(err)
		_, err = part.Write([]byte("export default { fetch() { return new Response('all of it') } }"))
		ts.Check(err)
		ts.Check(form.Close())
		_, err = cf.PutWorker(ctx, args[0], form.FormDataContentType(), b.Bytes())
		ts.Check(err)
		return
	}
	ts.Fatalf("shop %s has no database", args[1])
}

// cmdLose deletes a shop's database and namespace behind its back.
func cmdLose(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: lose SHOP")
	}
	cf, ctx, lost := scriptAccount(ts), context.Background(), 0
	databases, err := cf.D1Databases(ctx, "helm-"+args[0]+"-db")
	ts.Check(err)
	for _, d := range databases {
		ts.Check(cf.DeleteD1(ctx, d.ID))
		lost++
	}
	spaces, err := cf.KVNamespaces(ctx)
	ts.Check(err)
	for _, n := range spaces {
		if n.Title == "helm-"+args[0]+"-kv" {
			ts.Check(cf.DeleteKVNamespace(ctx, n.ID))
			lost++
		}
	}
	if lost != 2 {
		ts.Fatalf("%d stores of %s were there, not 2", lost, args[0])
	}
}

func cmdRemove(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: remove WORKER")
	}
	ts.Check(scriptAccount(ts).DeleteWorker(context.Background(), args[0]))
}
