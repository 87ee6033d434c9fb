package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// storesOf are a shop's namespace and bucket, by their names.
func storesOf(ts *testscript.TestScript, slug string) (namespace, bucket string) {
	cf, ctx := scriptClient(ts), context.Background()
	namespaces, err := cf.KVNamespaces(ctx)
	ts.Check(err)
	for _, n := range namespaces {
		if strings.Contains(n.Title, "-"+slug) {
			namespace = n.ID
		}
	}
	buckets, err := cf.R2Buckets(ctx, "")
	ts.Check(err)
	for _, b := range buckets {
		if strings.Contains(b.Name, "-"+slug) {
			bucket = b.Name
		}
	}
	if namespace == "" || bucket == "" {
		ts.Fatalf("shop %s has no stores", slug)
	}
	return namespace, bucket
}

func cmdStock(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 5 {
		ts.Fatalf("usage: stock SHOP KEY VALUE OBJECT CONTENT")
	}
	namespace, bucket := storesOf(ts, args[0])
	cf, ctx := scriptClient(ts), context.Background()
	ts.Check(errors.Join(cf.PutKVValue(ctx, namespace, args[1], args[2]), cf.PutR2Object(ctx, bucket, "", args[3], []byte(args[4]))))
}

func cmdKept(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 5 {
		ts.Fatalf("usage: kept SHOP KEY VALUE OBJECT CONTENT")
	}
	namespace, bucket := storesOf(ts, args[0])
	cf, ctx := scriptClient(ts), context.Background()
	value, err := cf.KVValue(ctx, namespace, args[1])
	ts.Check(err)
	object, err := cf.R2Object(ctx, bucket, "", args[3])
	ts.Check(err)
	if value != args[2] || string(object) != args[4] {
		ts.Fatalf("shop %s has %q and %q", args[0], value, object)
	}
}

func cmdEmpty(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: empty SHOP")
	}
	_, bucket := storesOf(ts, args[0])
	cf, ctx := scriptClient(ts), context.Background()
	list, err := cf.R2Objects(ctx, bucket, "", "")
	ts.Check(err)
	for _, o := range list {
		ts.Check(cf.DeleteR2Object(ctx, bucket, "", o.Key))
	}
}

func cmdBucket(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: bucket ACCOUNT NAME")
	}
	a, err := scriptWorld(ts).World.Account(args[0], "backups")
	ts.Check(err)
	ts.Check(a.AddR2(args[1]))
}

func cmdDamage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: damage DIR")
	}
	done := errors.New("done")
	err := filepath.WalkDir(ts.MkAbs(args[0]), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile(path, append(text, 'x'), 0o600), done)
	})
	if !errors.Is(err, done) {
		ts.Fatalf("nothing to damage: %v", err)
	}
}
