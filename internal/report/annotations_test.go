package report_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/report"
)

// Whatever a finding holds, one finding is one workflow command, and its SARIF log is JSON.
func FuzzAnnotations(f *testing.F) {
	f.Add("migrations/1.sql", "message", "hint", 1)
	f.Add("a,b\n::error::x", "m\r\n::add-mask::y", "%0A::", 9)
	f.Fuzz(func(t *testing.T, file, message, hint string, column int) {
		list := []deploy.Finding{{Rule: "odd", Level: deploy.LevelError, File: file, Line: 1, Column: column, Message: message, Hint: hint, Source: message}}
		var b bytes.Buffer
		if err := report.Annotations(&b, list); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		if strings.Count(text, "\n") != 1 || strings.Contains(text, "\r") || !strings.HasPrefix(text, "::error title=odd") {
			t.Errorf("not one command: %q", text)
		}
		properties, _, ok := strings.Cut(strings.TrimPrefix(text, "::error "), "::")
		if !ok || strings.Count(properties, ",") > 3 {
			t.Errorf("properties were forged: %q", text)
		}
		b.Reset()
		if err := report.SARIF(&b, "1", list); err != nil || !json.Valid(b.Bytes()) {
			t.Errorf("SARIF: %v\n%s", err, b.String())
		}
	})
}
