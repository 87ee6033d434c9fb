package report_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/report"
)

// Whatever a finding holds, its SARIF log is JSON.
func FuzzSARIF(f *testing.F) {
	f.Add("migrations/1.sql", "message", "hint", 1)
	f.Add("a,b\n::error::x", "m\r\n::add-mask::y", "%0A::", 9)
	f.Fuzz(func(t *testing.T, file, message, hint string, column int) {
		list := []deploy.Finding{{Rule: "odd", Level: deploy.LevelError, File: file, Line: 1, Column: column, Message: message, Hint: hint, Source: message}}
		var b bytes.Buffer
		if err := report.SARIF(&b, "1", list); err != nil || !json.Valid(b.Bytes()) {
			t.Errorf("SARIF: %v\n%s", err, b.String())
		}
	})
}
