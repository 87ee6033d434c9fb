package main

import (
	"context"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/sim"
)

// cmdMake makes something in the account, as somebody with the dashboard would.
func cmdMake(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: make d1 NAME [SQL] | kv TITLE | r2 NAME | dns HOSTNAME CONTENT | route PATTERN WORKER")
	}
	cf, ctx := scriptClient(ts), context.Background()
	zone := func(host string) string {
		zones, err := cf.Zones(ctx, "")
		ts.Check(err)
		for _, z := range zones {
			if strings.HasSuffix(host, "."+z.Name) {
				return z.ID
			}
		}
		ts.Fatalf("no zone has %s", host)
		return ""
	}
	switch args[0] {
	case "d1":
		db, err := cf.CreateD1(ctx, cloudflare.D1Database{Name: args[1]})
		ts.Check(err)
		if len(args) > 2 {
			_, err = cf.D1Exec(ctx, db.ID, args[2])
			ts.Check(err)
		}
	case "kv":
		_, err := cf.CreateKVNamespace(ctx, args[1])
		ts.Check(err)
	case "r2":
		ts.Check(cf.CreateR2Bucket(ctx, cloudflare.R2Bucket{Name: args[1]}))
	case "dns":
		_, err := cf.CreateDNSRecord(ctx, zone(args[1]), cloudflare.DNSRecord{Type: "A", Name: args[1], Content: args[2], Proxied: true})
		ts.Check(err)
	case "route":
		host, _, _ := strings.Cut(args[1], "/")
		_, err := cf.CreateRoute(ctx, zone(host), args[1], args[2])
		ts.Check(err)
	default:
		ts.Fatalf("make knows no %s", args[0])
	}
}

// cmdToken lets a token in that has only these permissions.
func cmdToken(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: token VALUE PERMISSION...")
	}
	ts.Check(scriptWorld(ts).AddToken(sim.Token{Value: args[0], Name: args[0], Permissions: args[1:]}))
}
