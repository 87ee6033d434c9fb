package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// RefUpdate moves one ref of a remote from one object to another.
type RefUpdate struct {
	Name   string // in full, refs/…
	Before string // what it must point to for the move; "" when it must not exist
	After  string // what it will point to; "" removes it
}

// Refusal is why a remote does not move a ref.
type Refusal string

// The refusals.
const (
	Stale     Refusal = "stale"     // the ref is not where it was expected: somebody was faster
	Workflows Refusal = "workflows" // an App without the permission workflows may not bring changes of workflow files
	Protected Refusal = "protected" // a rule of the repository forbids it
	Refused   Refusal = "refused"   // anything else
)

// RefusedRef is a ref that a remote did not move.
type RefusedRef struct {
	Name   string
	Why    Refusal
	Reason string // in the words of git or the remote
	File   string // of Workflows: the workflow file
	Now    string // of Stale: where the ref is; "" when it does not exist
}

// PushError is a push that was turned down. No ref was moved.
type PushError struct {
	// Refs are the refs that were refused, in the order of the updates; never those that were only held back with them.
	Refs []RefusedRef
	// Said is what the remote said besides, for people.
	Said string
}

func (e *PushError) Error() string {
	var b strings.Builder
	b.WriteString("the push was refused")
	for i, r := range e.Refs {
		if i == 3 {
			fmt.Fprintf(&b, "; and %d more", len(e.Refs)-i)
			break
		}
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		fmt.Fprintf(&b, "%s%s: %s", sep, r.Name, r.Reason)
	}
	return b.String()
}

// Hint says what to do about it; "" when that is not known.
func (e *PushError) Hint() string {
	for _, r := range e.Refs {
		switch r.Why {
		case Stale:
			return "somebody pushed meanwhile: look again and repeat"
		case Workflows:
			return "give the App the permission workflows: write, or carry that file by hand"
		case Protected:
			return "let the App bypass the rule on these branches"
		}
	}
	return ""
}

// Has says whether any of the refs was refused for this reason.
func (e *PushError) Has(why Refusal) bool {
	return slices.ContainsFunc(e.Refs, func(r RefusedRef) bool { return r.Why == why })
}

// Push moves refs of a remote, all or none of them, with one git: each must be where its update says that it was. What
// the remote lacks for it is sent along; the objects have to be here. A ref that is where it should go counts as moved,
// so that the same push can be repeated. The error is a *PushError when the remote turned it down.
//
// When the answer does not arrive, the remote is asked where the refs are; Push did well if all are where they should
// be. After a fault without any effect it is tried again. No ref and no setting of r has a part in it.
func (r *Repository) Push(ctx context.Context, remote Remote, updates []RefUpdate) error {
	left, err := checkUpdates(updates)
	if err != nil {
		return fmt.Errorf("pushing: %w", err)
	}
	for n := 1; len(left) > 0; n++ {
		var again bool
		all := len(left)
		left, again, err = r.push(ctx, remote, left)
		switch {
		case err == nil:
			return nil
		case !again:
			return fmt.Errorf("pushing: %w", err)
		case n < attempts && len(left) < all: // the rest had been done before, and may be what git stumbled over
		case !remote.again(ctx, n, err): // the leases make the next try as safe as the first
			return fmt.Errorf("pushing: %w", err)
		}
	}
	return nil
}

// checkUpdates are the updates that move something.
func checkUpdates(updates []RefUpdate) ([]RefUpdate, error) {
	var left []RefUpdate
	seen := map[string]bool{}
	for _, u := range updates {
		if err := checkRef(u.Name); err != nil {
			return nil, err
		}
		if seen[u.Name] {
			return nil, fmt.Errorf("%s is there twice", u.Name)
		}
		seen[u.Name] = true
		for _, id := range []string{u.Before, u.After} {
			if id != "" && checkID(id) != nil {
				return nil, fmt.Errorf("%q, for %s, is not the id of an object", id, u.Name)
			}
		}
		if u.Before != u.After {
			left = append(left, u)
		}
	}
	return left, nil
}

const (
	remoteName = "shopfleet"
	pushedRefs = "refs/push/" // what a ref becomes
	wasRefs    = "refs/was/"  // where it must be
)

// push is one try. It returns the updates that are not where they should be; again says that nothing is against another
// try.
//
// The updates are written down as refs of a repository that is there for this push only: where they go to, and, as the
// state in which the remote was seen, where they must be. So the command needs one refspec and one lease for all. Named
// one by one, git compares each with every ref of the remote, and a fleet has thousands of them.
func (r *Repository) push(ctx context.Context, remote Remote, updates []RefUpdate) (left []RefUpdate, again bool, err error) {
	dir, err := os.MkdirTemp("", "shopfleet-push-")
	if err != nil {
		return updates, false, err
	}
	defer os.RemoveAll(dir)
	from, err := r.Scratch(ctx, filepath.Join(dir, "push.git"))
	if err != nil {
		return updates, false, err
	}
	if err := from.have(ctx, updates); err != nil { // git leaves out a ref whose object is not there
		return updates, false, err
	}
	var refs, names []string
	args := []string{"push", "--porcelain", "--atomic", "--no-verify", "--no-follow-tags", "--recurse-submodules=no", "--no-signed", "--force-with-lease", remoteName}
	said := append(slices.Clone(args[:len(args)-1]), remote.URL, fmt.Sprintf("(%d refs)", len(updates)))
	if slices.ContainsFunc(updates, func(u RefUpdate) bool { return u.After != "" }) {
		args = append(args, pushedRefs+"*:refs/*")
	}
	for _, u := range updates {
		name := strings.TrimPrefix(u.Name, "refs/")
		if u.Before != "" {
			refs = append(refs, u.Before+" "+wasRefs+name+"\n")
		}
		if u.After != "" {
			refs = append(refs, u.After+" "+pushedRefs+name+"\n")
		} else {
			args = append(args, ":"+u.Name)
		}
		names = append(names, u.Name)
	}
	if err := os.WriteFile(filepath.Join(from.Dir, "packed-refs"), []byte(strings.Join(refs, "")), 0o600); err != nil {
		return updates, false, err
	}
	c, err := from.connect(ctx, remote,
		[2]string{"core.fsync", "none"}, // of what is thrown away at once
		[2]string{"remote." + remoteName + ".url", remote.URL},
		[2]string{"remote." + remoteName + ".fetch", "+refs/*:" + wasRefs + "*"})
	if err != nil {
		return updates, false, err
	}
	out, errs, err := c.run(ctx, nil, said, args...)
	if ctx.Err() != nil {
		return updates, false, err
	}
	if err == nil {
		if reported(out) == len(updates) {
			return nil, false, nil
		}
		err = errors.New("git did not say what became of each ref")
	}
	refused := readRefusals(out, errs)
	now, unknown := from.RemoteRefs(ctx, remote, names...)
	if unknown != nil {
		if len(refused) == 0 {
			return updates, false, errors.Join(err, unknown)
		}
	} else if left = slices.DeleteFunc(slices.Clone(updates), func(u RefUpdate) bool { return now[u.Name] == u.After }); len(left) == 0 {
		return nil, false, nil
	}
	e := &PushError{Said: remoteSaid(errs)}
	for _, u := range updates {
		ref, ok := refused[u.Name]
		if unknown == nil && now[u.Name] == u.After {
			continue // git finds a ref stale that was removed before
		}
		// Where the ref is tells more than words.
		if at := now[u.Name]; unknown == nil && at != u.Before && at != u.After {
			if !ok {
				ref = RefusedRef{Name: u.Name, Reason: "it was moved by somebody else"}
			}
			ref.Why, ref.Now, ok = Stale, at, true
		}
		if ok {
			e.Refs = append(e.Refs, ref)
		}
	}
	if len(e.Refs) == 0 && strings.Contains(out, "[remote rejected] (atomic transaction failed)") {
		// The remote does not say which of them it is about, such as a name that is a directory among its other refs.
		for _, u := range left {
			e.Refs = append(e.Refs, RefusedRef{Name: u.Name, Why: Refused, Reason: "the remote did not take all refs of the push together"})
		}
	}
	if len(e.Refs) == 0 {
		return left, unknown == nil, err
	}
	return updates, false, e
}

// have makes sure that what refs will point to is here.
func (r *Repository) have(ctx context.Context, updates []RefUpdate) error {
	var ids strings.Builder
	for _, u := range updates {
		if u.After != "" {
			ids.WriteString(u.After + "\n")
		}
	}
	out, err := r.run(ctx, strings.NewReader(ids.String()), "cat-file", "--batch-check=%(objecttype)")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		if id, missing := strings.CutSuffix(strings.TrimSuffix(line, "\n"), " missing"); missing {
			return &NotFoundError{"commit", id}
		}
	}
	return nil
}

// reported counts the lines of git push --porcelain about refs that are where they should go.
func reported(out string) int {
	n := 0
	for line := range strings.Lines(out) {
		if f := strings.SplitN(line, "\t", 3); len(f) == 3 && len(f[0]) == 1 && strings.Contains(" +-*=", f[0]) {
			n++
		}
	}
	return n
}

var (
	refusedWorkflow = regexp.MustCompile("to create or update workflow `([^`]*)`")
	// refusedRule are the words of rulesets and of the older branch protection.
	refusedRule = regexp.MustCompile(`rule violations|protected branch|GH006|GH013`)
	staleWords  = regexp.MustCompile(`^(stale info|fetch first|remote ref updated since checkout)$|is at [0-9a-f]+ but expected|reference already exists|unable to resolve reference`)
	// collateral is said of refs that are held back because of another.
	collateral = regexp.MustCompile(`^atomic (push failed|transaction failed|push failure)`)
)

// readRefusals reads the lines of git push --porcelain about refs that were not moved, by name.
func readRefusals(out, errs string) map[string]RefusedRef {
	refused := map[string]RefusedRef{}
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
		if len(f) != 3 || f[0] != "!" {
			continue
		}
		_, name, _ := strings.Cut(f[1], ":")
		// The summary is [rejected] or [remote rejected], and the reason behind it in parentheses.
		_, reason, _ := strings.Cut(f[2], "] ")
		reason = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(reason), "("), ")")
		if name == "" || collateral.MatchString(reason) || strings.HasPrefix(f[2], "[remote failure]") {
			continue
		}
		r := RefusedRef{Name: name, Why: Refused, Reason: reason}
		if r.Reason == "" {
			r.Reason = "no reason was given"
		}
		workflow := refusedWorkflow.FindStringSubmatch(reason)
		if workflow == nil && strings.Contains(reason, "hook declined") {
			workflow = refusedWorkflow.FindStringSubmatch(errs)
		}
		switch {
		case workflow != nil:
			r.Why, r.File = Workflows, workflow[1]
		case staleWords.MatchString(reason):
			r.Why = Stale
		case refusedRule.MatchString(reason), strings.Contains(reason, "hook declined") && refusedRule.MatchString(errs):
			r.Why = Protected
		}
		refused[name] = r
	}
	return refused
}

// remoteSaid are the lines that a remote writes for people.
func remoteSaid(errs string) string {
	var lines []string
	for line := range strings.Lines(errs) {
		if text, ok := strings.CutPrefix(line, "remote: "); ok {
			if text = strings.TrimSpace(text); text != "" {
				lines = append(lines, text)
			}
		}
	}
	return strings.Join(lines, "\n")
}
