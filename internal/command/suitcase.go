package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/d1"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/transfer"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// suitcase is where a shop keeps its data, after the account has agreed that all of it is the shop's own. Of src it needs
// what configOf gives. fresh are the shop's migrations, where what they make of a database is to count as empty.
func (d *Door) suitcase(ctx context.Context, policy *fleet.Policy, src deploy.Source, e *deploy.Engine, fresh []wrangler.Migration) (transfer.Shop, error) {
	stores, err := deploy.StoresOf(src)
	if err != nil {
		return transfer.Shop{}, err
	}
	if err := e.AdmitStores(ctx, src.Shop, policy.Identity, &stores); err != nil {
		return transfer.Shop{}, err
	}
	s := transfer.Shop{
		CF: e.CF, Slug: src.Shop.Slug, Bucket: stores.Bucket, Jurisdiction: stores.Jurisdiction, Namespace: stores.Namespace,
		Database: transfer.Database{ID: stores.Database.DatabaseID, Name: stores.Database.DatabaseName},
		Ledger:   transfer.Ledger{Tables: []string{stores.Database.MigrationsTable, deploy.ChecksumTable}, Own: []string{fleet.IdentityTable}},
		Identity: transfer.Identity{Key: policy.Identity.Key}, Now: d.Now,
	}
	if policy.Identity.Table != fleet.IdentityTable {
		s.Identity.Table = policy.Identity.Table
	}
	for _, m := range fresh {
		s.Fresh = append(s.Fresh, d1.Migration{Name: m.Name, Path: m.Name, SQL: m.SQL})
	}
	return s, nil
}

// isFolder says whether a place of backups is a folder by the way it is written.
func isFolder(place string) bool {
	return strings.ContainsAny(place, `/\`) || place == "." || place == ".."
}

// place opens where backups are kept: a name from backups: of fleet.yml, or a folder.
func (d *Door) place(policy *fleet.Policy, place string, readOnly bool) (transfer.Store, error) {
	if isFolder(place) {
		return transfer.Folder{Dir: d.path(place)}, nil
	}
	var names []string
	for _, b := range policy.Backups {
		names = append(names, b.Name)
		if b.Name != place {
			continue
		}
		account := fleet.Account{ID: b.Account, Name: "of the backups " + b.Name, Token: b.Token}
		engines, err := d.engines([]fleet.Account{account}, readOnly, nil)
		if err != nil {
			return nil, err
		}
		return transfer.Bucket{CF: engines[b.Account].CF, Name: b.Bucket, Prefix: b.Prefix}, nil
	}
	if info, err := os.Stat(d.path(place)); err == nil && info.IsDir() {
		return transfer.Folder{Dir: d.path(place)}, nil
	}
	hint := "write ./" + place + " if a folder is meant"
	if len(names) > 0 {
		slices.Sort(names)
		hint = "there are " + strings.Join(names, ", ") + "; " + hint
	}
	return nil, Usage(fmt.Errorf("fleet.yml has no backups by the name of %s", place), hint)
}

// placeAlone is place for who needs no shop: a folder can be read where there is no repository. c is nil then.
func (d *Door) placeAlone(ctx context.Context, place string, f policyFlags, readOnly bool) (store transfer.Store, c *checkout, err error) {
	if place == "" {
		return nil, nil, Usage(errors.New("--from is needed"), "name a folder (./backups), or one of the backups of fleet.yml")
	}
	if info, err := os.Stat(d.path(place)); isFolder(place) || err == nil && info.IsDir() {
		if _, err := os.Stat(d.path(place)); err != nil {
			return nil, nil, Usage(fmt.Errorf("there is no folder %s", filepath.Clean(place)), "name the folder that backups were written to")
		}
		return transfer.Folder{Dir: d.path(place)}, nil, nil
	}
	if c, err = d.open(ctx, f); err != nil {
		return nil, nil, err
	}
	if store, err = d.place(c.policy, place, readOnly); err != nil {
		return nil, nil, errors.Join(err, c.close())
	}
	return store, c, nil
}
