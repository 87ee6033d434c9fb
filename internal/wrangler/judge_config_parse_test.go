package wrangler_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestParseMutated damages the text of configurations: where wrangler cannot read one, neither can we, and
// what both read means the same.
func TestParseMutated(t *testing.T) {
	requireJudge(t)
	const cases = 2000
	r := rand.New(rand.NewPCG(4, 166))
	dir := t.TempDir()
	var questions []question
	var texts []string
	for range cases {
		text := parseSeeds[r.IntN(len(parseSeeds))]
		for range 1 + r.IntN(2) {
			text = damage(r, text)
		}
		texts = append(texts, text)
		questions = append(questions, question{Kind: "config", Dir: dir, Text: []byte(text)})
	}
	accepted, failures := 0, 0
	for i, want := range askWrangler(t, questions) {
		c, findings := resolve(t, dir, texts[i], "")
		checkInside(t, []byte(texts[i]), findings)
		if len(want.Errors) == 0 {
			accepted++
			if c == nil && len(findings) > 0 && slices.Contains([]string{"duplicate-key", "config-encoding"}, findings[0].Rule) {
				continue // refused on purpose
			}
		}
		if diffs := compareConfig(dir, c, findings, want); diffs != nil {
			t.Errorf("case %d:\n%s\n%q", i, strings.Join(diffs, "\n"), texts[i])
			if failures++; failures > 5 {
				t.FailNow()
			}
		}
	}
	if accepted < cases/10 || accepted > cases*9/10 {
		t.Errorf("wrangler accepts %d of %d: the damage is lopsided", accepted, cases)
	}
}

var parseSeeds = []string{
	"{\"name\": \"helm\", \"vars\": {\"A\": \"b\\n\\u00e9\\/\", \"B\": [1, -2.5e+3, true, null]}}",
	"// head\n{\n\t\"vars\": {\"a\": {\"b\": {}}, /* in */ \"c\": [],}, // tail\n}\n",
	"\ufeff{\"name\":\"a\",}",
	"{\"vars\":{\"é😀\":\"\u2028\",\"x\":0.1,\"y\":1E5,\"z\":-0}} /* end */",
}

// damage changes a text a little: a byte more, a byte less, two swapped, or a piece repeated.
func damage(r *rand.Rand, text string) string {
	at := r.IntN(len(text))
	switch r.IntN(4) {
	case 0:
		return text[:at] + text[at+1:]
	case 1:
		const bytes = "{}[]:,\"\\/*\n\r\t 019-+.eEtfn'_\x00\x0b\x0c"
		b := bytes[r.IntN(len(bytes))]
		return text[:at] + string(b) + text[at:]
	case 2:
		end := min(len(text), at+2)
		return text[:at] + text[at+1:end] + text[at:at+1] + text[end:]
	default:
		end := min(len(text), at+1+r.IntN(8))
		return text[:end] + text[at:]
	}
}
