package report

import (
	"io"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/kvick/shopfleet/internal/deploy"
)

// Words is a finding in words: what is wrong, what was expected, what to do. It is not cleaned.
func Words(f deploy.Finding) string {
	s := f.Message
	if f.Expected != "" {
		s += "\nexpected: " + f.Expected
	}
	if f.Hint != "" {
		s += "\nhint: " + f.Hint
	}
	return s
}

// Column is a finding's place in characters; findings count bytes.
func Column(f deploy.Finding) int {
	if n := f.Column - 1; n > 0 && n <= len(f.Source) {
		return utf8.RuneCountInString(f.Source[:n]) + 1
	}
	return f.Column
}

// SARIF writes findings as a SARIF 2.1.0 log, which GitHub's code scanning and editors read. version is shopfleet's.
func SARIF(w io.Writer, version string, list []deploy.Finding) error {
	type message struct {
		Text string `json:"text"`
	}
	type region struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
	}
	type physical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region *region `json:"region,omitempty"`
	}
	type location struct {
		Physical physical `json:"physicalLocation"`
	}
	type result struct {
		Rule      string     `json:"ruleId"`
		Level     string     `json:"level"`
		Message   message    `json:"message"`
		Locations []location `json:"locations,omitempty"`
	}
	type rule struct {
		ID   string `json:"id"`
		Help string `json:"helpUri"`
	}
	results, rules, seen := []result{}, []rule{}, map[string]bool{}
	for _, f := range list {
		r := result{Rule: f.Rule, Level: f.Level, Message: message{cleanText(Words(f))}}
		if f.Level == deploy.LevelNotice {
			r.Level = "note"
		}
		if f.File != "" {
			var at physical
			at.Artifact.URI = (&url.URL{Path: f.File}).EscapedPath()
			if f.Line > 0 {
				at.Region = &region{StartLine: f.Line, StartColumn: Column(f)}
			}
			r.Locations = []location{{at}}
		}
		results = append(results, r)
		if !seen[f.Rule] {
			seen[f.Rule] = true
			rules = append(rules, rule{f.Rule, "https://github.com/kvick/shopfleet/blob/main/docs/findings.md"})
		}
	}
	type driver struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		URI     string `json:"informationUri"`
		Rules   []rule `json:"rules"`
	}
	type run struct {
		Tool struct {
			Driver driver `json:"driver"`
		} `json:"tool"`
		Columns string   `json:"columnKind"`
		Results []result `json:"results"`
	}
	one := run{Columns: "unicodeCodePoints", Results: results}
	one.Tool.Driver = driver{"shopfleet", version, "https://github.com/kvick/shopfleet", rules}
	return JSON(w, struct {
		Schema  string `json:"$schema"`
		Version string `json:"version"`
		Runs    []run  `json:"runs"`
	}{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []run{one}})
}

// cleanText cleans every line of a text.
func cleanText(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = Clean(lines[i])
	}
	return strings.Join(lines, "\n")
}
