package wrangler_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

func TestDifferences(t *testing.T) {
	parse := func(text string) *wrangler.Project {
		t.Helper()
		p, err := wrangler.Parse(t.TempDir(), "wrangler.jsonc", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct{ base, branch, want string }{
		{`{"a": 1, "b": {"x": 1, "y": [1, 2]}}`, `{ /* words */ "b": {"y": [1.0, 2e0], "x": 1}, "\u0061": 1,}`, ""},
		{`{"a": "x\ny"}`, `{"a": "x\u000ay"}`, ""},
		{`{"a": 1}`, `{"a": "1"}`, "a differs at [a]"},
		{`{"a": {"b": [1, {"c": 2}]}}`, `{"a": {"b": [1, {"c": 3}]}}`, "a differs at [a b 1 c]"},
		{`{"a": [1]}`, `{"a": [1, 2]}`, "a differs at [a]"},
		{`{"a": null}`, `{}`, "a is gone at [a]"},
		{`{}`, `{"a": null}`, "a is new at [a]"},
		{`{"a": {}}`, `{"a": []}`, "a differs at [a]"},
		{`{}`, `{"env": {"s": {"k": 1}}}`, "env.s is new at [env s], env.s.k is new at [env s k]"},
		{`{"env": {"s": {"k": 1, "l": 1}}}`, `{"env": {"s": {"k": 2}}}`, "env.s.k differs at [env s k], env.s.l is gone at [env s l]"},
		{`{"env": {"s": {}, "t": {}}}`, `{"env": {"s": {}}}`, "env.t is gone at [env t]"},
		{`{"env": {"s": {}}}`, `{"env": {"s": []}}`, "env.s differs at [env s]"},
		{`{"env": {"s": {}}}`, `{}`, "env.s is gone at [env s]"},
		{`{"env": {}}`, `{"env": 1}`, "env differs at [env]"},
	} {
		var got []string
		for _, d := range parse(c.branch).Differences(parse(c.base)) {
			got = append(got, fmt.Sprintf("%s at %v", d, d.Path))
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s over %s: %q, want %q", c.branch, c.base, s, c.want)
		}
	}
}
