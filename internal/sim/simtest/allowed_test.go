package simtest

import "testing"

// A difference without a reason is a hole.
func TestEveryExceptionHasAReason(t *testing.T) {
	for name, rules := range map[string][]rule{"undocumentedOps": undocumentedOps, "textBodies": textBodies, "extraQuery": extraQuery} {
		for _, r := range rules {
			if r.reason == "" {
				t.Errorf("%s: %s %s has no reason", name, r.method, r.path)
			}
		}
	}
}
