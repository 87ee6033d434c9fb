package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/sim"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// past is a shop's database whose world has a clock that the test moves.
type past struct {
	*stage
	shop fleet.Shop
	e    *deploy.Engine

	mu    sync.Mutex
	clock time.Time
}

// tables are those that a test's database begins with: every way of noting the time, and ways to have no such column.
const tables = `
CREATE TABLE sales (id INTEGER PRIMARY KEY, sold_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')), cents INTEGER);
CREATE TABLE items (id INTEGER PRIMARY KEY, sale_id INTEGER NOT NULL REFERENCES sales (id));
CREATE TABLE notes (id INTEGER PRIMARY KEY, item_id INTEGER NOT NULL REFERENCES items);
CREATE TABLE orders (id INTEGER PRIMARY KEY, created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE "odd ""table" (id INTEGER PRIMARY KEY, "made at" INTEGER DEFAULT (unixepoch() * 1000));
CREATE TABLE settings (id INTEGER PRIMARY KEY, updated_at INTEGER NOT NULL DEFAULT (unixepoch()));
CREATE TABLE days (id INTEGER PRIMARY KEY, day TEXT DEFAULT CURRENT_DATE);
CREATE TABLE colors (id INTEGER PRIMARY KEY, name TEXT);
CREATE VIRTUAL TABLE search USING fts5 (words);
CREATE TABLE d1_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL);
`

func newPast(t testing.TB) *past {
	t.Helper()
	p := &past{clock: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)}
	p.stage = newStageIn(t, sim.Options{KeepBodies: true, Now: p.now})
	shop, err := p.policy.Shop("swicked")
	p.must(err)
	p.shop, p.e = shop, p.engine()
	p.e.Now = p.now
	p.pass(time.Minute)
	p.sql(tables)
	p.pass(time.Minute)
	return p
}

func (p *past) now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.clock
}

func (p *past) pass(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock = p.clock.Add(d)
}

// sql runs SQL with the world's time where the SQL says NOW: SQLite's own clock cannot be moved.
func (p *past) sql(text string) {
	p.t.Helper()
	text = strings.ReplaceAll(text, "NOW", "'"+p.now().UTC().Format("2006-01-02 15:04:05.000")+"'")
	if _, err := p.cf().D1Exec(context.Background(), swickedDB, text); err != nil {
		p.t.Fatalf("%s: %v", text, err)
	}
}

func (p *past) bookmark() string {
	p.t.Helper()
	b, err := p.cf().D1Bookmark(context.Background(), swickedDB, time.Time{})
	p.must(err)
	return b
}

func (p *past) want(target deploy.RestoreTarget) deploy.RestoreWant {
	return deploy.RestoreWant{Shop: p.shop, Target: target, Database: wrangler.D1Database{DatabaseName: "kvick-helm-swicked", DatabaseID: swickedDB, MigrationsTable: "d1_migrations"}}
}

func (p *past) plan(target deploy.RestoreTarget) *deploy.RestorePlan {
	p.t.Helper()
	plan, err := p.e.PlanRestore(context.Background(), p.want(target))
	if err != nil {
		p.t.Fatalf("planning %+v: %v", target, err)
	}
	return plan
}

// rows are the ids of every table, and "name content" of everything there is.
func (p *past) rows() (ids map[string][]int64, content string) {
	p.t.Helper()
	ids = map[string][]int64{}
	for _, table := range []string{"sales", "items", "notes", "orders", "odd \"table", "settings", "days", "colors", "d1_migrations"} {
		result, err := p.cf().D1Read(context.Background(), swickedDB, `SELECT * FROM "`+strings.ReplaceAll(table, `"`, `""`)+`" ORDER BY id`)
		p.must(err)
		var list []struct{ ID int64 }
		p.must(result.Decode(&list))
		for _, r := range list {
			ids[table] = append(ids[table], r.ID)
		}
		content += table + " " + string(result.Rows) + "\n"
	}
	return ids, content
}

func loss(t testing.TB, plan *deploy.RestorePlan, table string) deploy.Loss {
	t.Helper()
	i := slices.IndexFunc(plan.Losses, func(l deploy.Loss) bool { return l.Table == table })
	if i < 0 {
		t.Fatalf("the plan has no table %s: %+v", table, plan.Losses)
	}
	return plan.Losses[i]
}

func hasRule(list []deploy.Finding, rule string) bool {
	return slices.ContainsFunc(list, func(f deploy.Finding) bool { return f.Rule == rule })
}

const twoSales = "INSERT INTO sales (id, sold_at) VALUES (1, strftime('%Y-%m-%dT%H:%M:%SZ', NOW)), (2, strftime('%Y-%m-%dT%H:%M:%SZ', NOW));"

// A restore shows what it takes, takes that, and can itself be undone.
func TestRestoreAndUndo(t *testing.T) {
	p := newPast(t)
	ctx := context.Background()
	p.sql(twoSales + "INSERT INTO d1_migrations (name, applied_at) VALUES ('001.sql', datetime(NOW))")
	before := p.bookmark()
	_, then := p.rows()
	p.pass(time.Hour)
	p.sql("INSERT INTO sales (id, sold_at) VALUES (3, strftime('%Y-%m-%dT%H:%M:%SZ', NOW)); INSERT INTO items (sale_id) VALUES (3), (1); INSERT INTO notes (item_id) VALUES (1), (2);" +
		"INSERT INTO d1_migrations (name, applied_at) VALUES ('002.sql', datetime(NOW)); CREATE TABLE gifts (id INTEGER PRIMARY KEY, given_at TEXT DEFAULT CURRENT_TIMESTAMP);" +
		"INSERT INTO gifts (given_at) VALUES (datetime(NOW)); INSERT INTO colors (name) VALUES ('red')")
	p.pass(time.Hour)
	p.ForgetRequests()
	plan := p.plan(deploy.RestoreTarget{Bookmark: before})
	if w := writes(p.Requests()); len(w) > 0 {
		t.Errorf("planning wrote: %q", w)
	}
	if n := len(p.Requests()); n > 30 {
		t.Errorf("planning made %d calls, want at most 30", n)
	}
	for _, want := range []deploy.Loss{
		{Table: "sales", Rows: 3, Made: 1, Known: deploy.Exact, By: "sold_at"},
		{Table: "items", Rows: 2, Made: 1, Known: deploy.AtLeast, By: "sale_id"}, // the other's sale is old
		{Table: "notes", Rows: 2, Made: 1, Known: deploy.AtLeast, By: "item_id"},
		{Table: "gifts", Rows: 1, Made: 1, Known: deploy.Exact, By: "given_at"},
		{Table: "colors", Rows: 1, Known: deploy.Unknown},
		{Table: "orders", Known: deploy.Exact, By: "created_at"},
	} {
		if got := loss(t, plan, want.Table); got != want {
			t.Errorf("loss is %+v, want %+v", got, want)
		}
	}
	if len(plan.Losses) != 9 { // neither the ledger nor what a virtual table keeps
		t.Errorf("losses of %d tables, want 9: %+v", len(plan.Losses), plan.Losses)
	}
	if len(plan.Migrations) != 1 || plan.Migrations[0].Name != "002.sql" || !plan.Migrations[0].Sure || !hasRule(plan.Findings, "restore-undoes-migrations") {
		t.Errorf("migrations %+v, findings %+v", plan.Migrations, plan.Findings)
	}
	if plan.Bookmark != before || !plan.At.Equal(time.Date(2026, 11, 23, 9, 2, 0, 999_000_000, time.UTC)) {
		t.Errorf("the plan goes to %s of %s", plan.Bookmark, plan.At)
	}
	if again := p.plan(deploy.RestoreTarget{Bookmark: before}); again.Digest() != plan.Digest() {
		t.Errorf("the same plan has another digest:\n%+v\n%+v", plan, again)
	}
	_, now := p.rows()

	p.ForgetRequests()
	var told []string
	out, err := p.e.Restore(ctx, p.shop, plan, func(e deploy.Event) {
		told = append(told, e.Text)
		if strings.Contains(e.Text, plan.Present) && len(writes(p.Requests())) > 0 {
			t.Error("the way back is told after the restore was sent")
		}
	})
	p.must(err)
	if !out.Changed || out.Undo != plan.Present || out.Adopted || out.Digest != plan.Digest() {
		t.Errorf("outcome %+v", out)
	}
	if w := writes(p.Requests()); len(w) != 1 {
		t.Errorf("writes %q, want one", w)
	}
	if len(told) != 2 || !strings.Contains(told[0], plan.Present) {
		t.Errorf("told %q", told)
	}
	if _, got := p.rows(); got != then {
		t.Errorf("after the restore there is\n%s\nwant\n%s", got, then)
	}
	p.pass(time.Hour)
	undo := p.plan(deploy.RestoreTarget{Bookmark: out.Undo})
	if l := loss(t, undo, "sales"); l.Made != 0 || l.Known != deploy.Exact {
		t.Errorf("undoing would lose %+v", l)
	}
	out, err = p.e.Restore(ctx, p.shop, undo, nil)
	p.must(err)
	if _, got := p.rows(); got != now || !out.Changed {
		t.Errorf("after undoing there is\n%s\nwant\n%s", got, now)
	}
}

// Random histories: numbers that the plan calls exact are the difference that the restore then makes, the others bound it,
// and undoing brings everything back.
func TestRestoreProperty(t *testing.T) {
	sure, bounded := 0, 0
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			p := newPast(t)
			id, bookmarks := 100, []string{}
			begin := p.now()
			for range 8 + r.IntN(25) {
				p.pass([]time.Duration{0, 3 * time.Millisecond, 400 * time.Millisecond, time.Second, time.Minute, 7 * time.Hour}[r.IntN(6)])
				var sql []string
				for range 1 + r.IntN(4) {
					id++
					sql = append(sql, []string{
						"INSERT INTO sales (id, sold_at) VALUES (%d, strftime('%%Y-%%m-%%dT%%H:%%M:%%SZ', NOW))",
						"INSERT INTO sales (id, sold_at) VALUES (%d, strftime('%%Y-%%m-%%dT%%H:%%M:%%fZ', NOW))", // as JavaScript writes it
						"INSERT INTO orders (id, created_at, updated_at) VALUES (%d, datetime(NOW), datetime(NOW))",
						"INSERT INTO \"odd \"\"table\" (id, \"made at\") VALUES (%d, CAST(round((julianday(NOW) - 2440587.5) * 86400000) AS INTEGER))",
						"INSERT INTO settings (id, updated_at) VALUES (%d, unixepoch(NOW))",
						"INSERT INTO days (id, day) VALUES (%d, date(NOW))",
						"INSERT INTO colors (id) VALUES (%d)",
						"INSERT INTO items (id, sale_id) SELECT %d, id FROM sales ORDER BY id DESC LIMIT 1",
						"INSERT INTO notes (id, item_id) SELECT %d, id FROM items ORDER BY id DESC LIMIT 1",
						"INSERT INTO d1_migrations (id, name, applied_at) VALUES (%d, 'm' || last_insert_rowid(), datetime(NOW)) ON CONFLICT DO NOTHING",
						"UPDATE orders SET updated_at = datetime(NOW) WHERE id %% 3 = %d %% 3",
						"UPDATE settings SET updated_at = unixepoch(NOW) WHERE id %% 3 = %d %% 3",
						"DELETE FROM notes WHERE id = %d - 5",
						"DELETE FROM orders WHERE id = %d - 7",
					}[r.IntN(14)])
					sql[len(sql)-1] = fmt.Sprintf(sql[len(sql)-1], id)
				}
				p.sql(strings.Join(sql, ";\n"))
				if r.IntN(3) == 0 {
					bookmarks = append(bookmarks, p.bookmark())
				}
			}
			p.pass(time.Second)
			target := deploy.RestoreTarget{Time: begin.Add(time.Duration(r.Int64N(int64(p.now().Sub(begin))))).Truncate(time.Second)}
			if len(bookmarks) > 0 && r.IntN(3) > 0 {
				target = deploy.RestoreTarget{Bookmark: bookmarks[r.IntN(len(bookmarks))]}
			}
			plan := p.plan(target)
			if hasRule(plan.Findings, "restore-bookmark-unmatched") {
				t.Logf("unmatched: %+v", plan.Findings)
			}
			now, content := p.rows()
			out, err := p.e.Restore(context.Background(), p.shop, plan, nil)
			p.must(err)
			then, _ := p.rows()
			made := func(table string) (n int64) {
				for _, id := range now[table] {
					if !slices.Contains(then[table], id) {
						n++
					}
				}
				return n
			}
			for _, l := range plan.Losses {
				if l.Table == "search" {
					continue
				}
				got := made(l.Table)
				if l.Rows == 0 {
					continue
				}
				if l.Rows != int64(len(now[l.Table])) {
					t.Errorf("%s has %d rows, the plan says %d", l.Table, len(now[l.Table]), l.Rows)
				}
				wrong := false
				switch l.Known {
				case deploy.Exact:
					wrong = got != l.Made
					sure++
				case deploy.AtLeast:
					wrong = got < l.Made
					bounded++
				case deploy.AtMost:
					wrong = got > l.Made
					bounded++
				}
				if wrong {
					t.Errorf("%+v, and really %d (target %+v at %s)", l, got, target, plan.At)
				}
			}
			certain := int64(0)
			for _, m := range plan.Migrations {
				if m.Sure {
					certain++
				}
			}
			if got := made("d1_migrations"); got < certain || got > int64(len(plan.Migrations)) {
				t.Errorf("%d migrations are undone, the plan says %+v", got, plan.Migrations)
			}
			if !out.Changed {
				return
			}
			p.pass(time.Second)
			if _, err := p.e.Restore(context.Background(), p.shop, p.plan(deploy.RestoreTarget{Bookmark: out.Undo}), nil); err != nil {
				t.Fatal(err)
			}
			if _, got := p.rows(); got != content {
				t.Errorf("after undoing there is\n%s\nwant\n%s", got, content)
			}
		})
	}
	if sure < 50 || bounded < 50 {
		t.Errorf("only %d exact and %d bounded numbers were looked at", sure, bounded)
	}
}

// A release stands for the database just before the next one: by the bookmark that its deployment notes, else by time.
func TestRestoreToRelease(t *testing.T) {
	p := newPast(t)
	ctx := context.Background()
	hold(t, p.stage, "helm-swicked", "")
	list, err := p.cf().Deployments(ctx, "helm-swicked")
	p.must(err)
	first := list[0].Versions[0].VersionID
	p.pass(time.Minute)
	p.sql(twoSales)
	p.pass(time.Minute)
	noted := p.bookmark()
	p.sql("INSERT INTO d1_migrations (name, applied_at) VALUES ('002.sql', datetime(NOW))") // runs before the release
	p.pass(10 * time.Second)
	hold(t, p.stage, "helm-swicked", "")
	list, err = p.cf().Deployments(ctx, "helm-swicked")
	p.must(err)
	second := list[0].Versions[0].VersionID

	plan := p.plan(deploy.RestoreTarget{Release: first[:8]})
	if plan.Release != first || plan.Live != second || len(plan.Migrations) != 0 || !hasRule(plan.Findings, "restore-release-time") {
		t.Errorf("by time the plan is %+v", plan)
	}
	message := "shopfleet content=sf-" + strings.Repeat("0", 32) + " secrets= reach= commit=abc bookmark=" + noted
	_, err = p.cf().CreateDeployment(ctx, "helm-swicked", cloudflare.Release{Versions: []cloudflare.Share{{VersionID: first, Percentage: 100}}})
	p.must(err)
	_, err = p.cf().CreateDeployment(ctx, "helm-swicked", cloudflare.Release{Versions: []cloudflare.Share{{VersionID: second, Percentage: 100}}, Message: message})
	p.must(err)
	plan = p.plan(deploy.RestoreTarget{Release: first})
	if plan.Bookmark != noted || len(plan.Migrations) != 1 || hasRule(plan.Findings, "restore-release-time") {
		t.Errorf("by bookmark the plan is %+v", plan)
	}
	for _, release := range []string{second[:8], "00000000"} {
		if _, err := p.e.PlanRestore(ctx, p.want(deploy.RestoreTarget{Release: release})); !isFinding(err, "restore-release") {
			t.Errorf("release %s: %v", release, err)
		}
	}
}

func isFinding(err error, rule string) bool {
	var f deploy.Findings
	return errors.As(err, &f) && hasRule(f, rule)
}

func TestRestoreTargetsOutsideHistory(t *testing.T) {
	p := newPast(t)
	ctx := context.Background()
	p.must(p.account.AddD1("another", "00000000-0000-4000-8000-000000000001", "wnam"))
	foreign, err := p.cf().D1Bookmark(ctx, "00000000-0000-4000-8000-000000000001", time.Time{})
	p.must(err)
	newer := "ffffffff" + p.bookmark()[8:]
	older := "00000000" + p.bookmark()[8:]
	for name, test := range map[string]struct {
		target deploy.RestoreTarget
		rule   string
	}{
		"newer":            {deploy.RestoreTarget{Bookmark: newer}, "restore-bookmark"},
		"older":            {deploy.RestoreTarget{Bookmark: older}, "restore-bookmark"},
		"before the birth": {deploy.RestoreTarget{Time: p.now().Add(-time.Hour)}, "restore-no-history"},
	} {
		if _, err := p.e.PlanRestore(ctx, p.want(test.target)); !isFinding(err, test.rule) {
			t.Errorf("%s: %v, want %s", name, err, test.rule)
		}
	}
	p.sql(twoSales)
	p.pass(time.Minute)
	// Another database's bookmark, or an invented one, may lie among ours. The plan warns, and D1 refuses.
	for _, odd := range []string{foreign, p.bookmark()[:27] + strings.Repeat("0", 31) + "1"} {
		_, before := p.rows()
		plan, err := p.e.PlanRestore(ctx, p.want(deploy.RestoreTarget{Bookmark: odd}))
		if isFinding(err, "restore-bookmark") {
			continue
		}
		p.must(err)
		if !hasRule(plan.Findings, "restore-bookmark-unmatched") {
			t.Errorf("%s passes for one of this database: %+v", odd, plan)
		}
		out, err := p.e.Restore(ctx, p.shop, plan, nil)
		var api *cloudflare.Error
		if !errors.As(err, &api) || api.Outcome != cloudflare.Refused || out.Changed {
			t.Errorf("restoring %s: %+v, %v", odd, out, err)
		}
		if _, after := p.rows(); after != before {
			t.Errorf("restoring %s changed the database", odd)
		}
	}
	plan := p.plan(deploy.RestoreTarget{Bookmark: p.bookmark()})
	if plan.Changes() || !hasRule(plan.Findings, "restore-nothing") {
		t.Errorf("the present is a plan that changes: %+v", plan)
	}
	p.ForgetRequests()
	if out, err := p.e.Restore(ctx, p.shop, plan, nil); err != nil || out.Changed || len(writes(p.Requests())) > 0 {
		t.Errorf("restoring the present: %+v, %v, writes %q", out, err, writes(p.Requests()))
	}
}

// No other shop's database is restored, whatever the overlay, the plan or the account says.
func TestRestoreOnlyTheShopsOwn(t *testing.T) {
	p := newPast(t)
	ctx := context.Background()
	const other = "00000000-0000-4000-8000-000000000001"
	p.must(p.account.AddD1("kvick-helm-other", other, "wnam"))
	target := deploy.RestoreTarget{Bookmark: p.bookmark()}
	p.sql(twoSales)
	p.pass(time.Minute)
	p.ForgetRequests()
	want := p.want(target)
	want.Database.DatabaseID = other
	if _, err := p.e.PlanRestore(ctx, want); !isFinding(err, "restore-not-owned") {
		t.Errorf("planning for an overlay with another's id: %v", err)
	}
	unpinned := p.shop
	unpinned.D1ID = ""
	want.Shop = unpinned
	if _, err := p.e.PlanRestore(ctx, want); !isFinding(err, "restore-not-owned") {
		t.Errorf("planning for another's id: %v", err)
	}
	good := p.plan(target)
	forged := *good
	forged.DatabaseID = other
	renamed := unpinned
	renamed.D1 = "kvick-helm-other"
	for name, try := range map[string]struct {
		shop fleet.Shop
		plan *deploy.RestorePlan
	}{
		"forged id": {unpinned, &forged}, "pinned id": {p.shop, &forged}, "another shop": {renamed, good}, "another slug": {fleet.Shop{Slug: "other", D1: p.shop.D1}, good},
	} {
		if _, err := p.e.Restore(ctx, try.shop, try.plan, nil); !isFinding(err, "restore-not-owned") {
			t.Errorf("%s: %v", name, err)
		}
	}
	want.Database.DatabaseID = "00000000-0000-4000-8000-00000000dead"
	if _, err := p.e.PlanRestore(ctx, want); !isFinding(err, "d1-unknown") {
		t.Errorf("planning for no database: %v", err)
	}
	if w := writes(p.Requests()); len(w) > 0 {
		t.Errorf("writes: %q", w)
	}
}

func TestRestoreLostAnswer(t *testing.T) {
	const restore = `/time_travel/restore`
	html504 := sim.Rule{Path: restore, Status: http.StatusGatewayTimeout, HTML: true}
	after := func(r sim.Rule) sim.Rule { r.After = true; return r }
	for name, test := range map[string]struct {
		rule    sim.Rule
		rows    bool // a row tells whether it happened
		sent    int  // restores that reach the account
		adopted bool
		unknown bool
	}{
		"dropped before":                    {sim.Rule{Path: restore, Drop: sim.DropBefore}, true, 2, false, false},
		"dropped after":                     {sim.Rule{Path: restore, Drop: sim.DropAfter}, true, 1, true, false},
		"cut":                               {sim.Rule{Path: restore, Truncate: true}, true, 1, true, false},
		"504 before":                        {html504, true, 2, false, false},
		"504 after":                         {after(html504), true, 1, true, false},
		"504 after, nothing tells":          {after(html504), false, 1, false, true},
		"504 before, nothing tells":         {html504, false, 2, false, false}, // the bookmark stands still
		"504 always":                        {sim.Rule{Path: restore, Status: http.StatusGatewayTimeout, HTML: true, Count: -1}, true, 3, false, true},
		"refused, as after too many in ten": {sim.Rule{Path: restore, Status: http.StatusBadRequest, Code: 7500, Message: "too many restores"}, true, 1, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPast(t)
			p.sql(twoSales)
			target := p.bookmark()
			_, then := p.rows()
			p.pass(time.Hour)
			if test.rows {
				p.sql("INSERT INTO sales (sold_at) VALUES (strftime('%Y-%m-%dT%H:%M:%SZ', NOW))")
			} else {
				p.sql("INSERT INTO colors (name) VALUES ('red')")
			}
			p.pass(time.Minute)
			plan := p.plan(deploy.RestoreTarget{Bookmark: target})
			_, now := p.rows()
			_, err := p.Fault(test.rule)
			p.must(err)
			p.ForgetRequests()
			out, err := p.e.Restore(context.Background(), p.shop, plan, nil)
			if w := writes(p.Requests()); len(w) != test.sent {
				t.Errorf("%d restores were sent, want %d", len(w), test.sent)
			}
			var unknown *deploy.UnknownRestoreError
			if errors.As(err, &unknown) != test.unknown {
				t.Fatalf("outcome %+v, %v; want unknown %t", out, err, test.unknown)
			}
			_, content := p.rows()
			switch {
			case test.unknown:
				for _, b := range []string{plan.Bookmark, plan.Present} {
					if !strings.Contains(err.Error(), b) || !strings.Contains(unknown.Hint(), b) {
						t.Errorf("%v (%s) does not name %s", err, unknown.Hint(), b)
					}
				}
			case test.rule.Code != 0:
				if err == nil || out.Changed || content != now {
					t.Errorf("outcome %+v, %v", out, err)
				}
			default:
				if err != nil || !out.Changed || out.Adopted != test.adopted || out.Undo != plan.Present || content != then {
					t.Errorf("outcome %+v, %v; content\n%s\nwant\n%s", out, err, content, then)
				}
			}
		})
	}
}

// While the answer is lost the shop goes on writing: the bookmark moves, and only rows can tell.
func TestRestoreLostAnswerOfABusyShop(t *testing.T) {
	for name, happens := range map[string]bool{"happened": true, "not": false} {
		t.Run(name, func(t *testing.T) {
			p := newPast(t)
			p.sql(twoSales)
			target := p.bookmark()
			p.pass(time.Hour)
			p.sql("INSERT INTO sales (id, sold_at) VALUES (7, strftime('%Y-%m-%dT%H:%M:%SZ', NOW))")
			p.pass(time.Minute)
			plan := p.plan(deploy.RestoreTarget{Bookmark: target})
			p.pass(time.Minute)
			_, err := p.Fault(sim.Rule{Path: "/time_travel/restore", Status: http.StatusGatewayTimeout, HTML: true, After: happens})
			p.must(err)
			sent := 0
			p.e = p.engine()
			p.e.Now = p.now
			p.e.CF.Observe = func(c cloudflare.Call) {
				if c.Op != "D1Restore" {
					return
				}
				if sent++; sent == 1 {
					p.sql("INSERT INTO sales (id, sold_at) VALUES (8, strftime('%Y-%m-%dT%H:%M:%SZ', NOW))")
				}
			}
			out, err := p.e.Restore(context.Background(), p.shop, plan, nil)
			p.must(err)
			ids, _ := p.rows()
			want, tries := []int64{1, 2, 8}, 1
			if !happens {
				want, tries = []int64{1, 2}, 2
			}
			if !out.Changed || out.Adopted != happens || sent != tries || !slices.Equal(ids["sales"], want) {
				t.Errorf("outcome %+v, %d sent, sales %v; want %v", out, sent, ids["sales"], want)
			}
		})
	}
}

// Undoing a restore takes nothing away, it brings rows back. They tell that it happened.
func TestRestoreLostAnswerOfAnUndo(t *testing.T) {
	p := newPast(t)
	p.sql(twoSales)
	target := p.bookmark()
	p.pass(time.Hour)
	p.sql("INSERT INTO sales (id, sold_at) VALUES (7, strftime('%Y-%m-%dT%H:%M:%SZ', NOW))")
	p.pass(time.Minute)
	out, err := p.e.Restore(context.Background(), p.shop, p.plan(deploy.RestoreTarget{Bookmark: target}), nil)
	p.must(err)
	p.pass(time.Minute)
	_, err = p.Fault(sim.Rule{Path: "/time_travel/restore", Drop: sim.DropAfter})
	p.must(err)
	p.ForgetRequests()
	out, err = p.e.Restore(context.Background(), p.shop, p.plan(deploy.RestoreTarget{Bookmark: out.Undo}), nil)
	p.must(err)
	ids, _ := p.rows()
	if !out.Changed || !out.Adopted || len(writes(p.Requests())) != 1 || !slices.Equal(ids["sales"], []int64{1, 2, 7}) {
		t.Errorf("outcome %+v, writes %q, sales %v", out, writes(p.Requests()), ids["sales"])
	}
}

func TestRestoreCancelledSendsNothing(t *testing.T) {
	p := newPast(t)
	target := p.bookmark()
	p.sql(twoSales)
	p.pass(time.Minute)
	plan := p.plan(deploy.RestoreTarget{Bookmark: target})
	_, before := p.rows()
	ctx, cancel := context.WithCancel(context.Background())
	p.ForgetRequests()
	out, err := p.e.Restore(ctx, p.shop, plan, func(deploy.Event) { cancel() })
	if !errors.Is(err, context.Canceled) || out.Changed || out.Undo == "" {
		t.Errorf("outcome %+v, %v", out, err)
	}
	if w := writes(p.Requests()); len(w) > 0 {
		t.Errorf("writes: %q", w)
	}
	if _, after := p.rows(); after != before {
		t.Error("the database changed")
	}
}

// What a number is worth depends on the table; and a shop may have more tables than one call can ask about.
func TestLossesSayWhatTheyAreWorth(t *testing.T) {
	p := newPast(t)
	p.sql(`CREATE TABLE visits (id INTEGER PRIMARY KEY, at TEXT DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE touched (id INTEGER PRIMARY KEY, last_seen TEXT DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE optional (id INTEGER PRIMARY KEY, sale_id INTEGER REFERENCES sales (id));
CREATE TABLE tree (id INTEGER PRIMARY KEY, up INTEGER NOT NULL REFERENCES tree (id));
CREATE TABLE two (a INTEGER NOT NULL, b INTEGER NOT NULL, made TEXT DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE TABLE both (id INTEGER PRIMARY KEY, a INTEGER NOT NULL, b INTEGER NOT NULL, FOREIGN KEY (a, b) REFERENCES two (a, b));
CREATE TABLE either (id INTEGER PRIMARY KEY, visit INTEGER NOT NULL REFERENCES VISITS, sale INTEGER NOT NULL REFERENCES sales);
CREATE TABLE seen (id INTEGER PRIMARY KEY, touch INTEGER NOT NULL REFERENCES touched);
CREATE VIEW v AS SELECT * FROM visits;` + twoSales + `
INSERT INTO visits VALUES (1, datetime(NOW)), (2, NULL), (3, 'soon');
INSERT INTO touched VALUES (1, datetime(NOW)); INSERT INTO two VALUES (1, 1, datetime(NOW))`)
	target := p.bookmark()
	p.pass(time.Hour)
	p.sql(`INSERT INTO visits VALUES (4, datetime(NOW)); INSERT INTO sales (id, sold_at) VALUES (5, strftime('%Y-%m-%dT%H:%M:%SZ', NOW));
UPDATE touched SET last_seen = datetime(NOW); INSERT INTO optional VALUES (1, 5); INSERT INTO tree VALUES (1, 1); INSERT INTO two VALUES (2, 2, datetime(NOW));
INSERT INTO both VALUES (1, 2, 2); INSERT INTO either VALUES (1, 4, 1), (2, 1, 5), (3, 1, 1); INSERT INTO seen VALUES (1, 1)`)
	for i := range 120 {
		p.sql(fmt.Sprintf("CREATE TABLE many_%d (id INTEGER PRIMARY KEY, at INTEGER DEFAULT (unixepoch())); INSERT INTO many_%[1]d (at) VALUES (unixepoch(NOW))", i))
	}
	p.pass(time.Minute)
	plan := p.plan(deploy.RestoreTarget{Bookmark: target})
	for _, want := range []deploy.Loss{
		{Table: "visits", Rows: 4, Made: 1, Known: deploy.AtLeast, By: "at"}, // two rows have no usable time
		{Table: "touched", Rows: 1, Made: 1, Known: deploy.AtMost, By: "last_seen"},
		{Table: "optional", Rows: 1, Known: deploy.Unknown}, // the sale may have been noted later
		{Table: "tree", Rows: 1, Known: deploy.Unknown},
		{Table: "two", Rows: 2, Made: 1, Known: deploy.Exact, By: "made"},
		{Table: "both", Rows: 1, Known: deploy.Unknown},
		{Table: "either", Rows: 3, Made: 2, Known: deploy.AtLeast, By: "sale, visit"},
		{Table: "seen", Rows: 1, Known: deploy.Unknown},
		{Table: "many_119", Rows: 1, Made: 1, Known: deploy.Exact, By: "at"},
	} {
		if got := loss(t, plan, want.Table); got != want {
			t.Errorf("loss is %+v, want %+v", got, want)
		}
	}
}

// A release between the plan and the restore makes the plan void: it was judged against other code.
func TestRestoreStale(t *testing.T) {
	p := newPast(t)
	target := p.bookmark()
	p.sql(twoSales)
	p.pass(time.Minute)
	plan := p.plan(deploy.RestoreTarget{Bookmark: target})
	hold(t, p.stage, "helm-swicked", "")
	p.ForgetRequests()
	_, err := p.e.Restore(context.Background(), p.shop, plan, nil)
	var stale *deploy.StaleError
	if !errors.As(err, &stale) || len(writes(p.Requests())) > 0 {
		t.Errorf("%v, writes %q", err, writes(p.Requests()))
	}
}

// A deploy that migrates notes the bookmark it took, and the release before it is restored by that.
func TestRestoreToReleaseOfADeploy(t *testing.T) {
	s := newStage(t)
	first := s.mustDeploy()
	s.secrets = nil
	s.write("migrations/017_gift_cards.sql", "CREATE TABLE gift_cards (id INTEGER PRIMARY KEY, cents INTEGER NOT NULL);")
	s.write("src/time.ts", string(s.read("src/time.ts"))+"\nexport const changed = 1;\nconsole.log(changed);\n")
	second := s.mustDeploy()
	shop, err := s.policy.Shop("swicked")
	s.must(err)
	db, err := deploy.OwnDatabase(deploy.Source{Shop: shop, ConfigName: "wrangler.jsonc", Config: s.config})
	s.must(err)
	if db.DatabaseID != swickedDB || db.MigrationsTable != "d1_migrations" {
		t.Errorf("own database %+v", db)
	}
	plan, err := s.engine().PlanRestore(context.Background(), deploy.RestoreWant{Shop: shop, Database: db, Target: deploy.RestoreTarget{Release: first.VersionID[:8]}})
	s.must(err)
	if plan.Bookmark != second.Bookmark || plan.Live != second.VersionID {
		t.Errorf("plan %+v; want bookmark %s", plan, second.Bookmark)
	}
	if !slices.ContainsFunc(plan.Migrations, func(m deploy.UndoneMigration) bool { return m.Name == "017_gift_cards.sql" }) {
		t.Errorf("migrations %+v", plan.Migrations)
	}
	_, err = s.engine().Restore(context.Background(), shop, plan, nil)
	s.must(err)
	s.mustDeploy() // applies it again
	rows, err := s.cf().D1Read(context.Background(), swickedDB, "SELECT count(*) AS n FROM gift_cards")
	if err != nil {
		t.Errorf("the next deploy did not apply the migration again: %v, %v", rows, err)
	}
}

func TestOwnDatabaseIsAdmitted(t *testing.T) {
	s := newStage(t)
	shop, err := s.policy.Shop("swicked")
	s.must(err)
	own := func() error {
		_, err := deploy.OwnDatabase(deploy.Source{Shop: shop, ConfigName: "wrangler.jsonc", Config: s.config})
		return err
	}
	s.replaceConfig(swickedDB, "00000000-0000-4000-8000-000000000001")
	if err := own(); !isFinding(err, "binding-not-owned") {
		t.Errorf("another id: %v", err)
	}
	s.replaceConfig("kvick-helm-swicked", "kvick-helm-other")
	if err := own(); !isFinding(err, "binding-not-owned") {
		t.Errorf("another name: %v", err)
	}
	s.config = []byte(`{"name": "helm", "main": "src/index.ts", "env": {"swicked": {"name": "helm-swicked"}}}`)
	if err := own(); !isFinding(err, "restore-not-owned") {
		t.Errorf("no database: %v", err)
	}
	s.config = []byte(`{"name": "helm", "main": "src/index.ts"}`)
	if err := own(); !isFinding(err, "overlay-missing") {
		t.Errorf("no overlay: %v", err)
	}
}
