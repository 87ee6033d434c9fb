package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/audit"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/wrangler"
)

const (
	// statusEntries is how many releases of each shop are read, whatever made them; behind them the journal is asked for the
	// live one alone, of at most statusSearches shops: each costs GitHub two requests.
	statusEntries  = 6
	statusSearches = 20
	// statusHealth is how many hostnames are asked side by side.
	statusHealth = 32
	// statusPatience is after how many failures the rest of an account is not asked.
	statusPatience = 3
)

func toStatus() permissions { return permissions{"contents": "read", "deployments": "read"} }

// standing is what is being read of the fleet. Each shop has a row and a seat of its own, so that nothing is shared but the mutex.
type standing struct {
	door  *Door
	c     *checkout
	f     statusFlags
	s     *audit.Status
	shops []audit.Shop
	seats []seat

	mu sync.Mutex
}

// seat is what is known of a shop besides its row.
type seat struct {
	database   wrangler.D1Database // what the branch's config says of it; zero where it cannot be resolved
	migrations []string
	live       deploy.Live
	read       bool // live is known
	entries    []deploy.Release
	history    []github.History // entries' ids count it from 1
}

// readStatus asks everybody, side by side: git, the accounts, the hostnames and GitHub.
func (d *Door) readStatus(ctx context.Context, args []string, f statusFlags) (_ *audit.Status, err error) {
	c, err := d.open(ctx, f.policy)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	c.unbuilt = true
	r := &standing{door: d, c: c, f: f, s: &audit.Status{At: d.Now().UTC(), Tool: "shopfleet " + d.Version, Main: c.base, Rows: []audit.Row{}, Accounts: []audit.StatusAccount{}}}
	if err := r.choose(ctx, args); err != nil {
		return nil, err
	}
	hub, err := d.github(ctx, c, toStatus())
	if err != nil {
		return nil, err
	}
	examined := make(chan struct{})
	looked := slices.Clone(r.shops) // what is learned of them here is not read by the others meanwhile
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(examined)
		return c.examineEach(gctx, looked, func(i int, want *deploy.Desired) {
			x := &r.seats[i]
			x.database = want.Database
			for _, m := range want.Migrations {
				x.migrations = append(x.migrations, m.Name)
			}
		})
	})
	group.Go(func() error { return r.accounts(gctx, examined) })
	group.Go(func() error { return r.health(gctx) })
	group.Go(func() error { return r.hub(gctx, hub) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err // what was not read because of that is nobody's fault
	}
	for i := range r.shops {
		row := &r.s.Rows[i]
		row.Behind, row.Since, row.Problems = looked[i].Behind, looked[i].Since, looked[i].Problems
		r.release(i)
	}
	if hub != nil {
		if err := r.search(ctx, hub); err != nil {
			return nil, err
		}
	}
	if err := r.behind(ctx); err != nil {
		return nil, err
	}
	slices.Sort(r.s.NotRead)
	r.s.Judge()
	return r.s, nil
}

// choose makes a row for every shop that has a branch, or for those that are named.
func (r *standing) choose(ctx context.Context, args []string) (err error) {
	var only []string
	if len(args) > 0 {
		if only, err = r.c.choose(ctx, args, false); err != nil {
			return err
		}
		r.s.Only = only
	}
	commits := r.c.tipsByName()
	seen := map[string]bool{}
	for _, b := range r.c.tips {
		slug, ok := r.c.policy.Slug(b.Name)
		if !ok || only != nil && !slices.Contains(only, slug) {
			continue
		}
		seen[slug] = true
		shop, err := r.c.policy.Shop(slug)
		x := audit.Shop{Shop: shop, Commit: commits[b.Name]}
		if err != nil { // a branch with a bad name: it can neither be deployed nor own anything
			x = audit.Shop{Shop: fleet.Shop{Slug: slug, Branch: b.Name}, Problems: findings(err)}
		}
		r.shops = append(r.shops, x)
		r.s.Rows = append(r.s.Rows, audit.Row{Shop: slug, Account: shop.Account.Name, Hostname: shop.Hostname, Worker: shop.Worker, Branch: x.Branch, Commit: commits[b.Name]})
	}
	for _, slug := range only {
		if shop, err := r.c.policy.Shop(slug); err != nil {
			return err
		} else if !seen[slug] {
			return Usage(fmt.Errorf("shop %s has no branch %s", slug, shop.Branch), "see git branch --all; git fetch origin gets what others pushed")
		}
	}
	r.seats = make([]seat, len(r.shops))
	return nil
}

// accounts reads what is live of every shop, and when its branch has been examined, its migrations: two calls each.
func (r *standing) accounts(ctx context.Context, examined <-chan struct{}) error {
	d := r.door
	of := map[string][]int{}
	for i, s := range r.shops {
		if s.Account.Name != "" {
			of[s.Account.Name] = append(of[s.Account.Name], i)
		}
	}
	accounts, blind, engines, err := d.readable(r.c.policy, func(a fleet.Account) bool { return len(of[a.Name]) > 0 })
	if err != nil && !(len(accounts) == 0 && (d.order != nil || r.f.served)) { // who asks on GitHub, or in a browser, has no tokens
		return err
	}
	stage, done := func(string, string) {}, func(shopResult) {}
	if !r.f.served {
		p := d.newProgress(len(accounts))
		defer p.finish()
		stage, done = p.stage, p.done
	}
	out := make([]audit.StatusAccount, len(accounts), len(accounts)+len(blind))
	var group sync.WaitGroup
	for i, a := range accounts {
		group.Go(func() {
			stage(a.Name, "reading what is live")
			out[i] = r.account(ctx, engines[a.ID], a, of[a.Name], max(2, 20/len(accounts)), examined)
			through := shopResult{Shop: a.Name, Status: fmt.Sprintf("%s, %s", counted(len(of[a.Name]), "shop"), counted(out[i].Calls, "call"))}
			if out[i].Error != "" {
				through.Status = statusFailed
			}
			done(through)
		})
	}
	group.Wait()
	for _, a := range blind {
		out = append(out, audit.StatusAccount{Name: a.Name, ID: a.ID, Shops: len(of[a.Name]), Error: noToken(a)})
		for _, i := range of[a.Name] {
			r.s.Rows[i].Unread = append(r.s.Rows[i].Unread, "its account was not asked")
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	r.s.Accounts = append(r.s.Accounts, out...)
	return ctx.Err()
}

// account reads the shops of one account, a few side by side. When it refuses again and again the rest is not asked.
func (r *standing) account(ctx context.Context, e *deploy.Engine, a fleet.Account, shops []int, side int, examined <-chan struct{}) audit.StatusAccount {
	out := audit.StatusAccount{Name: a.Name, ID: a.ID, Shops: len(shops)}
	actx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	failures := 0
	ask := func(i int, what string, read func() error) bool {
		if actx.Err() == nil {
			mu.Lock()
			out.Calls++
			mu.Unlock()
		}
		err := read()
		if err == nil {
			return true
		}
		mu.Lock()
		defer mu.Unlock()
		r.s.Rows[i].Unread = append(r.s.Rows[i].Unread, what)
		if actx.Err() == nil {
			if failures++; failures == 1 {
				out.Error = err.Error()
			}
			if failures >= statusPatience {
				cancel()
			}
		}
		return false
	}
	var group errgroup.Group
	group.SetLimit(side)
	for _, i := range shops {
		group.Go(func() error {
			ask(i, "what is live could not be read", func() (err error) {
				seat := &r.seats[i]
				seat.live, err = e.Live(actx, r.shops[i].Worker)
				seat.read = err == nil
				return err
			})
			return nil
		})
	}
	_ = group.Wait() // no error is given to it
	select {
	case <-examined:
	case <-ctx.Done():
		return out
	}
	for _, i := range shops {
		x, row := &r.seats[i], &r.s.Rows[i]
		if x.database.DatabaseID == "" {
			continue
		}
		group.Go(func() error {
			var ledger []string
			if ask(i, "its migrations could not be read", func() (err error) {
				ledger, err = e.Ledger(actx, x.database)
				return err
			}) {
				row.SchemaRead = true
				if n := len(ledger); n > 0 {
					row.Schema = ledger[n-1]
				}
				for _, name := range x.migrations {
					if !slices.Contains(ledger, name) {
						row.Pending = append(row.Pending, name)
					}
				}
			}
			return nil
		})
	}
	_ = group.Wait()
	return out
}

// health asks every hostname once.
func (r *standing) health(ctx context.Context) error {
	if r.f.noHealth {
		r.unread("whether shops answer: --no-health was given")
		return nil
	}
	d := r.door
	gate := &deploy.Gate{EdgeURL: d.Getenv("SHOPFLEET_EDGE_URL"), Transport: d.Transport, Now: d.Now}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(statusHealth)
	for i, s := range r.shops {
		if s.Hostname == "" {
			continue
		}
		group.Go(func() error {
			x, err := gate.Look(gctx, s.Hostname, r.c.policy.Gate)
			if err != nil {
				return err
			}
			r.s.Rows[i].Health = audit.Health{Asked: true, OK: x.Reason == "", URL: x.URL, Status: x.Status, Millis: x.Took.Milliseconds(), Reason: x.Reason}
			return nil
		})
	}
	return group.Wait()
}

// hub reads the holds and the newest releases of all shops. That GitHub cannot be read is said, and the rest is shown.
func (r *standing) hub(ctx context.Context, client *github.Client) error {
	if client == nil {
		r.unread("releases' standing, who deployed, holds and secrets' ages: there is no token for GitHub")
		return nil
	}
	var group sync.WaitGroup
	group.Go(func() {
		h := &holds{client: client, now: r.door.Now}
		var slugs []string
		if r.s.Only != nil {
			slugs = append(slices.Clone(r.s.Only), "")
		}
		list, err := h.all(ctx, slugs)
		if err != nil {
			r.failed(ctx, "the holds", err)
			return
		}
		r.held(list)
	})
	group.Go(func() {
		var environments []string
		for _, s := range r.shops {
			if s.Worker != "" {
				environments = append(environments, s.Environment())
			}
		}
		if err := r.histories(ctx, client, environments); err != nil {
			r.failed(ctx, "the releases", err)
		}
	})
	group.Wait()
	return ctx.Err()
}

// unread notes what was not looked at.
func (r *standing) unread(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.s.NotRead = append(r.s.NotRead, what)
}

// failed notes that something of GitHub could not be read. The cause is for whoever runs this, not for the page.
func (r *standing) failed(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	r.unread(what + " could not be read from GitHub")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.s.HubFailed = true
	r.door.explain(fmt.Errorf("reading %s: %w", what, err))
}

// held gives the holds to their shops.
func (r *standing) held(list []Hold) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range list {
		if !x.counts(r.door.Now()) {
			continue
		}
		h := audit.StatusHold{Owner: x.Owner, Reason: x.Reason, Since: x.Created, Until: x.Expires, By: x.By, Working: x.State == holdWorking}
		if x.Shop == "" {
			r.s.Hold = &h
			continue
		}
		if i := slices.IndexFunc(r.shops, func(s audit.Shop) bool { return s.Slug == x.Shop }); i >= 0 {
			r.s.Rows[i].Holds = append(r.s.Rows[i].Holds, h)
		}
	}
}

// histories reads the newest releases, in a few requests side by side, and gives them to their shops.
func (r *standing) histories(ctx context.Context, client *github.Client, environments []string) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(4) // GitHub wants few requests at a time (contracts/github/wire.md §2e)
	all := make([]map[string][]github.History, (len(environments)+github.HistoryBatch-1)/github.HistoryBatch)
	for n := range all {
		group.Go(func() (err error) {
			from := n * github.HistoryBatch
			all[n], err = client.Histories(gctx, environments[from:min(from+github.HistoryBatch, len(environments))], statusEntries)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, s := range r.shops {
		if s.Worker == "" {
			continue
		}
		for _, some := range all {
			if list, ok := some[s.Environment()]; ok {
				r.seats[i].journal(s.Shop, list)
				r.s.Rows[i].JournalRead = true
			}
		}
	}
	return nil
}

// journal takes a shop's newest deployments.
func (x *seat) journal(shop fleet.Shop, list []github.History) {
	x.history = list
	var ours []github.Deployment
	for i := range list {
		d := list[i].Deployment
		d.ID = int64(i + 1) // GraphQL does not say it; so an entry is found again
		if d.Task == journalTask {
			ours = append(ours, d)
		}
	}
	x.entries, _ = entriesOf(shop, ours)
}

// standing is how one of the seat's entries stands.
func (x *seat) standing(e deploy.Release) deploy.Standing {
	n, err := entryID(e.ID)
	if err != nil || n < 1 || int(n) > len(x.history) {
		return deploy.Standing{}
	}
	return standingOf(x.history[n-1].Statuses)
}

// release puts together what the account and the journal say.
func (r *standing) release(i int) {
	x, row := &r.seats[i], &r.s.Rows[i]
	if len(x.entries) > 0 {
		e := x.entries[0]
		s := x.standing(e)
		row.Last = &audit.LastDeploy{At: e.Created.UTC(), By: cmp.Or(e.Actor, e.Creator), Version: e.VersionID, Commit: e.Commit, State: s.State, Good: s.Passed, Text: cmp.Or(s.Verdict, s.Text), Run: e.Run}
	}
	if !x.read || x.live.Version == "" {
		return
	}
	l := &audit.LiveRelease{Version: x.live.Version, Commit: x.live.Commit(), Released: x.live.Created.UTC(), By: x.live.Author, Outside: !x.live.Ours(), Beside: max(0, len(x.live.Shares)-1)}
	if l.Beside > 0 {
		l.Outside = false // of a split nobody is asked
	}
	row.Live = l
	if e, known := x.live.Entry(x.entries); known {
		r.recorded(row, e, x.standing(e))
	}
}

// recorded adds what the journal says of the live release.
func (r *standing) recorded(row *audit.Row, e deploy.Release, s deploy.Standing) {
	l := row.Live
	l.Recorded, l.Good, l.Outside = true, s.Passed, e.Outside
	l.Commit, l.By = cmp.Or(l.Commit, e.Commit), cmp.Or(e.Actor, e.Creator, l.By)
	row.Secrets = r.secretAges(e.Secrets)
}

// secretAges are the ages of an entry's secrets. Entries of older shopfleets have none.
func (r *standing) secretAges(marks map[string]deploy.SecretMark) []audit.SecretAge {
	var out []audit.SecretAge
	for _, name := range sortedKeys(marks) {
		if anyWord.MatchString(name) { // whoever may write deployments may write this
			out = append(out, audit.SecretAge{Name: name, Since: marks[name].Since.UTC(), Rotate: r.c.policy.Secrets.Describe(name).Rotate})
		}
	}
	return out
}

// search asks the journal itself for live releases that are not among the newest deployments of their shops: workflows make
// deployments in the same environments.
func (r *standing) search(ctx context.Context, client *github.Client) error {
	j := &journal{client: client}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	searched := 0
	for i := range r.shops {
		x, row := &r.seats[i], &r.s.Rows[i]
		if row.Live == nil || row.Live.Recorded || len(x.history) < statusEntries {
			continue
		}
		if searched++; searched > statusSearches {
			row.JournalRead = false
			continue
		}
		group.Go(func() error {
			entries, err := j.Releases(gctx, r.shops[i].Shop)
			if err != nil {
				r.failed(gctx, "the releases of "+r.shops[i].Slug, err)
				row.JournalRead = false
				return gctx.Err()
			}
			e, known := x.live.Entry(entries)
			if !known {
				return nil
			}
			s, err := j.Standing(gctx, e.ID)
			if err != nil {
				r.failed(gctx, "how the live release of "+r.shops[i].Slug+" stands", err)
				row.JournalRead = false
				return gctx.Err()
			}
			r.recorded(row, e, s)
			return nil
		})
	}
	if searched > statusSearches {
		r.unread(fmt.Sprintf("how what is live of %s stands: it is far back in the journal; name the shops to see it", counted(searched-statusSearches, "shop")))
	}
	return group.Wait()
}

// behind counts from what is live where that is another commit than the branch, in one process for all shops.
func (r *standing) behind(ctx context.Context) error {
	var commits []string
	var at []int
	for i := range r.s.Rows {
		if l := r.s.Rows[i].Live; l != nil && l.Commit != "" && l.Commit != r.s.Rows[i].Commit {
			commits, at = append(commits, l.Commit), append(at, i)
		}
	}
	if len(commits) == 0 {
		return nil
	}
	based, err := r.c.objects.Bases(ctx, r.c.main, commits...)
	if err != nil { // some commit is not here: released from a laptop and never pushed, or of a branch that was not fetched
		_, wrong, err := r.c.objects.Graph(ctx, commits...)
		if err != nil {
			return err
		}
		var here []string
		var known []int
		for n := range commits {
			if wrong[n] == nil {
				here, known = append(here, commits[n]), append(known, at[n])
			}
		}
		if commits, at = here, known; len(commits) == 0 {
			return nil
		}
		if based, err = r.c.objects.Bases(ctx, r.c.main, commits...); err != nil {
			return err
		}
	}
	for n, i := range at {
		r.s.Rows[i].Behind, r.s.Rows[i].Since = based[n].Behind, based[n].Since
	}
	return nil
}
