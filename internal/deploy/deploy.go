// Package deploy brings one shop from what it is to what its commit says.
//
// It works in four movements, and each hands the next a plain value:
//
//	Prepare  a commit of a shop's branch → Desired: config resolved, admitted, bundled (offline)
//	Observe  a Cloudflare account        → State: one parallel round of reads
//	Diff     Desired + State             → Plan: pure; steps, findings and a digest
//	Apply    Plan                        → Outcome: the writes, in the order that survives a crash
//
// # The order of a deploy
//
// Apply carries out a plan's steps in this order, and the order is the safety:
// a process that dies between any two of them leaves something extra (an asset
// nobody references, a version nobody is served, a migration ahead of its
// code), never something missing, and running the same command again finishes
// the job.
//
//  1. bookmark of the database (the way back), static assets, workers.dev
//  2. upload of the version; it takes no traffic
//  3. migrations that expand the schema, each file atomic with its row in the ledger
//  4. where the policy asks for it, the version is made part of the deployment
//     with 0 % of the traffic and asked over the shop's hostname which shop it
//     sees in its stores, and what it does with strangers
//  5. release: the version takes 100 % of the traffic; its entry in the journal
//     was begun before step 3
//  6. script settings, crons, hostnames
//  7. gate: the release is asked over its own hostname what it is, which shop it
//     sees in its stores, and what it does with strangers
//  8. migrations that contract the schema: what they take away the release
//     before may have used, so they wait until this one is known to be good
//
// What a migration does is not read from its text: Observe runs the pending
// files on a real SQLite that has the shop's own schema (package d1).
//
// A Worker that does not exist yet, and one whose Durable Object migrations
// are pending, cannot take a version without releasing it; there step 2 is
// left out and step 5 is the single upload that Cloudflare calls PUT, with
// workers.dev after it.
//
// A version that fails before its release never takes traffic: the live one is
// deployed alone again. A process that dies at step 4 leaves the live version with
// 100 % and the new one with 0 %, which is no split.
//
// A release that does not pass its gate is replaced, once, by the version
// which was live before, named by its id (never "previous").
//
// A rollback (rollback.go) has an order of its own: journal, database where it
// must go back too, release, crons and hostnames, gate.
//
// # What is remembered, and where
//
// shopfleet keeps no database. A version that it uploads carries a mark, a
// digest of everything that went into it except build_info.json and secret
// values, in its annotations, and the deployment that releases it repeats the
// mark. Reading the deployments of a Worker therefore tells whether what is
// live is what a commit says, and whether somebody else released since.
//
// Whose a Worker and its stores are is written in the account (owner tags) and
// inside of the stores (identity records; see identity.go). A release remembers
// which stores it is bound to, and that they were found to be the shop's, so that
// the records need not be read with every deploy.
//
// Where there is a Journal each release is an entry of it: begun before the
// version takes traffic, so that there is no release without one, and finished
// with what the gate said. A known good release is one that passed its gate. A
// live version without an entry was released where no journal was, or by
// somebody else; it is written down as such before it is replaced.
package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
)

// Finding is something wrong in the user's world (not an error of ours). The
// packages fleet, wrangler and d1 declare the same struct, so that theirs
// convert to this one.
type Finding struct {
	Rule     string `json:"rule"`               // kebab-case name, documented in docs/findings.md, stable
	Level    string `json:"level"`              // "error", "warning" or "notice"
	File     string `json:"file,omitempty"`     // as the user knows it, slash separated, relative to the project
	Line     int    `json:"line,omitempty"`     // 1-based; 0 unknown
	Column   int    `json:"column,omitempty"`   // 1-based, in bytes; 0 unknown
	Message  string `json:"message"`            // what is wrong
	Expected string `json:"expected,omitempty"` // what was expected
	Hint     string `json:"hint,omitempty"`     // what to type or do next
	Source   string `json:"source,omitempty"`   // the source line, without newline
}

// Findings is a list of findings that can be returned as an error.
type Findings []Finding

// Error gives each finding a line of its own: "file:line:column: message [rule]".
func (f Findings) Error() string {
	lines := make([]string, len(f))
	for i, x := range f {
		lines[i] = x.String()
	}
	return strings.Join(lines, "\n")
}

// Blocking reports whether one of the findings is an error; a plan with such a
// finding is not applied.
func (f Findings) Blocking() bool {
	for _, x := range f {
		if x.Level == LevelError {
			return true
		}
	}
	return false
}

// sorted orders findings for people and for digests: by place, then rule. That something is another shop's comes first,
// wherever it stands.
func (f Findings) sorted() Findings {
	sort.SliceStable(f, func(i, j int) bool {
		a, b := f[i], f[j]
		switch {
		case (a.Rule == ruleOwnerMismatch) != (b.Rule == ruleOwnerMismatch):
			return a.Rule == ruleOwnerMismatch
		case a.File != b.File:
			return a.File < b.File
		case a.Line != b.Line:
			return a.Line < b.Line
		case a.Column != b.Column:
			return a.Column < b.Column
		case a.Rule != b.Rule:
			return a.Rule < b.Rule
		}
		return a.Message < b.Message
	})
	return f
}

// The levels of a finding.
const (
	LevelError   = "error"   // nothing is written while it stands
	LevelWarning = "warning" // shown; the deploy goes on
	LevelNotice  = "notice"  // shown; nothing is expected of anybody
)

// String is the finding on one line, in the form editors understand.
func (f Finding) String() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
		if f.Line > 0 {
			fmt.Fprintf(&b, ":%d", f.Line)
			if f.Column > 0 {
				fmt.Fprintf(&b, ":%d", f.Column)
			}
		}
		b.WriteString(": ")
	}
	fmt.Fprintf(&b, "%s [%s]", f.Message, f.Rule)
	return b.String()
}

// Action is the kind of a step.
type Action string

// The actions, in the order in which Apply carries them out.
const (
	ActionBookmark  Action = "bookmark"        // note the database's point in time before it changes
	ActionAssets    Action = "assets"          // upload static assets that the account does not have
	ActionSecrets   Action = "secrets"         // which secrets the version changes; the upload carries them
	ActionUpload    Action = "upload"          // upload a version that takes no traffic
	ActionMigrate   Action = "migrate"         // apply pending migrations that the running release does not notice
	ActionProve     Action = "prove"           // ask the uploaded version before it takes traffic
	ActionRelease   Action = "release"         // give the uploaded version all traffic
	ActionPut       Action = "put"             // upload and release in one call
	ActionSettings  Action = "script-settings" // settings that are not part of a version
	ActionSubdomain Action = "workers-dev"     // reachability on workers.dev
	ActionCrons     Action = "crons"           // replace the cron triggers
	ActionAttach    Action = "attach-hostname" // custom domains of this Worker
	ActionDetach    Action = "detach-hostname" // a custom domain that the config no longer has
	ActionRoutes    Action = "routes"          // zone routes of this Worker
	ActionGate      Action = "gate"            // check the release, restore the known good one when it fails
	ActionContract  Action = "contract"        // apply pending migrations that take away what the release before used

	ActionRestore Action = "restore" // put the database back, in Restore and RollbackPlan and in no Plan
)

// Step is one change in a plan, as data: it holds every id that Apply needs,
// so that what is shown, approved and applied is the same value.
type Step struct {
	Action Action `json:"action"`
	// Target is what changes: a Worker, a database, a hostname.
	Target string `json:"target"`
	// ID is the identifier behind Target where it has one (a database's uuid, a domain's id).
	ID string `json:"id,omitempty"`
	// Before and After are what stands there now and what will: version ids,
	// cron expressions, hostnames, migration files. Their meaning follows Action.
	Before []string `json:"before,omitempty"`
	After  []string `json:"after,omitempty"`
	// Zone is the id of the zone that Target lies in, for routes.
	Zone string `json:"zone,omitempty"`
}

// String is the step in one line for people.
func (s Step) String() string {
	list := func(l []string) string {
		if len(l) == 0 {
			return "none"
		}
		return strings.Join(l, ", ")
	}
	switch s.Action {
	case ActionBookmark:
		return "bookmark " + s.Target
	case ActionAssets:
		return "upload changed assets"
	case ActionSecrets:
		text := "secrets of " + s.Target + " with the version: " + list(s.After)
		if len(s.Before) > 0 {
			text += "; removed: " + list(s.Before)
		}
		return text
	case ActionUpload:
		return "upload a version of " + s.Target + " (takes no traffic)"
	case ActionMigrate:
		return fmt.Sprintf("migrate %s: %s", s.Target, list(s.After))
	case ActionContract:
		return fmt.Sprintf("migrate %s, after the gate: %s", s.Target, list(s.After))
	case ActionProve:
		return "ask the version at " + s.Target + " before it takes traffic"
	case ActionRelease:
		if len(s.After) == 1 && !isMark(s.After[0]) { // a rollback names the version, which is there already
			return fmt.Sprintf("release version %s of %s in place of %s", s.After[0], s.Target, list(s.Before))
		}
		return fmt.Sprintf("release the version on %s in place of %s", s.Target, list(s.Before))
	case ActionPut:
		if len(s.Before) == 0 {
			return "create and release " + s.Target
		}
		return fmt.Sprintf("upload and release %s in place of %s", s.Target, list(s.Before))
	case ActionSettings:
		return "settings of " + s.Target + ": " + list(s.After)
	case ActionSubdomain:
		return "workers.dev of " + s.Target + ": " + list(s.After)
	case ActionCrons:
		return fmt.Sprintf("crons of %s: %s → %s", s.Target, list(s.Before), list(s.After))
	case ActionAttach:
		return "attach " + s.Target
	case ActionDetach:
		return "detach " + s.Target
	case ActionRoutes:
		return fmt.Sprintf("routes of %s: %s → %s", s.Target, list(s.Before), list(s.After))
	case ActionGate:
		return "check " + s.Target
	}
	return string(s.Action) + " " + s.Target
}

// Plan is what would change for one shop. It is made by Diff, has no clock and
// no randomness in it, and is applied as it is.
type Plan struct {
	Shop   string `json:"shop"`
	Worker string `json:"worker"`
	Commit string `json:"commit"`
	// Mark is the digest that the released version will carry (see package doc).
	Mark string `json:"mark"`
	// Basis is a digest of the state that the plan was made from; Apply refuses
	// when the world is no longer there.
	Basis string `json:"basis"`
	// Live is the version that takes the traffic now; "" when there is none.
	Live  string `json:"live,omitempty"`
	Steps []Step `json:"steps"`
	// Migrations are the pending files, in the order in which they are applied.
	Migrations []MigrationPlan `json:"migrations,omitempty"`
	// Schema is the fingerprint of the schema now, SchemaAfter that with all pending files applied.
	Schema      string    `json:"schema,omitempty"`
	SchemaAfter string    `json:"schema_after,omitempty"`
	Findings    []Finding `json:"findings,omitempty"`
}

// MigrationPlan is what one pending file does.
type MigrationPlan struct {
	File string `json:"file"`
	// Phase is "expand" for a file that is applied before the release, "contract" for one that waits for the gate.
	Phase string `json:"phase"`
	// Changes are what it does, one line each.
	Changes []string `json:"changes,omitempty"`
	// Reason is why its author says that data may be lost.
	Reason string `json:"reason,omitempty"`
}

// Digest identifies the plan: equal plans have equal digests, on every machine.
func (p *Plan) Digest() string {
	b, err := json.Marshal(p)
	if err != nil {
		// A Plan is strings all the way down; Marshal has no way to fail on it.
		panic("deploy: encoding a plan: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// sameWork says whether two plans do the same on the same state, with the same findings except for the words of their
// messages: those name numbers of rows, which change while a shop is open.
func (p *Plan) sameWork(other *Plan) bool {
	silent := func(p *Plan) string {
		c := *p
		c.Findings = append([]Finding(nil), p.Findings...)
		for i := range c.Findings {
			c.Findings[i].Message = ""
		}
		return c.Digest()
	}
	return silent(p) == silent(other)
}

// Changes reports whether the plan writes anything.
func (p *Plan) Changes() bool { return len(p.Steps) > 0 }

// Has reports whether the plan has a step of that kind.
func (p *Plan) Has(a Action) bool {
	_, ok := p.step(a)
	return ok
}

func (p *Plan) step(a Action) (Step, bool) {
	for _, s := range p.Steps {
		if s.Action == a {
			return s, true
		}
	}
	return Step{}, false
}

func (p *Plan) all(a Action) []Step {
	var out []Step
	for _, s := range p.Steps {
		if s.Action == a {
			out = append(out, s)
		}
	}
	return out
}
