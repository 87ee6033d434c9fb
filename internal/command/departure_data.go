package command

// The data of a shop that leaves: its export, and the copy that it gets in another account.

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/provision"
	"github.com/kvick/shopfleet/internal/transfer"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// stores are where the shop's data is in an account that was looked at. What another shop's tag is on is neither read nor
// written.
func (x *departure) stores(shop fleet.Shop, have *provision.Account) (transfer.Shop, error) {
	if list := deploy.Findings(provision.PlanDelete(shop, have).Findings); list.Blocking() {
		return transfer.Shop{}, list
	}
	cf, err := x.client(shop.Account)
	if err != nil {
		return transfer.Shop{}, err
	}
	s := transfer.Shop{CF: cf, Slug: shop.Slug, Now: x.door.Now}
	for _, db := range have.Databases {
		if db.Name == shop.D1 {
			s.Database = transfer.Database{ID: db.ID, Name: db.Name}
		}
	}
	for _, n := range have.Namespaces {
		if n.Title == shop.KV {
			s.Namespace = n.ID
		}
	}
	for _, b := range have.Buckets {
		if b.Name == shop.R2 {
			s.Bucket, s.Jurisdiction = b.Name, b.Jurisdiction
		}
	}
	table := defaultLedger
	if p, err := wrangler.Parse("", configFile, x.config); err == nil {
		var list []struct {
			Name  string `json:"database_name"`
			Table string `json:"migrations_table"`
		}
		if json.Unmarshal(p.Value("env", x.slug, "d1_databases"), &list) == nil {
			for _, db := range list {
				if db.Name == shop.D1 {
					table = cmp.Or(db.Table, table)
				}
			}
		}
	}
	s.Ledger = transfer.Ledger{Tables: []string{table, deploy.ChecksumTable}, Own: []string{fleet.IdentityTable}}
	s.Identity.Key = x.c.policy.Identity.Key
	if t := x.c.policy.Identity.Table; t != fleet.IdentityTable {
		s.Identity.Table = t
	}
	return s, nil
}

// place is where the export is kept: the place of fleet.yml that is named, a folder, or the only place that fleet.yml has.
func (x *departure) place(to string) (store transfer.Store, name string, err error) {
	policy, d := x.c.policy, x.door
	if to == "" && len(policy.Backups) == 1 {
		to = policy.Backups[0].Name
	}
	if to == "" {
		return nil, "", Usage(errors.New("nobody says where the export of the shop goes"), "give --to a folder, or the name of a place in backups of "+policyFile)
	}
	store, err = d.place(policy, to, false)
	if slices.ContainsFunc(policy.Backups, func(b fleet.BackupStore) bool { return b.Name == to }) {
		name = to
	}
	return store, name, err
}

// export packs everything that the shop keeps, and verifies what was packed.
func (x *departure) export(ctx context.Context, l leaving) (*export, error) {
	shop, err := x.shopOn(l.Account)
	if err != nil {
		return nil, err
	}
	named := x.to
	if named == "" && l.Backup != nil {
		named = l.Backup.Store
	}
	store, name, err := x.place(named)
	if err != nil {
		return nil, err
	}
	have, err := x.look(ctx, shop)
	if err != nil {
		return nil, err
	}
	from, err := x.stores(shop, have)
	if err != nil {
		return nil, err
	}
	now := x.door.Now().UTC().Truncate(time.Second)
	taken, err := transfer.Backups(ctx, store, x.slug)
	if err != nil {
		return nil, err
	}
	if n := len(taken); n > 0 && !now.After(taken[n-1].At) {
		now = taken[n-1].At.Add(time.Second) // they are named by the second
	}
	m, err := transfer.Backup(ctx, from, store, transfer.Manifest{At: now, Commit: x.tip, Account: shop.Account.ID, Tool: "shopfleet " + x.door.Version}, x.telling())
	if err != nil {
		return nil, err
	}
	digest, err := digestOf(m)
	return &export{Store: name, At: m.Stamp(), Digest: digest}, err
}

// verify reads the whole export again.
func (x *departure) verify(ctx context.Context, e export) error {
	named := x.to
	if named == "" {
		named = e.Store
	}
	if named == "" {
		return Usage(errors.New("the export lies in a folder, and nobody says in which one"), "give --to the folder again: before anything is deleted the export is read once more")
	}
	store, _, err := x.place(named)
	if err != nil {
		return err
	}
	m, err := transfer.FindBackup(ctx, store, x.slug, e.At)
	if err != nil {
		return err
	}
	digest, err := digestOf(m)
	if err != nil {
		return err
	}
	if m.Stamp() != e.At || digest != e.Digest {
		return refuse("export-changed", fmt.Sprintf("the export of %s is not the one that was made when the shop was closed", e.At),
			"look for manifest sha256 "+e.Digest+"; without it, --cancel opens the shop again and offboard exports it anew")
	}
	_, err = transfer.Verify(ctx, store, m, "", x.telling())
	return err
}

// digestOf is what a manifest is known by.
func digestOf(m *transfer.Manifest) (string, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("reading the manifest: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// telling is progress of long work with data: on a terminal all of it, elsewhere what is begun.
func (x *departure) telling() transfer.Progress {
	m := x.door.newMeter(x.slug)
	return m.tell
}

// copyable says what the copy will refuse, while the shop still answers.
func (x *departure) copyable(ctx context.Context, l leaving) error {
	home, err := x.residence(ctx, l.Account)
	if err != nil || home.stores.Bucket == "" {
		return err
	}
	from := home.stores
	list, err := from.CF.R2Objects(ctx, from.Bucket, from.Jurisdiction, "")
	if err != nil {
		return err
	}
	var large, closed []string
	for _, o := range list {
		if o.Size > cloudflare.MaxR2Upload && !x.largeCopied {
			large = append(large, o.Key)
		}
		if o.Encrypted {
			closed = append(closed, o.Key)
		}
	}
	var found deploy.Findings
	if len(large) > 0 {
		found = append(found, deploy.Finding{Rule: "object-too-large", Level: deploy.LevelError,
			Message: fmt.Sprintf("bucket %s: %s larger than the %d MB that Cloudflare's REST API takes, such as %q", from.Bucket, counted(len(large), "object"), cloudflare.MaxR2Upload>>20, large[0]),
			Hint:    "copy them over R2's S3 API into the new bucket (docs/backup.md), and run the command with --large-copied"})
	}
	if len(closed) > 0 {
		found = append(found, deploy.Finding{Rule: "object-encrypted", Level: deploy.LevelError,
			Message: fmt.Sprintf("bucket %s: %s encrypted with keys of their own, such as %q", from.Bucket, counted(len(closed), "object"), closed[0]),
			Hint:    "have the program that knows the key write them without it"})
	}
	if found != nil {
		return found
	}
	return nil
}

// copy brings the data into the new account, and compares.
func (x *departure) copy(ctx context.Context, l leaving) error {
	from, err := x.residence(ctx, l.Account)
	if err != nil {
		return err
	}
	into, err := x.residence(ctx, l.To)
	if err != nil {
		return err
	}
	copied, err := transfer.Copy(ctx, from.stores, into.stores, "", x.telling())
	if err != nil {
		return err
	}
	rows := int64(0)
	for _, t := range copied.Tables {
		rows += t.Rows
	}
	x.page.Copied = append(x.page.Copied, fmt.Sprintf("%s in %s, %s, %s: counted and compared", counted(int(rows), "row"), counted(len(copied.Tables), "table"), counted(copied.Keys, "key"), counted(copied.Objects, "object")))
	return nil
}
