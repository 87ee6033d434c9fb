package wrangler_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// merged merges and returns the text and the choices in one word each.
func merged(t *testing.T, base, main, shop string) (string, string) {
	t.Helper()
	var b []byte
	if base != "-" {
		b = []byte(base)
	}
	m, err := wrangler.Merge("wrangler.jsonc", "s", b, []byte(main), []byte(shop))
	if err != nil {
		t.Fatalf("%s\n%s\n%s: %v", base, main, shop, err)
	}
	var words []string
	for _, c := range m.Choices {
		taken := c.Taken
		if taken == "" {
			taken = "person"
		}
		words = append(words, fmt.Sprintf("%s: %s | %s | %s -> %s", c.Key, c.Base, c.Main, c.Shop, taken))
	}
	return string(m.Text), strings.Join(words, "; ")
}

// The table says what becomes of three texts, to the byte.
func TestMerge(t *testing.T) {
	for _, c := range []struct{ what, base, main, shop, want, choices string }{
		{"both sides of a line",
			`{ "a": 1, "b": 2 }`, `{ "a": 5, "b": 2 }`, `{ "a": 1, "b": 6 }`, `{ "a": 5, "b": 6 }`, ""},
		{"main wins outside",
			`{ "a": 1 }`, `{ "a": 2 }`, `{ "a": 3 }`, `{ "a": 2 }`, `a: 1 | 2 | 3 -> main`},
		{"the shop wins inside",
			`{"env":{"s":{"a":1}}}`, `{"env":{"s":{"a":2}}}`, `{"env":{"s":{"a":3}}}`, `{"env":{"s":{"a":3}}}`, `env.s.a: 1 | 2 | 3 -> shop`},
		{"another environment is outside",
			`{"env":{"t":{"a":1}}}`, `{"env":{"t":{"a":2}}}`, `{"env":{"t":{"a":3}}}`, `{"env":{"t":{"a":2}}}`, `env.t.a: 1 | 2 | 3 -> main`},
		{"alike", `{"a":1}`, `{"a": 2, }`, `{"a":2.0 }`, `{"a": 2, }`, ""},
		{"both add at the end",
			"{\n  \"a\": 1,\n}\n",
			"{\n  \"a\": 1,\n  // main's\n  \"m\": [1],\n}\n",
			"{\n  \"a\": 1,\n\n  // The shop's.\n  \"env\": {\n    // own\n    \"s\": { \"x\": 1 }, // here\n  },\n}\n",
			"{\n  \"a\": 1,\n  // main's\n  \"m\": [1],\n\n  // The shop's.\n  \"env\": {\n    // own\n    \"s\": { \"x\": 1 }, // here\n  },\n}\n", ""},
		{"main has no trailing comma",
			"{\n\t\"a\": 1 // one\n}", "{\n\t\"a\": 2 // one\n}", "{\n  \"a\": 1, // one\n  \"b\": {\n    \"c\": 1,\n  },\n}",
			"{\n\t\"a\": 2, // one\n\t\"b\": {\n\t\t\"c\": 1,\n\t}\n}", ""},
		{"ends of lines are main's",
			"{\r\n  \"a\": 1\r\n}\r\n", "{\r\n  \"a\": 2\r\n}\r\n", "{\n  \"a\": 1,\n  /* two\n     lines */\n  \"b\": 3\n}\n",
			"{\r\n  \"a\": 2,\r\n  /* two\r\n     lines */\r\n  \"b\": 3\r\n}\r\n", ""},
		{"a byte order mark is main's", "{}", "\ufeff{\"a\":1}", "{\"b\":1}", "\ufeff{\"a\":1, \"b\":1}", ""},
		{"elements by what they are called",
			`{"d1_databases": [{ "binding": "A", "id": 1 }, { "binding": "B", "id": 1 }]}`,
			`{"d1_databases": [{ "binding": "A", "id": 2 }, { "binding": "M" }, { "binding": "B", "id": 1 }]}`,
			`{"d1_databases": [{ "binding": "A", "id": 1 }, { "binding": "S" }, { "binding": "B", "id": 1, "n": 0 }]}`,
			`{"d1_databases": [{ "binding": "A", "id": 2 }, { "binding": "M" }, { "binding": "S" }, { "binding": "B", "id": 1, "n": 0 }]}`, ""},
		{"scalars by what they are",
			`{"crons": ["a", "b", "c"]}`, `{"crons": ["b", "c", "m"]}`, `{"crons": ["a", "b", "s"]}`, `{"crons": ["b", "s", "m"]}`, ""},
		{"a route as text and as an object",
			`{"routes": ["x/*", "y/*"]}`, `{"routes": ["x/*", "y/*", "z/*"]}`, `{"routes": [{ "pattern": "x/*", "zone_name": "x" }, "y/*"]}`,
			`{"routes": [{ "pattern": "x/*", "zone_name": "x" }, "y/*", "z/*"]}`, ""},
		{"who alone changes the order has it",
			`{"a": ["1", "2", "3"]}`, `{"a": ["1", "2", "3", "4"]}`, `{"a": ["3", "2", "1"]}`, `{"a": ["3", "4", "2", "1"]}`, ""},
		{"both changed the order", `{"a": ["1", "2", "3"]}`, `{"a": ["2", "1", "3"]}`, `{"a": ["3", "2", "1"]}`, `{"a": ["2", "1", "3"]}`, ""},
		{"removed goes with its comment",
			"{\n  // x\n  \"x\": 1, // xx\n  \"y\": 1\n}", "{\n  // x\n  \"x\": 1, // xx\n  \"y\": 2\n}", "{\n  \"y\": 1\n}", "{\n  \"y\": 2\n}", ""},
		{"removed at the end of a line", `{"a": [1, 2], "b": 1}`, `{"a": [1, 2], "b": 2}`, `{"a": [2], "b": 1}`, `{"a": [2], "b": 2}`, ""},
		{"all removed", "{\"a\": [\n  1,\n], \"b\": 1}", "{\"a\": [\n  1,\n], \"b\": 2}", `{"a": [], "b": 1}`, `{"a": [], "b": 2}`, ""},
		{"a line becomes lines",
			`{"vars": { "A": "1" }, "b": 1}`, `{"vars": { "A": "2" }, "b": 1}`, "{\n  \"vars\": {\n    \"A\": \"1\",\n    // why\n    \"B\": \"2\",\n  },\n  \"b\": 1\n}",
			"{\"vars\": {\n  \"A\": \"2\",\n  // why\n  \"B\": \"2\",\n}, \"b\": 1}", ""},
		{"comments of one side",
			"{\n  // old\n  \"a\": 1, // one\n  \"b\": 1\n  // end\n}", "{\n  // old\n  \"a\": 1, // one\n  \"b\": 2\n  // end\n}",
			"// head\n{\n  // new\n  \"a\": 1, // uno\n  \"b\": 1\n  // fin\n}",
			"// head\n{\n  // new\n  \"a\": 1, // uno\n  \"b\": 2\n  // fin\n}", ""},
		{"inside, what main adds is put into the shop's text",
			"{\n  \"env\": {\n    \"s\": {\n      \"a\": 1\n    }\n  }\n}", "{\n  \"env\": {\n    \"s\": {\n      \"a\": 1,\n      // m\n      \"m\": 1\n    }\n  }\n}",
			"{\n  \"env\": {\n    // mine\n    \"s\": {\n      // a\n      \"a\": 2, // aa\n    },\n  }\n}",
			"{\n  \"env\": {\n    // mine\n    \"s\": {\n      // a\n      \"a\": 2, // aa\n      // m\n      \"m\": 1,\n    }\n  }\n}", ""},
		{"both added the file", "-", `{"a": 1, "m": 1}`, `{"a": 1, "s": 1}`, `{"a": 1, "m": 1, "s": 1}`, ""},
		{"both added the file, otherwise", "-", `{"a": 1}`, `{"a": 2}`, `{"a": 1}`, `a:  | 1 | 2 -> main`},
		{"a value removed and changed", `{"a": 1, "b": 1}`, `{"b": 1}`, `{"a": 2, "b": 1}`, `{"b": 1}`, `a: 1 |  | 2 -> main`},
		{"a value changed and removed", `{"a": 1, "b": 1}`, `{"a": 2, "b": 1}`, `{"b": 1}`, `{"a": 2, "b": 1}`, `a: 1 | 2 |  -> main`},
		{"a value changed and removed inside", `{"env":{"s":{"a":1}}}`, `{"env":{"s":{"a":2}}}`, `{"env":{"s":{}}}`, `{"env":{"s":{}}}`, `env.s.a: 1 | 2 |  -> shop`},
		{"a binding removed and changed", `{"r": [{"name": "A", "x": 1}]}`, `{"r": []}`, `{"r": [{"name": "A", "x": 2}]}`, "",
			`r[A]: {"name":"A","x":1} |  | {"name":"A","x":2} -> person`},
		{"an environment removed and changed", `{"env":{"s":{"a":1}}}`, `{"env":{}}`, `{"env":{"s":{"a":2}}}`, "", `env.s: {"a":1} |  | {"a":2} -> person`},
		{"twice the same binding", `{"r": [{"name": "A"}, {"name": "A"}]}`, `{"r": [{"name": "A"}, {"name": "A", "x": 1}]}`, `{"r": [{"name": "A", "x": 2}, {"name": "A"}]}`, "",
			`r: [{"name":"A"},{"name":"A"}] | [{"name":"A"},{"name":"A","x":1}] | [{"name":"A","x":2},{"name":"A"}] -> person`},
		{"two types inside", `{"env":{"s":{"a":1}}}`, `{"env":{"s":{"a":"1"}}}`, `{"env":{"s":{"a":[]}}}`, "", `env.s.a: 1 | "1" | [] -> person`},
		{"two types outside", `{"a":1}`, `{"a":"1"}`, `{"a":[]}`, `{"a":"1"}`, `a: 1 | "1" | [] -> main`},
		{"keys that are no words", `{"a b": {"": 1}}`, `{"a b": {"": 2}}`, `{"a b": {"": 3}}`, `{"a b": {"": 2}}`, `["a b"][""]: 1 | 2 | 3 -> main`},
		{"a comment that looks like one", `{"a//": "/*", "b": 1}`, `{"a//": "/*", "b": 2}`, `{"a//": "*/", "b": 1}`, `{"a//": "*/", "b": 2}`, ""},
	} {
		got, choices := merged(t, c.base, c.main, c.shop)
		if got != c.want || choices != c.choices {
			t.Errorf("%s:\n got %q\nwant %q\n got %s\nwant %s", c.what, got, c.want, choices, c.choices)
		}
	}
}

func TestMergeFindings(t *testing.T) {
	for _, c := range []struct{ base, main, shop, want string }{
		{`{`, `{}`, `{}`, "reading the base side of wrangler.jsonc: wrangler.jsonc:1:2:"},
		{`{}`, `{"a":1,"a":2}`, `{}`, "reading the main side of wrangler.jsonc: wrangler.jsonc:1:8: the key \"a\" is given twice"},
		{`{}`, `{}`, "<<<<<<< main\n{}", "reading the shop side of wrangler.jsonc: wrangler.jsonc:1:1:"},
		{`{}`, `{}`, "", "reading the shop side of wrangler.jsonc: wrangler.jsonc:1:1: the file is empty"},
	} {
		_, err := wrangler.Merge("wrangler.jsonc", "s", []byte(c.base), []byte(c.main), []byte(c.shop))
		var findings wrangler.Findings
		if !errors.As(err, &findings) || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q %q %q: %v, want %s", c.base, c.main, c.shop, err, c.want)
		}
	}
}

// The shop's file as it is on a real branch, with a main that went on.
func TestMergeShop(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile("../../testdata/" + name + "/wrangler.jsonc")
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	base, shop := read("helm"), read("helm.overlays/swicked")
	edit := func(text string) string {
		for old, now := range map[string]string{
			`"compatibility_date": "2026-06-01"`: `"compatibility_date": "2026-09-01"`,
			`["nodejs_compat"],`:                 "[\"nodejs_compat\"],\n  \"limits\": { \"cpu_ms\": 50 }, // enough",
			"  \"preview_urls\": false,\n":       "  \"preview_urls\": false,\n\n  // Logs go to the collector.\n  \"tail_consumers\": [{ \"service\": \"collector\" }],\n",
		} {
			if !strings.Contains(text, old) {
				t.Fatalf("%s is not in the file", old)
			}
			text = strings.Replace(text, old, now, 1)
		}
		return text
	}
	// What main changed, in the shop's file: both add behind the same line, and main's is first.
	got, choices := merged(t, base, edit(base), shop)
	if want := edit(shop); got != want || choices != "" {
		t.Errorf("got\n%s\nwant\n%s\n%s", got, want, choices)
	}
}
