package sim

import (
	"cmp"
	"context"
	"encoding/json"
	"sort"
	"sync"
	"time"

	"github.com/kvick/shopfleet/internal/d1"
)

// usage is what the stores of an account did: one element per resource, action and minute, in the order of time.
type usage struct {
	Databases []databaseUsage
	KV        []operationUsage
	R2        []operationUsage
}

// databaseUsage is what one database did in one minute. A query is a statement; it writes when it changed something.
type databaseUsage struct {
	Database                                                string // uuid
	Minute                                                  time.Time
	ReadQueries, WriteQueries, RowsRead, RowsWritten, Bytes int64 // Bytes of results
	Duration                                                time.Duration
}

// operationUsage is what one KV namespace or R2 bucket did in one minute.
type operationUsage struct {
	Resource string // namespace id or bucket name
	Action   string // KV: read, write, delete, list; R2: GetObject, HeadObject, PutObject, DeleteObject, ListObjects
	Minute   time.Time
	Requests int64
	Bytes    int64 // of values or contents
}

// keepUsage is how long counts are kept; D1's metrics go back 31 days.
const keepUsage = 31 * 24 * time.Hour

// usageCount counts what the stores do.
type usageCount struct {
	mu     sync.Mutex
	counts map[usageKey]*usageCounts
	oldest int64 // no minute before this one
}

type usageKey struct {
	account, kind, resource, action string
	minute                          int64 // seconds since 1970
}

type usageCounts struct {
	Reads, Writes, RowsRead, RowsWritten, Requests, Bytes int64
	Duration                                              time.Duration
}

func (u *usageCount) add(key usageKey, at time.Time, change func(*usageCounts)) {
	key.minute = at.Truncate(time.Minute).Unix()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.counts == nil {
		u.counts = map[usageKey]*usageCounts{}
	}
	counts := u.counts[key]
	if counts == nil {
		counts = &usageCounts{}
		u.counts[key] = counts
		u.expire(at)
	}
	change(counts)
}

// expire drops what is too old, at most once an hour.
func (u *usageCount) expire(at time.Time) {
	limit := at.Add(-keepUsage).Unix()
	if limit < u.oldest+3600 {
		return
	}
	u.oldest = limit
	for key := range u.counts {
		if key.minute < limit {
			delete(u.counts, key)
		}
	}
}

// queried counts what a batch did to a database.
func (u *usageCount) queried(account, database string, at time.Time, results []d1.Result) {
	u.add(usageKey{account: account, kind: "d1", resource: database}, at, func(c *usageCounts) {
		for _, r := range results {
			if r.Meta.ChangedDB {
				c.Writes++
			} else {
				c.Reads++
			}
			c.RowsRead += r.Meta.RowsRead
			c.RowsWritten += r.Meta.RowsWritten
			c.Duration += r.Meta.Duration
			c.Bytes += resultBytes(r)
		}
	})
}

// imported counts what an import did to a database.
func (u *usageCount) imported(account, database string, at time.Time, done d1.Imported) {
	u.add(usageKey{account: account, kind: "d1", resource: database}, at, func(c *usageCounts) {
		c.Writes += int64(done.Statements)
		c.RowsRead += done.Meta.RowsRead
		c.RowsWritten += done.Meta.RowsWritten
		c.Duration += done.Meta.Duration
	})
}

// resultBytes is about how large a result is on the wire.
func resultBytes(r d1.Result) int64 {
	n := int64(0)
	for _, row := range r.Rows {
		for _, v := range row {
			switch v := v.(type) {
			case string:
				n += int64(len(v))
			case []byte:
				n += int64(len(v))
			default:
				n += 8
			}
		}
	}
	return n
}

// operated counts an operation on a KV namespace or an R2 bucket.
func (u *usageCount) operated(account, kind, resource, action string, at time.Time, requests, bytes int64) {
	u.add(usageKey{account: account, kind: kind, resource: resource, action: action}, at, func(c *usageCounts) {
		c.Requests += requests
		c.Bytes += bytes
	})
}

// usage reports the minutes that begin in [since, until).
func (s *storage) usage(account string, since, until time.Time) usage {
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	var out usage
	for key, c := range s.uses.counts {
		minute := time.Unix(key.minute, 0).UTC()
		if key.account != account || minute.Before(since) || !minute.Before(until) {
			continue
		}
		operation := operationUsage{Resource: key.resource, Action: key.action, Minute: minute, Requests: c.Requests, Bytes: c.Bytes}
		switch key.kind {
		case "d1":
			out.Databases = append(out.Databases, databaseUsage{
				Database: key.resource, Minute: minute, ReadQueries: c.Reads, WriteQueries: c.Writes,
				RowsRead: c.RowsRead, RowsWritten: c.RowsWritten, Bytes: c.Bytes, Duration: c.Duration,
			})
		case "kv":
			out.KV = append(out.KV, operation)
		case "r2":
			out.R2 = append(out.R2, operation)
		}
	}
	sort.Slice(out.Databases, func(i, j int) bool {
		return cmp.Or(out.Databases[i].Minute.Compare(out.Databases[j].Minute), cmp.Compare(out.Databases[i].Database, out.Databases[j].Database)) < 0
	})
	for _, list := range [][]operationUsage{out.KV, out.R2} {
		sort.Slice(list, func(i, j int) bool {
			return cmp.Or(list[i].Minute.Compare(list[j].Minute), cmp.Compare(list[i].Resource, list[j].Resource), cmp.Compare(list[i].Action, list[j].Action)) < 0
		})
	}
	return out
}

// saveUsage keeps the counts for the next time. A killed process loses those of its run: they are for looking at.
func (s *storage) saveUsage() error {
	if s.dir == "" {
		return nil
	}
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	queries := []d1.Query{{SQL: "DELETE FROM usage"}}
	for key, c := range s.uses.counts {
		counts, err := json.Marshal(c)
		if err != nil {
			return err
		}
		queries = append(queries, d1.Query{
			SQL:    "INSERT INTO usage VALUES(?, ?, ?, ?, ?, ?)",
			Params: []any{key.account, key.kind, key.resource, key.action, key.minute, string(counts)},
		})
	}
	return s.exec(context.Background(), queries...)
}

func (s *storage) loadUsage() error {
	rows, err := s.rows(context.Background(), "SELECT account, kind, resource, action, minute, counts FROM usage")
	if err != nil {
		return err
	}
	s.uses.counts = map[usageKey]*usageCounts{}
	for _, r := range rows {
		counts := &usageCounts{}
		if err := json.Unmarshal([]byte(r[5].(string)), counts); err != nil {
			return err
		}
		key := usageKey{r[0].(string), r[1].(string), r[2].(string), r[3].(string), r[4].(int64)}
		s.uses.counts[key] = counts
	}
	return nil
}
