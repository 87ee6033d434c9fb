package deploy

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// This file is for those who only want to see where a shop stands: one question each, and nothing of it is a proof.

// Looked is what a shop's hostname answered to one GET.
type Looked struct {
	URL    string
	Status int           // 0 where there was no answer
	Took   time.Duration // until the answer was there
	Reason string        // why it is not as the policy wants it; "" when it is
}

// Look asks a hostname once whether it answers as the policy wants, like the gate's first question. Where the policy names no
// path the top of the site is asked, and every answer below 500 is well. The error is the context's.
func (g *Gate) Look(ctx context.Context, hostname string, policy fleet.Gate) (Looked, error) {
	path := policy.Path
	if path == "" {
		path = "/"
	}
	begun := time.Now()
	at, _, status, err := g.get(ctx, hostname, path)
	out := Looked{URL: at, Status: status, Took: time.Since(begun)}
	switch {
	case ctx.Err() != nil:
		return out, ctx.Err()
	case err != nil:
		out.Reason = err.Error()
	case policy.Path == "" && status >= 500:
		out.Reason = fmt.Sprintf("it answered %d", status)
	case policy.Path != "" && status != policy.Status:
		out.Reason = fmt.Sprintf("it answered %d, the policy wants %d", status, policy.Status)
	}
	return out, nil
}

// Ledger are the names of the migrations that a database has, in the order in which they were applied; none where it was
// never migrated. One call.
func (e *Engine) Ledger(ctx context.Context, db wrangler.D1Database) ([]string, error) {
	rows, err := e.CF.D1Read(ctx, db.DatabaseID, ledgerQuery(db.MigrationsTable))
	if err == nil {
		var state Database
		state, err = decodeDatabase(rows)
		return state.Ledger, doing(err, "reading the migrations of "+db.DatabaseName)
	}
	if strings.Contains(refusalText(err), "no such table") {
		return nil, nil
	}
	return nil, fmt.Errorf("reading the migrations of %s: %w", db.DatabaseName, err)
}

// Commit is the one that the live release says it was made of; "" where it does not say, as for one of somebody else.
func (l Live) Commit() string {
	m, ok := parseMemo(l.Message)
	if !ok || m.mark != l.Mark {
		return ""
	}
	return m.commit
}

// Ours says that shopfleet released what is live.
func (l Live) Ours() bool {
	m, ok := parseMemo(l.Message)
	return ok && m.mark == l.Mark
}
