package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
)

// Options say how Apply works.
type Options struct {
	Now  func() time.Time
	Tell func(text string) // progress; may be nil; called by several goroutines
	// Looked is when the account was looked at. The limits that are near are counted again unless that is a moment ago.
	Looked time.Time
	// Then is what can be done with the stores as soon as they are there, while they are tagged; may be nil. It is not called
	// when one of them could not be made.
	Then func(ctx context.Context, r Resources) error
}

// fresh is how old a look at the account may be to be believed without counting again: what a person had no time to read.
const fresh = 2 * time.Second

// Apply carries out a plan. One with blocking findings is not begun, and they are the error. What is made is made side by
// side, then tagged side by side; a part that fails does not stop the others, so that as much as can be is there, and known
// as the shop's, for the next run. The error is deploy.Findings where it is the user's to mend: a name or hostname that was
// taken meanwhile, an account that was filled, a permission that the token lacks. Whatever happened, the same command again
// finishes the job.
func Apply(ctx context.Context, cf *cloudflare.Client, p *Plan, o Options) (*Resources, error) {
	if f := deploy.Findings(p.Findings); f.Blocking() {
		return nil, f
	}
	a := &applying{cf: cf, p: p, o: o, tell: o.Tell}
	if a.tell == nil {
		a.tell = func(string) {}
	}
	switch p.Verb {
	case VerbMake:
		return a.make(ctx)
	case VerbClose, VerbDelete:
		return nil, a.undo(ctx)
	}
	return nil, fmt.Errorf("a plan to %q is none that can be carried out", p.Verb)
}

// applying is one Apply.
type applying struct {
	cf   *cloudflare.Client
	p    *Plan
	o    Options
	tell func(string)

	mu      sync.Mutex
	made    map[string]string // ids by kind and name: those of steps, and of what was made
	adopted map[string]bool   // by kind and name: not made by this run after all
}

// make creates and tags.
func (a *applying) make(ctx context.Context) (*Resources, error) {
	a.made, a.adopted = map[string]string{}, map[string]bool{}
	if a.p.Changes() && (a.o.Now == nil || a.o.Now().Sub(a.o.Looked) > fresh) {
		a.tell("counting what the account has")
		if err := recount(ctx, a.cf, a.p); err != nil {
			return nil, explain(a.p.Account, err)
		}
	}
	var creates, tags []func() error
	for _, s := range a.p.Steps {
		switch s.Action {
		case actionAdopt:
			a.made[s.Kind+"/"+s.Name] = s.ID
		case actionCreate:
			creates = append(creates, func() error { return a.create(ctx, s) })
		case actionTag:
			tags = append(tags, func() error { return a.tag(ctx, s) })
		default:
			return nil, fmt.Errorf("%s is no step of making a shop", s)
		}
	}
	// Both rounds always run: what was made before something else failed is tagged all the same.
	errs := together(creates)
	r := &Resources{DatabaseID: a.id(kindD1), NamespaceID: a.id(kindKV), Bucket: a.id(kindR2), ZoneID: a.p.Zone, Fresh: a.fresh()}
	var then error
	beside := tags
	if a.o.Then != nil && errors.Join(errs...) == nil {
		beside = append(beside, func() error {
			then = a.o.Then(ctx, *r)
			return nil
		})
	}
	errs = append(errs, together(beside)...)
	if err := gather(a.p.Account, errs...); err != nil {
		return r, err
	}
	return r, then // in the caller's own words
}

// fresh are the stores that this run made, by kind and id: nothing is in them, and no tag is on them.
func (a *applying) fresh() map[string]bool {
	out := map[string]bool{}
	for _, s := range a.p.Steps {
		if id := a.made[s.Kind+"/"+s.Name]; s.Action == actionCreate && id != "" && !a.adopted[s.Kind+"/"+s.Name] {
			out[s.Kind+"/"+id] = true
		}
	}
	return out
}

// id is that of the shop's one store of a kind; "" when it was not made.
func (a *applying) id(kind string) string {
	for _, s := range a.p.Steps {
		if s.Kind == kind && (s.Action == actionCreate || s.Action == actionAdopt) {
			return a.made[kind+"/"+s.Name]
		}
	}
	return ""
}

// tries is how often something is made or tagged when the answer gets lost or somebody else is at it too.
const tries = 3

// create makes one thing. When the name turns out to be taken, or the answer is lost, it looks: what is there is adopted
// by the rules of the plan. Two runs for one shop therefore end with one shop.
func (a *applying) create(ctx context.Context, s Step) error {
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		a.tell(s.String())
		id, err := a.send(ctx, s)
		switch {
		case err == nil:
			a.note(s, id, false)
			return nil
		case errors.Is(err, cloudflare.ErrConflict), errors.Is(err, cloudflare.ErrUnknownOutcome), inTheWay(err):
		case isFull(err):
			return deploy.Findings{blocking(ruleAccountFull, fmt.Sprintf("account %s takes no further %s: %s", a.p.Account, words[s.Kind], excerpt(err.Error())),
				"room for one more shop", "give the shop another account; shopfleet accounts shows which one has room")}
		default:
			return fmt.Errorf("creating %s %s: %w", words[s.Kind], s.Name, err)
		}
		lost := errors.Is(err, cloudflare.ErrUnknownOutcome)
		id, lookErr := a.look(ctx, s)
		switch {
		case lookErr != nil:
			return lookErr
		case id != "":
			a.note(s, id, true)
			return nil
		case !lost:
			if s.Kind == kindDNS {
				return deploy.Findings{hostnameTaken(s.Name, "Cloudflare does not take a record for it, and shows none that is in the way", "look at the zone's DNS records in the dashboard")}
			}
			return deploy.Findings{nameTaken(s.Kind, s.Name, "is taken, and the account does not show by whom", "choose another slug, or another name for this shop in fleet.yml")}
		case try == tries:
			return fmt.Errorf("creating %s %s: %w", words[s.Kind], s.Name, err)
		}
	}
}

// note remembers what there is now.
func (a *applying) note(s Step, id string, adopted bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.made[s.Kind+"/"+s.Name] = id
	a.adopted[s.Kind+"/"+s.Name] = adopted
}

// send is the call that makes it.
func (a *applying) send(ctx context.Context, s Step) (id string, err error) {
	switch s.Kind {
	case kindD1:
		db, err := a.cf.CreateD1(ctx, cloudflare.D1Database{Name: s.Name, LocationHint: s.Hint})
		return db.ID, err
	case kindKV:
		n, err := a.cf.CreateKVNamespace(ctx, s.Name)
		return n.ID, err
	case kindR2:
		return s.Name, a.cf.CreateR2Bucket(ctx, cloudflare.R2Bucket{Name: s.Name, Location: s.Hint})
	case kindDNS:
		return a.cf.CreateDNSRecord(ctx, s.Zone, cloudflare.DNSRecord{
			Type: "AAAA", Name: s.Name, Content: recordContent, Proxied: true, Comment: recordComment(a.p.Shop),
		})
	}
	return "", fmt.Errorf("%s is no step of making a shop", s)
}

// look finds what stands under the name of a step now: its id when it is the shop's or nobody's and empty, "" when there
// is nothing, findings when it is somebody's.
func (a *applying) look(ctx context.Context, s Step) (id string, err error) {
	doing := func(err error) error { return fmt.Errorf("looking for %s %s: %w", words[s.Kind], s.Name, err) }
	switch s.Kind {
	case kindDNS:
		records, err := a.cf.DNSRecords(ctx, s.Zone, s.Name)
		if err != nil {
			return "", doing(err)
		}
		for _, r := range records {
			if !ownRecord(r, shopOf(a.p)) {
				return "", deploy.Findings{hostnameTaken(s.Name, fmt.Sprintf("it has a DNS record by now (%s %s)", r.Type, excerpt(r.Content)), "delete the record first if nothing needs it; shopfleet never replaces one")}
			}
			id = r.ID
		}
		return id, nil
	case kindD1:
		list, err := a.cf.D1Databases(ctx, s.Name)
		if err != nil {
			return "", doing(err)
		}
		id = (&Account{Databases: list}).store(kindD1, s.Name)
	case kindKV:
		list, err := a.cf.KVNamespaces(ctx)
		if err != nil {
			return "", doing(err)
		}
		id = (&Account{Namespaces: list}).store(kindKV, s.Name)
	case kindR2:
		b, err := a.cf.R2Bucket(ctx, s.Name, "")
		if err != nil && !errors.Is(err, cloudflare.ErrNotFound) {
			return "", doing(err)
		}
		id = b.Name
	}
	if id == "" {
		return "", nil
	}
	owner, err := a.owner(ctx, s.Kind, id)
	if err != nil {
		return "", doing(err)
	}
	switch owner {
	case a.p.Shop:
		return id, nil
	case "":
	default:
		return "", deploy.Findings{nameTaken(s.Kind, s.Name, "belongs to shop "+excerpt(owner)+" by now", "choose another slug, or find out whose it is; what is another shop's is never taken")}
	}
	full, says, err := contents(ctx, a.cf, s.Kind, id, a.p.Identity)
	switch {
	case err != nil:
		return "", doing(err)
	case says == a.p.Shop:
		return id, nil
	case says != "":
		return "", deploy.Findings{nameTaken(s.Kind, s.Name, "belongs to shop "+excerpt(says)+" by now", "choose another slug, or find out whose it is; what is another shop's is never taken")}
	case full:
		return "", deploy.Findings{nameTaken(s.Kind, s.Name, "is there by now, with something in it, and nothing says whose it is", "choose another slug; if it is this shop's, --adopt-data takes it with what is in it")}
	}
	return id, nil
}

// owner is what the tag of one thing says; "" where there is none, or none to be had.
func (a *applying) owner(ctx context.Context, kind, id string) (string, error) {
	t, err := a.cf.Tags(ctx, kind, id)
	if errors.Is(err, cloudflare.ErrUnauthorized) || errors.Is(err, cloudflare.ErrNotFound) {
		return "", nil
	}
	return t.Tags[ownerTag], err
}

// tag writes the owner tag. What this run made has no tags, and is not asked for them; of all else the other tags stay,
// and a tag that names somebody else by now is a finding.
func (a *applying) tag(ctx context.Context, s Step) error {
	key := s.Kind + "/" + s.Name
	id, fresh := s.ID, s.ID == "" && !a.adopted[key]
	if id == "" {
		if id = a.made[key]; id == "" {
			return nil // it could not be made, which is told elsewhere
		}
	}
	doing := func(err error) error {
		return fmt.Errorf("tagging %s %s with its owner: %w", words[s.Kind], s.Name, err)
	}
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		tags := cloudflare.ResourceTags{Type: s.Kind, ID: id, Tags: map[string]string{}}
		if !fresh {
			have, err := a.cf.Tags(ctx, s.Kind, id)
			if err != nil {
				return doing(err)
			}
			switch owner := have.Tags[ownerTag]; owner {
			case a.p.Shop:
				return nil
			case "":
			default:
				return deploy.Findings{nameTaken(s.Kind, s.Name, "belongs to shop "+excerpt(owner)+" by now", "choose another slug, or find out whose it is; what is another shop's is never taken")}
			}
			tags.ETag = have.ETag
			maps.Copy(tags.Tags, have.Tags)
		}
		tags.Tags[ownerTag] = a.p.Shop
		a.tell(s.String())
		err := a.cf.PutTags(ctx, tags)
		if err == nil {
			return nil
		}
		if again := errors.Is(err, cloudflare.ErrConflict) || errors.Is(err, cloudflare.ErrUnknownOutcome); !again || try == tries {
			return doing(err)
		}
		fresh = false
	}
}

// inTheWay says that another record of the hostname keeps one from being made: error-codes.json does not count 81053 among
// those for what is there already, since it is another record that is.
func inTheWay(err error) bool { return hasCode(err, 81053) }

// isFull says that Cloudflare has no room for another: 7406 is D1's limit of databases (wire.md §2).
func isFull(err error) bool { return hasCode(err, 7406) }

func hasCode(err error, code int) bool {
	var e *cloudflare.Error
	return errors.As(err, &e) && slices.Contains(e.Codes, code)
}

// together runs all, side by side, and returns what each came to.
func together(fs []func() error) []error {
	errs := make([]error, len(fs))
	var group sync.WaitGroup
	for i, f := range fs {
		group.Go(func() { errs[i] = f() })
	}
	group.Wait()
	return errs
}

// gather joins errors, and puts the findings among them into one list in front, each once.
func gather(account string, errs ...error) error {
	var found deploy.Findings
	var rest []error
	for _, err := range errs {
		var f deploy.Findings
		if errors.As(explain(account, err), &f) {
			for _, x := range f {
				if !slices.Contains(found, x) {
					found = append(found, x)
				}
			}
		} else {
			rest = append(rest, err)
		}
	}
	if found == nil {
		return errors.Join(rest...)
	}
	return errors.Join(append([]error{found}, rest...)...)
}
