package deploy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Bound is a binding of a release that reaches stored data or code, with what proved it to be the shop's.
type Bound struct {
	Name string `json:"name"`
	Type string `json:"type"` // on the wire
	// ID is what the binding names where that is an id, Resource the name behind it as the account had it.
	ID       string `json:"id,omitempty"`
	Resource string `json:"resource,omitempty"`
	// Proof are the proofs that there were. Admission wants "name" or "shared" at least; the others add to them.
	Proof []string `json:"proof"`
}

// The proofs that a binding stays within its shop.
const (
	ProofName   = "name"   // fleet.yml gives the shop this name, by its rule or an exception
	ProofID     = "id"     // the account said that the id has that name
	ProofTag    = "tag"    // the resource's owner tag named the shop
	ProofRecord = "record" // the identity record inside the store named the shop
	ProofShared = "shared" // fleet.yml lists it as shared, with a reason
)

// NoEntry is the Previous of an entry that none was before.
const NoEntry = "none"

// EntryDigest identifies an entry by what the journal keeps of it: the SHA-256 of its canonical JSON, in which the keys of
// objects are sorted and nothing stands between the tokens. "" for what is no JSON.
func EntryDigest(kept json.RawMessage) string {
	decoder := json.NewDecoder(bytes.NewReader(kept))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return ""
	}
	var canonical bytes.Buffer
	encoder := json.NewEncoder(&canonical)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(value) != nil { // maps are written in the order of their keys
		return ""
	}
	sum := sha256.Sum256(bytes.TrimSuffix(canonical.Bytes(), []byte("\n")))
	return hex.EncodeToString(sum[:])
}

// newest is what the next entry of a journal says in Previous.
func newest(journal []Release) string {
	if len(journal) == 0 {
		return NoEntry
	}
	return journal[0].Digest
}

// bound lists the bindings of the config that reach something, as this state shows them.
func (want *Desired) bound(have *State) []Bound {
	var out []Bound
	for _, b := range want.Config.Bindings {
		for _, r := range ReachOf(b) {
			if r.Free {
				continue
			}
			bound := Bound{Name: b.Name, Type: r.Type, Resource: r.Resource, Proof: []string{}}
			known := false // the account told
			switch r.Type {
			case "d1":
				bound.ID = r.Resource
				bound.Resource, known = have.Databases[r.Resource]
			case "kv_namespace":
				bound.ID = r.Resource
				bound.Resource, known = have.Namespaces[r.Resource]
			case "r2_bucket":
				key := r.Resource
				if r.Jurisdiction != "" {
					key += " in " + r.Jurisdiction
				}
				known = have.Buckets[key]
			}
			if want.Shop.Owns(r.Type, bound.Resource) {
				bound.Proof = append(bound.Proof, ProofName)
			}
			if known {
				bound.Proof = append(bound.Proof, ProofID)
			}
			bound.Proof = append(bound.Proof, want.vouchers(have, r)...)
			if want.policy != nil && want.policy.IsShared(r.Type, bound.Resource) {
				bound.Proof = append(bound.Proof, ProofShared)
			}
			out = append(out, bound)
		}
	}
	return out
}

// resourceKinds are the kinds of resource behind types of bindings.
var resourceKinds = map[string]string{
	"d1": kindD1, "kv_namespace": kindKV, "r2_bucket": kindR2, "service": kindWorker, "durable_object_namespace": kindWorker,
}

// vouchers are the proofs that lie with a resource itself. A record that was not read is one that the live release, which
// is bound to the same stores, had proved; of a shared store nobody proves that.
func (want *Desired) vouchers(have *State, r Reach) []string {
	var out []string
	s := Store{Kind: resourceKinds[r.Type], ID: r.Resource}
	if have.Owners[s.key()] == want.Shop.Slug {
		out = append(out, ProofTag)
	}
	proved := have.Records == nil && have.Live.Stores == want.storesID() &&
		slices.ContainsFunc(want.owned(have), func(o Store) bool { return o.key() == s.key() })
	if have.Records[s.key()] == want.Shop.Slug || proved {
		out = append(out, ProofRecord)
	}
	return out
}

// words is what the gate said, for the journal: the tries it took, what the release sees in its stores, and what becomes of
// strangers.
func (g GateResult) words() string {
	tries := "tries"
	if g.Tries == 1 {
		tries = "try"
	}
	said := []string{fmt.Sprintf("passed its gate after %d %s", g.Tries, tries)}
	stores := map[string][]string{} // by the slug that they say
	for store, slug := range g.Identity {
		if slug != "" {
			stores[slug] = append(stores[slug], strings.ToUpper(store))
		}
	}
	slugs := make([]string, 0, len(stores))
	for slug := range stores {
		slugs = append(slugs, slug)
	}
	slices.Sort(slugs)
	for _, slug := range slugs {
		list := stores[slug]
		slices.Sort(list)
		verb := "say"
		if len(list) == 1 {
			verb = "says"
		}
		said = append(said, and(list)+" "+verb+" "+slug)
	}
	if len(g.Bounced) > 0 {
		said = append(said, "strangers are sent away")
	}
	return strings.Join(said, "; ")
}

// and joins words as people do.
func and(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " and " + list[len(list)-1]
}

// Chain checks that entries, newest first, follow each other as each says: that none was changed, left out, put in between
// or moved since the next one was written. The newest entry has none behind it to vouch for it, and of the oldest it is not
// known whom it follows; whole says that there is none before it. Entries of older shopfleets carry no link and may lie
// below those that do. Every finding is about the entry named in its message.
func Chain(entries []Release, whole bool) Findings {
	var out Findings
	broken := func(e Release, format string, args ...any) {
		out = append(out, Finding{
			Rule: "receipt-chain-broken", Level: LevelError, Message: entryName(e) + " " + fmt.Sprintf(format, args...),
			Expected: "every entry to follow the one before it",
			Hint:     "find out who wrote or deleted GitHub Deployments of this environment; shopfleet never changes or deletes one",
		})
	}
	for i, e := range entries {
		older := entries[i+1:]
		at := slices.IndexFunc(entries, func(o Release) bool { return e.Previous != "" && o.Digest == e.Previous })
		switch {
		case e.Previous == "":
			if slices.ContainsFunc(older, func(o Release) bool { return o.Previous != "" }) {
				broken(e, "says of no entry that it follows it, and older ones do: it is forged, or written by an older shopfleet")
			}
		case e.Previous == NoEntry && len(older) > 0:
			broken(e, "says that it is the first, and %s is older", entryName(older[0]))
		case e.Previous == NoEntry, len(older) > 0 && at == i+1, len(older) == 0 && !whole:
		case at < 0:
			broken(e, "follows an entry that is not there: it was deleted, or changed since")
		case at > i+1:
			broken(e, "follows %s: what stands between them is forged, or was moved (%s)", entryName(entries[at]), entryNames(entries[i+1:at]))
		default:
			broken(e, "follows %s, which is not older: they were moved", entryName(entries[at]))
		}
	}
	return out
}

func entryName(e Release) string {
	return fmt.Sprintf("entry %s (version %s)", e.ID, e.VersionID)
}

func entryNames(list []Release) string {
	names := make([]string, 0, 3)
	for _, e := range list[:min(len(list), 3)] {
		names = append(names, "entry "+e.ID)
	}
	if more := len(list) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// Contradicts says whether a version's own message, which its upload gave it, tells of another release than the entry does.
// A version that carries no message of ours says nothing about it.
func (r Release) Contradicts(tag, message string) bool {
	m, ok := parseMemo(message)
	if !ok || m.mark != tag {
		return false
	}
	if r.Outside {
		return r.Content != m.mark // somebody released a version of ours
	}
	_, about := Live{Version: r.VersionID, Mark: m.mark, Message: message}.Entry([]Release{r})
	return !about
}
