package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// OwnStores are the stores that hold what a shop keeps: its own by name, of those that its config binds.
type OwnStores struct {
	Database     wrangler.D1Database
	Bucket       string // "" has none
	Jurisdiction string // of the bucket
	Namespace    string // id; "" has none. AdmitStores finds it among those that are bound
	namespaces   []string
}

// StoresOf resolves the config of a shop's commit, as OwnDatabase does, and finds its own stores. A database it must have.
func StoresOf(src Source) (OwnStores, error) {
	db, err := OwnDatabase(src)
	if err != nil {
		return OwnStores{}, err
	}
	config, err := resolve(src)
	if err != nil {
		return OwnStores{}, err
	}
	out := OwnStores{Database: db}
	for _, b := range config.Bindings {
		switch id := b.Field("namespace_id"); {
		case b.Type == "r2_bucket" && b.Field("bucket_name") == src.Shop.R2 && src.Shop.R2 != "":
			out.Bucket, out.Jurisdiction = src.Shop.R2, b.Field("jurisdiction")
		case b.Type == "kv_namespace" && id != "":
			out.namespaces = append(out.namespaces, id)
		}
	}
	return out, nil
}

// AdmitStores makes sure that stores are the shop's own in the account too, by name, and by what tags and records say, and
// finds out which of the namespaces has the shop's title. The error is Findings when one is not the shop's.
func (e *Engine) AdmitStores(ctx context.Context, shop fleet.Shop, where fleet.Identity, s *OwnStores) error {
	if err := e.findNamespace(ctx, shop, s); err != nil {
		return err
	}
	var mu sync.Mutex
	var found Findings
	report := func(f Finding) {
		mu.Lock()
		defer mu.Unlock()
		f.Level = LevelError
		found = append(found, f)
	}
	stores := []Store{{Kind: kindD1, ID: s.Database.DatabaseID}}
	records := &records{cf: e.CF, shop: shop.Slug, where: where, found: map[string]string{}}
	var owners map[string]string
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := e.AdmitDatabase(gctx, shop, s.Database.DatabaseID)
		var findings Findings
		if errors.As(err, &findings) {
			for _, f := range findings {
				report(f)
			}
			return nil
		}
		return err
	})
	if s.Namespace != "" {
		stores = append(stores, Store{Kind: kindKV, ID: s.Namespace})
	}
	if s.Bucket != "" {
		stores = append(stores, Store{Kind: kindR2, ID: s.Bucket, Jurisdiction: s.Jurisdiction})
		group.Go(func() error {
			_, err := e.CF.R2Bucket(gctx, s.Bucket, s.Jurisdiction)
			if errors.Is(err, cloudflare.ErrNotFound) {
				report(Finding{Rule: "r2-unknown", Message: fmt.Sprintf("account %s has no R2 bucket %s", shop.Account.Name, s.Bucket), Expected: s.Bucket, Hint: "shopfleet onboard " + shop.Slug + " makes what is missing"})
				return nil
			}
			return doing(err, "reading the bucket "+s.Bucket)
		})
	}
	group.Go(func() (err error) {
		owners, err = readOwners(gctx, e.CF)
		return err
	})
	for _, store := range stores {
		group.Go(func() error { return records.read(gctx, store) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, store := range stores {
		for _, says := range []string{owners[store.key()], records.found[store.key()]} {
			if says = strings.TrimSpace(says); says != "" && says != shop.Slug {
				report(Finding{Rule: ruleOwnerMismatch, Message: fmt.Sprintf("%s %s says that it is shop %s's, and would be shop %s's", word(store.Kind), store.ID, excerpt(says), shop.Slug),
					Expected: "what is " + shop.Slug + "'s own", Hint: "stop and find out whose it is: one shop could read another's data; no flag lets this pass"})
			}
		}
	}
	if len(found) > 0 {
		return found.sorted()
	}
	return nil
}

func (e *Engine) findNamespace(ctx context.Context, shop fleet.Shop, s *OwnStores) error {
	if len(s.namespaces) == 0 {
		return nil
	}
	list, err := e.CF.KVNamespaces(ctx)
	if err != nil {
		return fmt.Errorf("listing the KV namespaces of account %s: %w", shop.Account.Name, err)
	}
	for _, n := range list {
		if n.Title == shop.KV && slices.Contains(s.namespaces, n.ID) {
			s.Namespace = n.ID
			return nil
		}
	}
	return Findings{{Rule: "restore-not-owned", Level: LevelError, Message: fmt.Sprintf("none of the KV namespaces that shop %s binds is titled %s in account %s: %s", shop.Slug, shop.KV, shop.Account.Name, strings.Join(s.namespaces, ", ")),
		Expected: "the id of " + shop.KV, Hint: "write the id of the shop's own namespace into the overlay; shopfleet reads and fills no other"}}
}
