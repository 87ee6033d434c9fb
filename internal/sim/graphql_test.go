package sim

import (
	"strings"
	"testing"
)

func TestParseGraphQL(t *testing.T) {
	fields, err := parseGraphQL(`
		# a comment
		query q($tag: string!, $f: [Filter] = {}) {
			viewer {
				accounts(filter: {accountTag: $tag}) {
					n: d1AnalyticsAdaptiveGroups(limit: 10, filter: {AND: [{date_geq: "2026-01-01"}, $f]}, orderBy: [datetime_DESC]) { sum { rowsRead } count }
				}
			}
		}`, map[string]any{"tag": "x", "f": map[string]any{"databaseId": "y"}})
	if err != nil {
		t.Fatal(err)
	}
	accounts := fields[0].fields[0]
	if accounts.args["filter"].(map[string]any)["accountTag"] != "x" {
		t.Errorf("accounts has arguments %v", accounts.args)
	}
	set := accounts.fields[0]
	if set.alias != "n" || set.name != "d1AnalyticsAdaptiveGroups" || set.args["limit"] != float64(10) || len(set.fields) != 2 {
		t.Errorf("dataset is %+v", set)
	}
	if and := set.args["filter"].(map[string]any)["AND"].([]any); and[1].(map[string]any)["databaseId"] != "y" {
		t.Errorf("filter is %v", set.args["filter"])
	}
	for text, want := range map[string]string{
		"":                           "end of query",
		"mutation { x }":             "expected a query",
		"{ viewer { accounts( } }":   "unexpected",
		"{ viewer }  }":              "unexpected",
		"{ a(x: $nope) }":            "$nope",
		"{ }":                        "empty",
		"query ($a: string":          "end of query",
		strings.Repeat("{ a ", 1000): "too deeply",
	} {
		if _, err := parseGraphQL(text, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: error %v, want %q", text, err, want)
		}
	}
}

func FuzzParseGraphQL(f *testing.F) {
	f.Add(`query q($a: string) { viewer { accounts(filter: {accountTag: $a}) { x(limit: -1, f: [1, "a", true, null]) { count } } } }`)
	f.Fuzz(func(t *testing.T, text string) {
		fields, err := parseGraphQL(text, map[string]any{"a": "b"})
		if err == nil && len(fields) == 0 {
			t.Errorf("%q is a query that asks for nothing", text)
		}
	})
}
