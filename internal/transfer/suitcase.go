package transfer

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/d1"
)

// A suitcase is everything that a shop keeps: the rows of its D1, the keys of its KV and the objects of its R2. Backup
// packs one into a Store, RestoreInto unpacks it into stores that are empty, and Copy does both without a Store between.
// Its branch, its config and its secrets are no part of it: they lie in git, and with whoever keeps the secrets.

// Shop is where a shop's data is: the stores of one account. Set the fields before use.
type Shop struct {
	CF           *cloudflare.Client
	Slug         string
	Database     Database // without an ID there is none
	Bucket       string   // R2; "" has none
	Jurisdiction string   // of the bucket; "" is the default one
	Namespace    string   // KV id; "" has none
	// Ledger names the tables that note migrations, and those that say whose a database is (Own).
	Ledger Ledger
	// Identity is where each store says whose it is. That is never carried to another store.
	Identity Identity
	// Fresh are the shop's migrations. A database that holds exactly what they make counts as empty: what a shop has that was
	// just onboarded. Nil lets only a database without tables count.
	Fresh []d1.Migration
	// Now tells which keys have expired since they were packed; nil takes none for expired.
	Now func() time.Time
	// Sleep waits before something is looked at or tried again; nil sleeps for real and stops early with ctx.
	Sleep func(ctx context.Context, d time.Duration) error
	// TempDir is where things lie on their way; "" is the system's. It needs room for the database and a few objects.
	TempDir string
}

// Identity says where a shop's stores keep whose they are.
type Identity struct {
	Key string // of the KV key, the R2 object, and the row in Table; "" has none
	// Table is the product's own, with columns key and value, when the record is a row among others there: all of its rows
	// but that one are data. "" when shopfleet's table has it, which Ledger.Own names.
	Table string
}

func (s Shop) sleep(ctx context.Context, d time.Duration) error {
	return (&Bootstrap{Sleep: s.Sleep}).sleep(ctx, d)
}

// ledger is how the shop's database is dumped and compared.
func (s Shop) ledger() Ledger { return Ledger{Tables: s.Ledger.Tables, Own: s.Ledger.Own} }

// Restored is what came back.
type Restored struct {
	Backup string       `json:"backup"` // the time of the backup, as folders are named
	Of     string       `json:"of"`     // the shop that it is of
	Tables []Comparison `json:"tables,omitempty"`
	Keys   int          `json:"keys"`
	// Expired are keys that were left out because their time has come.
	Expired int   `json:"keys_expired,omitempty"`
	Objects int   `json:"objects"`
	Bytes   int64 `json:"object_bytes"`
	// Known are objects that an earlier run had brought already.
	Known int          `json:"objects_known,omitempty"`
	Notes []d1.Finding `json:"notes,omitempty"`
}

// Copied is what was copied and compared.
type Copied struct {
	Tables  []Comparison `json:"tables,omitempty"`
	Keys    int          `json:"keys"`
	Objects int          `json:"objects"`
	Bytes   int64        `json:"object_bytes"`
	// Known are objects that an earlier run had copied already.
	Known int          `json:"objects_known,omitempty"`
	Notes []d1.Finding `json:"notes,omitempty"`
}

// manyAtOnce is how many objects, or hundreds of keys, are on their way at once. The client's budget keeps the pace.
const manyAtOnce = 8

// counter tells progress that several goroutines make.
type counter struct {
	mu          sync.Mutex
	p           Progress
	doing       string
	done, total int64
}

func (c *counter) add(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done += n
	c.p.tell(c.doing, c.done, c.total)
}

// firstOf names a few of many.
func firstOf(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	return someOf(quoted)
}

// isMD5 says whether an ETag is the MD5 of the content: that of an object that was uploaded in parts is not.
func isMD5(etag string) bool {
	return len(etag) == 32 && strings.Trim(etag, "0123456789abcdef") == ""
}
