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
		{`{"a": 1}`, `{"a": "1"}`, "a changed at [a]"},
		{`{"a": {"b": [1, {"c": 2}]}}`, `{"a": {"b": [1, {"c": 3}]}}`, "a changed at [a b 1 c]"},
		{`{"a": [1]}`, `{"a": [1, 2]}`, "a changed at [a]"},
		{`{"a": null}`, `{}`, "a gone at [a]"},
		{`{}`, `{"a": null}`, "a new at [a]"},
		{`{"a": {}}`, `{"a": []}`, "a changed at [a]"},
		{`{}`, `{"env": {"s": {"k": 1}}}`, "s. new at [env s], s.k new at [env s k]"},
		{`{"env": {"s": {"k": 1, "l": 1}}}`, `{"env": {"s": {"k": 2}}}`, "s.k changed at [env s k], s.l gone at [env s l]"},
		{`{"env": {"s": {}, "t": {}}}`, `{"env": {"s": {}}}`, "t. gone at [env t]"},
		{`{"env": {"s": {}}}`, `{"env": {"s": []}}`, "s. changed at [env s]"},
		{`{"env": {"s": {}}}`, `{}`, "s. gone at [env s]"},
		{`{"env": {}}`, `{"env": 1}`, "env changed at [env]"},
	} {
		var got []string
		for _, d := range parse(c.branch).Differences(parse(c.base)) {
			name, how := d.Key, "changed"
			if d.Env != "" {
				name = d.Env + "." + d.Key
			}
			if d.New {
				how = "new"
			} else if d.Gone {
				how = "gone"
			}
			got = append(got, fmt.Sprintf("%s %s at %v", name, how, d.Path))
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s over %s: %q, want %q", c.branch, c.base, s, c.want)
		}
	}
}
