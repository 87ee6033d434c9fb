package main

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kvick/shopfleet/internal/sim"
)

// TestCostByHand runs the first steps of docs/cost.md.
func TestCostByHand(t *testing.T) {
	byHand(t, "docs/cost.md", "## Try it", 1, "over-budget", "Worker $", "<!doctype html>")
}

// cmdUsage has analytics say that something was used again and again: from and until are how long ago.
func cmdUsage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: usage FROM UNTIL STEP JSON")
	}
	var span [3]time.Duration
	for i := range span {
		d, err := time.ParseDuration(args[i])
		ts.Check(err)
		span[i] = d
	}
	var u sim.Usage
	ts.Check(json.Unmarshal([]byte(args[3]), &u))
	cf, ctx := scriptAccount(ts), context.Background()
	databases, err := cf.D1Databases(ctx, "")
	ts.Check(err)
	for _, db := range databases {
		if db.Name == u.Database {
			u.Database = db.ID
		}
	}
	namespaces, err := cf.KVNamespaces(ctx)
	ts.Check(err)
	for _, n := range namespaces {
		if n.Title == u.Namespace {
			u.Namespace = n.ID
		}
	}
	now := time.Now()
	var list []sim.Usage
	for ago := span[0]; ago >= span[1]; ago -= span[2] {
		u.At = now.Add(-ago)
		list = append(list, u)
	}
	ts.Check(scriptWorld(ts).Plant(ts.Getenv("CLOUDFLARE_ACCOUNT_ID"), list...))
}

// cmdWithhold takes a dataset from the account's analytics.
func cmdWithhold(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: withhold DATASET")
	}
	scriptWorld(ts).Withhold(ts.Getenv("CLOUDFLARE_ACCOUNT_ID"), args[0])
}
