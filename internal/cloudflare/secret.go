package cloudflare

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Secret is text that must not be seen: an API token, an asset session, the value of a Worker's secret.
// It prints as *** under every fmt verb, in JSON, in text encodings and in slog; string(s) is the only way to the text.
type Secret string

const masked = "***"

func (Secret) String() string               { return masked }
func (Secret) GoString() string             { return masked }
func (Secret) Format(f fmt.State, _ rune)   { io.WriteString(f, masked) }
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + masked + `"`), nil }
func (Secret) LogValue() slog.Value         { return slog.StringValue(masked) }

// redact masks every secret inside text that came from elsewhere, since an API may quote back what it was sent,
// and blunts control characters, since the text ends up on terminals.
func redact(text string, secrets []Secret) string {
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, string(s), masked)
		}
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, text)
	return text
}
