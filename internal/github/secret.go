package github

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"unicode"
)

// Secret is text that must not be seen: a token, an App's key. It prints as *** under every fmt verb, in JSON, in text
// encodings and in slog; string(s) is the only way to the text.
type Secret string

const masked = "***"

func (Secret) String() string               { return masked }
func (Secret) GoString() string             { return masked }
func (Secret) Format(f fmt.State, _ rune)   { io.WriteString(f, masked) }
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + masked + `"`), nil }
func (Secret) LogValue() slog.Value         { return slog.StringValue(masked) }

// redact masks secrets inside text that came from elsewhere, since an API may quote back what it was sent.
func redact(text string, secrets ...Secret) string {
	// The longest first: what begins like a shorter secret must not keep its end.
	secrets = slices.SortedFunc(slices.Values(secrets), func(a, b Secret) int { return len(b) - len(a) })
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, string(s), masked)
		}
	}
	return text
}

// clean removes what could move a cursor, hide text or forge a line: control characters and Unicode's bidirectional
// controls. A tab becomes a space. It is the rule of internal/report, which imports more than this package may.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\u2028', r == '\u2029':
			return -1
		}
		return r
	}, s)
}

// cleanLines is clean for text of several lines.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return strings.Join(lines, "\n")
}
