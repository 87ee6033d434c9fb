package wrangler_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// cronFinding is what Check says about one cron of a project in dir, nil when nothing.
func cronFinding(t *testing.T, dir, cron string) *wrangler.Finding {
	t.Helper()
	text, err := json.Marshal(cron)
	if err != nil {
		t.Fatal(err)
	}
	src := fmt.Sprintf("{\"name\": \"helm\", \"main\": \"index.js\", \"compatibility_date\": \"2026-06-01\", \"triggers\": {\"crons\": [\n%s]}}", text)
	c, findings := resolve(t, dir, src, "")
	if c == nil {
		t.Fatal(findings)
	}
	_, err = c.Check()
	if err == nil {
		return nil
	}
	if !errors.As(err, &findings) || len(findings) != 1 || findings[0].Rule != "cron" {
		t.Fatalf("got %v, want one finding about the cron", err)
	}
	return &findings[0]
}

// cronProject is a directory with an entry point.
func cronProject(t testing.TB) string {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"index.js": ""})
	return dir
}

func TestCronAccepted(t *testing.T) {
	dir := cronProject(t)
	// The first lines are the examples of Cloudflare's page on cron triggers.
	for _, cron := range []string{
		"* * * * *", "*/30 * * * *", "45 * * * *", "0 17 * * sun", "0 17 * * 1", "10 7 * * mon-fri", "10 7 * * 2-6",
		"0 15 1 * *", "0 18 * * 6L", "0 18 * * friL", "59 23 LW * *",
		"0 13 * * *", "0 14 * * mon", "0 0 1 JAN,jul *", "0 0 1 jan-MAR/2 *", "0 0 * * SUN-sat", "0 0 * * 7",
		"0,15,30,45 8-17 * * 2-6", "0-30/5,45 */23 */30 */11 */6", "5/15 * * * *", "*/59 * * * *", "*/5,*/7 * * * *",
		"50-10 22-2 28-3 NOV-FEB FRI-MON", // ranges may wrap around
		"0 0 L * *", "0 0 L-3 * *", "0 0 L-30W * *", "0 0 15W * *", "0 0 1W * *",
		"0 0 * * L", "0 0 * * MON#1", "0 0 * * 6#5", "0 0 * * SUNL",
		"0\t0  1   *\t *", "00 007 01 012 *",
	} {
		if f := cronFinding(t, dir, cron); f != nil {
			t.Errorf("%q: %s", cron, f)
		}
	}
}

func TestCronRefused(t *testing.T) {
	tests := []struct {
		cron   string
		column int // in the expression
		hint   string
	}{
		{"", 0, ""},
		{"0 0 * *", 0, ""},
		{"0 0 0 * * *", 0, "no seconds"},
		{"0 0 0 * * * 2026", 0, "no year"},
		{"@daily", 0, "0 0 * * *"},
		{" 0 0 * * *", 0, `"0 0 * * *"`},
		{"0 0 * * * ", 0, `"0 0 * * *"`},
		{"60 * * * *", 1, ""},
		{"-1 * * * *", 1, ""},
		{"0 24 * * *", 3, ""},
		{"0 0 0 * *", 5, ""},
		{"0 0 32 * *", 5, ""},
		{"0 0 * 0 *", 7, ""},
		{"0 0 * 13 *", 7, ""},
		{"0 0 * * 0", 9, "Sunday is 1"},
		{"0 0 * * 8", 9, ""},
		{"0 0 * * monday", 9, "MON"},
		{"0 0 * january *", 7, "JAN"},
		{"0 0 * foo *", 7, ""},
		{"0 0 ? * 2", 5, "*"},
		{"0 0 * * ?", 9, "*"},
		{"*/0 * * * *", 1, ""},
		{"*/60 * * * *", 1, ""},
		{"0 */24 * * *", 3, ""},
		{"0 0 */31 * *", 5, ""},
		{"0 0 * */12 *", 7, ""},
		{"0 0 * * */7", 9, ""},
		{"*/ * * * *", 1, ""},
		{"5- * * * *", 1, ""},
		{"1,,2 * * * *", 1, ""},
		{"1, * * * *", 1, ""},
		{"*,5 * * * *", 1, ""},
		{"*-30 * * * *", 1, ""},
		{"1-2-3 * * * *", 1, ""},
		{"1/2/3 * * * *", 1, ""},
		{"300 * * * *", 1, ""},
		{"0 0 l * *", 5, "capitals"},
		{"0 0 15w * *", 5, "15W"},
		{"0 0 3,L * *", 5, "stand alone"},
		{"0 0 1W,3 * *", 5, "stand alone"},
		{"0 0 W * *", 5, ""},
		{"0 0 L-0 * *", 5, ""},
		{"0 0 L-31 * *", 5, ""},
		{"0 0 WL * *", 5, ""},
		{"0 0 * * MON#6", 9, ""},
		{"0 0 * * MON#0", 9, ""},
		{"0 0 * * MON#", 9, ""},
		{"0 0 * * 6L,2", 9, "stand alone"},
		{"0 0 * * LW", 9, ""},
		{"0 L * * *", 3, ""},
		{"0 0 * L *", 7, ""},
		{"mon * * * *", 1, ""},
		{"0 0 * MON *", 7, ""},
		{"० 0 * * *", 1, ""}, // a digit, but not ours
		{"0 0 * *\u00a0*", 0, ""},
	}
	dir := cronProject(t)
	for _, tt := range tests {
		t.Run(tt.cron, func(t *testing.T) {
			f := cronFinding(t, dir, tt.cron)
			if f == nil {
				t.Fatal("it is accepted")
			}
			// The string begins on the second line, after its quote; escapes move nothing before them.
			want := 1 + tt.column
			if tt.column == 0 {
				want = 2
			}
			if strings.ContainsAny(f.Source, `\`) {
				want = 1
			}
			if f.Line != 2 || f.Column != want {
				t.Errorf("it points at %d:%d, want 2:%d", f.Line, f.Column, want)
			}
			if !strings.Contains(f.Hint, tt.hint) {
				t.Errorf("got the hint %q, want %q in it", f.Hint, tt.hint)
			}
			if f.Hint == "" && f.Expected == "" {
				t.Error("it says neither what is expected nor what to do")
			}
		})
	}
}

func FuzzCron(f *testing.F) {
	for _, seed := range []string{"* * * * *", "0 0 L-3W JAN-DEC/2 MON#2", "1-2/3,*/4 ? 6L @ #"} {
		f.Add(seed)
	}
	dir := cronProject(f)
	f.Fuzz(func(t *testing.T, cron string) {
		if strings.ToValidUTF8(cron, "") != cron {
			t.Skip("JSON has no such string")
		}
		if f := cronFinding(t, dir, cron); f != nil && (f.Column < 1 || f.Column > len(f.Source)+1) {
			t.Errorf("%q: the column %d lies outside of %q", cron, f.Column, f.Source)
		}
	})
}
