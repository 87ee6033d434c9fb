package deploy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// SecretMark is what the journal knows of a secret of a release: never its value.
type SecretMark struct {
	// Fingerprint is keyed by whoever can open the shop's bundle, so that it tells them, and nobody else, whether the value
	// is still the same.
	Fingerprint string `json:"fingerprint"`
	// Since is when a release first had this value.
	Since time.Time `json:"since"`
}

// secretsID identifies the values that a release brings, by their fingerprints, and whether it has no others but required
// ones; "" when nobody can tell: without fingerprints, or without secrets. A PUT removes none.
func (want *Desired) secretsID(put bool) string {
	only := want.RemoveSecrets && !put
	if want.Fingerprints == nil || len(want.Secrets) == 0 && !only {
		return ""
	}
	var words []string
	for name := range want.Secrets {
		words = append(words, name+"="+want.Fingerprints[name])
	}
	if only {
		words = append(words, "only")
	}
	return listDigest(words)
}

// puts says that the release would go out by PUT.
func puts(want *Desired, have *State) bool { return have.Worker == nil || needsPut(want, have) }

// secretsProven says that the live release has the very secrets that this one brings, and has proven the required ones.
func secretsProven(want *Desired, live Live, put bool) bool {
	if live.Required != listDigest(want.RequiredSecrets) {
		return false
	}
	return len(want.Secrets) == 0 && !want.RemoveSecrets || live.Values != "" && live.Values == want.secretsID(put)
}

// removedSecrets are the Worker's secrets that go with this release: those that no source has any more, where the policy
// says so. Required ones stay.
func removedSecrets(want *Desired, have *State) []string {
	if !want.RemoveSecrets || puts(want, have) {
		return nil
	}
	var out []string
	for _, name := range have.Secrets {
		if _, brought := want.Secrets[name]; !brought && !slices.Contains(want.RequiredSecrets, name) {
			out = append(out, name)
		}
	}
	return out
}

// keptSecrets are the Worker's secrets that a release which removes some inherits by name; nil where all are kept.
func keptSecrets(want *Desired, have *State) []string {
	gone := removedSecrets(want, have)
	if len(gone) == 0 {
		return nil
	}
	kept := []string{}
	for _, name := range have.Secrets {
		if _, brought := want.Secrets[name]; !brought && !slices.Contains(gone, name) {
			kept = append(kept, name)
		}
	}
	return kept
}

// secretsChange says that the release's secrets are not those of the live one: one is new, one goes, or a value is another
// one. Values cannot be read; the live release remembers their fingerprints. Where it remembers none, or this deploy has
// none, an equal name counts as equal, except that fingerprints which come up for the first time are to be remembered.
func secretsChange(want *Desired, have *State) bool {
	if newSecrets(want, have) || len(removedSecrets(want, have)) > 0 {
		return true
	}
	id := want.secretsID(puts(want, have))
	return id != "" && id != have.Live.Values
}

// secretSteps show which secrets go out with the version. The upload carries them.
func secretSteps(want *Desired, have *State) []Step {
	if !secretsChange(want, have) && (have.Worker != nil || len(want.Secrets) == 0) {
		return nil
	}
	return []Step{{Action: ActionSecrets, Target: want.Config.Name, Before: removedSecrets(want, have), After: slices.Sorted(maps.Keys(want.Secrets))}}
}

// removedFindings say of secrets that go, since nobody can read them again.
func removedFindings(want *Desired, have *State) []Finding {
	gone := removedSecrets(want, have)
	if len(gone) == 0 {
		return nil
	}
	return []Finding{{
		Rule: "secrets-removed", Level: LevelWarning,
		Message:  fmt.Sprintf("%s loses the secrets %s: no source has them any more, and fleet.yml says secrets.removed: delete", want.Config.Name, strings.Join(gone, ", ")),
		Expected: "a bundle with every secret that the shop needs",
		Hint:     "shopfleet secrets set " + want.Shop.Slug + " " + gone[0] + " puts one into the bundle; removed: keep leaves them all",
	}}
}

// bringsSecrets says that the version has secrets of its own. Cloudflare refuses to release one with others after it (code
// 10220), which is right where somebody changed a secret, and not where the very release that brought the change is taken
// back: code and secrets came together, and go together.
func (a *applying) bringsSecrets() bool {
	return len(a.want.Secrets) > 0 || len(removedSecrets(a.want, a.have)) > 0
}

// secretMarks are the marks of the version that takes the traffic. One that the journal knows has those that it always had;
// a new one has those of what it brings, and of the live release for what it inherits.
func (a *applying) secretMarks(version string) map[string]SecretMark {
	var last map[string]SecretMark // of the newest entry that has some
	for _, r := range a.have.Journal {
		if r.VersionID == version {
			return r.Secrets
		}
		if last == nil && len(r.Secrets) > 0 {
			last = r.Secrets
		}
	}
	marks := map[string]SecretMark{}
	if live, ok := a.have.Live.Entry(a.have.Journal); ok {
		gone := removedSecrets(a.want, a.have)
		for name, mark := range live.Secrets {
			if !slices.Contains(gone, name) {
				marks[name] = mark
			}
		}
	}
	now := a.e.now().UTC().Truncate(time.Second)
	for name := range a.want.Secrets {
		mark := SecretMark{Fingerprint: a.want.Fingerprints[name], Since: now}
		switch {
		case mark.Fingerprint == "":
			delete(marks, name) // whether it is still the same nobody knows
			continue
		case last[name].Fingerprint == mark.Fingerprint:
			mark.Since = last[name].Since
		}
		marks[name] = mark
	}
	if len(marks) == 0 {
		return nil
	}
	return marks
}
