package sim

import (
	"fmt"
	"slices"
)

// Account seeds one account of a world. Seeding is idempotent: adding what is already there, as after a restart with
// Options.Dir, changes nothing; adding the same name with another id is an error.
type Account struct {
	w  *World
	id string
}

// Account returns the account with that id (32 hexadecimal digits), which is made when there is none.
func (w *World) Account(id, name string) (*Account, error) {
	if !hexID.MatchString(id) {
		return nil, fmt.Errorf("account id %q: expected 32 hexadecimal digits", id)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.accounts[id] == nil {
		a := &account{ID: id, Name: name, Created: w.now(), Scripts: map[string]*script{}}
		w.accounts[id] = a
		w.touch(a)
	}
	return &Account{w: w, id: id}, w.flush()
}

// ID is the account's id.
func (a *Account) ID() string { return a.id }

// edit runs f on the state of the account.
func (a *Account) edit(f func(s *account) error) error {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	s := a.w.accounts[a.id]
	if err := f(s); err != nil {
		return err
	}
	a.w.touch(s)
	return a.w.flush()
}

// AddToken lets in a user's bearer token that reaches this account only.
func (a *Account) AddToken(value, name string) error {
	return a.w.AddToken(Token{Value: value, Name: name, Accounts: []string{a.id}})
}

// AddZone adds an active zone; id "" makes one up. Real ids are 32 hexadecimal digits; any text is taken.
func (a *Account) AddZone(name, id string) error {
	if id == "" {
		id = a.w.id()
	}
	return a.edit(func(s *account) error {
		for _, other := range a.w.accounts {
			for _, z := range other.Zones {
				switch {
				case z.Name == name && other == s:
					return nil
				case z.Name == name || z.ID == id:
					return fmt.Errorf("adding zone %s with id %s: %s with id %s is in account %s", name, id, z.Name, z.ID, other.ID)
				}
			}
		}
		s.Zones = append(s.Zones, &zone{ID: id, Name: name, Created: a.w.now()})
		return nil
	})
}

// SetSubdomain registers the account's workers.dev name.
func (a *Account) SetSubdomain(name string) error {
	return a.edit(func(s *account) error {
		s.Subdomain = name
		a.w.released()
		return nil
	})
}

// AddTag gives a resource a tag beside those that it has. kind is one of tagging's resource types, such as d1_database.
func (a *Account) AddTag(kind, id, key, value string) error {
	return a.edit(func(s *account) error {
		t := &taggedItem{Type: kind, ID: id, Tags: map[string]string{key: value}}
		if have := s.Tags[t.key()]; have != nil {
			for k, v := range have.Tags {
				if k != key {
					t.Tags[k] = v
				}
			}
		}
		if s.Tags == nil {
			s.Tags = map[string]*taggedItem{}
		}
		s.Tags[t.key()] = t
		return nil
	})
}

// AddQueue adds a queue.
func (a *Account) AddQueue(name string) error {
	return a.edit(func(s *account) error {
		if !slices.ContainsFunc(s.Queues, func(q *queue) bool { return q.Name == name }) {
			s.Queues = append(s.Queues, &queue{ID: a.w.id(), Name: name, Created: a.w.now()})
		}
		return nil
	})
}

// AddDispatchNamespace adds a Workers for Platforms namespace.
func (a *Account) AddDispatchNamespace(name string) error {
	return a.edit(func(s *account) error {
		if !slices.ContainsFunc(s.Dispatch, func(n *dispatchNamespace) bool { return n.Name == name }) {
			s.Dispatch = append(s.Dispatch, &dispatchNamespace{ID: a.w.uuid(), Name: name, Created: a.w.now()})
		}
		return nil
	})
}

// AddD1 adds a database; id "" makes one up, region "" is wnam.
func (a *Account) AddD1(name, id, region string) error {
	if db, err := a.w.storage.findDatabase(a.id, name); err == nil && db != nil {
		if id == "" || db.ID() == id {
			return nil
		}
		return fmt.Errorf("adding D1 database %s with id %s: it exists with id %s", name, id, db.ID())
	}
	_, err := a.w.storage.createDatabase(a.id, databaseOptions{ID: id, Name: name, Region: region})
	return err
}

// AddKV adds a namespace; id "" makes one up.
func (a *Account) AddKV(title, id string) error {
	if id != "" {
		if ns, err := a.w.storage.findNamespace(a.id, id); err == nil && ns != nil {
			return nil
		}
	}
	_, err := a.w.storage.createNamespace(a.id, title, id)
	return err
}

// AddR2 adds a bucket in the default jurisdiction.
func (a *Account) AddR2(name string) error {
	if b, err := a.w.storage.findBucket(a.id, "", name); err == nil && b != nil {
		return nil
	}
	_, err := a.w.storage.createBucket(a.id, bucketOptions{Name: name})
	return err
}
