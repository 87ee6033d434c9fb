package report

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/kvick/shopfleet/internal/deploy"
)

// Annotations writes findings as workflow commands, which GitHub Actions turns into annotations on the lines of the
// files. GitHub shows ten errors and ten warnings of a step (contracts/github/wire.md §3); the log shows all.
func Annotations(w io.Writer, list []deploy.Finding) error {
	var b strings.Builder
	for _, f := range list {
		command := f.Level
		if command != deploy.LevelError && command != deploy.LevelWarning {
			command = deploy.LevelNotice
		}
		properties := []string{"title=" + property(f.Rule)}
		if f.File != "" {
			properties = append(properties, "file="+property(f.File))
		}
		if f.Line > 0 {
			properties = append(properties, fmt.Sprintf("line=%d", f.Line))
			if f.Column > 0 {
				properties = append(properties, fmt.Sprintf("col=%d", column(f)))
			}
		}
		fmt.Fprintf(&b, "::%s %s::%s\n", command, strings.Join(properties, ","), data(text(f)))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// text is a finding in words: what is wrong, what was expected, what to do.
func text(f deploy.Finding) string {
	s := f.Message
	if f.Expected != "" {
		s += "\nexpected: " + f.Expected
	}
	if f.Hint != "" {
		s += "\nhint: " + f.Hint
	}
	return s
}

// data and property escape what would end a workflow command or a property of it, as the runner's own toolkit does. A
// command can then not be forged by a file's name or contents.
func data(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.NewReplacer("%", "%25", "\r", "%0D").Replace(Clean(lines[i]))
	}
	return strings.Join(lines, "%0A")
}

func property(s string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(data(s))
}

// column is a finding's place in characters; findings count bytes.
func column(f deploy.Finding) int {
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
		r := result{Rule: f.Rule, Level: f.Level, Message: message{cleanText(text(f))}}
		if f.Level == deploy.LevelNotice {
			r.Level = "note"
		}
		if f.File != "" {
			var at physical
			at.Artifact.URI = (&url.URL{Path: f.File}).EscapedPath()
			if f.Line > 0 {
				at.Region = &region{StartLine: f.Line, StartColumn: column(f)}
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
