package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/command"
)

// cmdAccount gives the world another account, with a zone of its own.
func cmdAccount(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: account NAME ID ZONE")
	}
	a, err := scriptWorld(ts).World.Account(args[1], args[0])
	ts.Check(err)
	ts.Check(a.AddZone(args[2], ""))
	ts.Check(a.SetSubdomain(args[0]))
}

// cmdHas prints what an account has: a line for each Worker, database, namespace, bucket, route, domain and DNS record.
func cmdHas(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: has ACCOUNT-ID")
	}
	cf := &cloudflare.Client{BaseURL: ts.Getenv("CLOUDFLARE_API_BASE_URL"), AccountID: args[0], Token: scriptToken}
	ctx := context.Background()
	say := func(format string, a ...any) {
		_, err := fmt.Fprintf(ts.Stdout(), format+"\n", a...)
		ts.Check(err)
	}
	say("in account %s:", args[0])
	workers, err := cf.Workers(ctx)
	ts.Check(err)
	for _, w := range workers {
		crons, err := cf.Schedules(ctx, w.Name)
		ts.Check(err)
		say("worker %s, %d crons", w.Name, len(crons))
	}
	databases, err := cf.D1Databases(ctx, "")
	ts.Check(err)
	for _, d := range databases {
		say("d1 %s %s", d.Name, d.ID)
	}
	namespaces, err := cf.KVNamespaces(ctx)
	ts.Check(err)
	for _, n := range namespaces {
		say("kv %s %s", n.Title, n.ID)
	}
	buckets, err := cf.R2Buckets(ctx, "")
	ts.Check(err)
	for _, b := range buckets {
		say("r2 %s", b.Name)
		objects, err := cf.R2Objects(ctx, b.Name, "", "")
		ts.Check(err)
		for _, o := range objects {
			say("r2 %s has %s", b.Name, o.Key)
		}
	}
	domains, err := cf.Domains(ctx, cloudflare.DomainFilter{})
	ts.Check(err)
	for _, d := range domains {
		say("domain %s of %s", d.Hostname, d.Service)
	}
	zones, err := cf.Zones(ctx, "")
	ts.Check(err)
	for _, z := range zones {
		routes, err := cf.ZoneRoutes(ctx, z.ID)
		ts.Check(err)
		for _, r := range routes {
			say("route %s of %s", r.Pattern, r.Script)
		}
	}
}

// cmdTyped runs shopfleet at a terminal, where somebody types a line.
func cmdTyped(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: typed CODE LINE ARG...")
	}
	door := &command.Door{
		Args: args[2:], Getenv: ts.Getenv, Stdin: strings.NewReader(args[1] + "\n"), Stdout: ts.Stdout(), Stderr: ts.Stderr(), Dir: ts.MkAbs("."),
		Now: time.Now, Asks: true, Transport: cloudflare.LoopbackOnly(http.DefaultTransport),
	}
	if code := strconv.Itoa(command.Run(context.Background(), door)); code != args[0] {
		ts.Fatalf("it ended with %s, want %s", code, args[0])
	}
}
