package command

// Values for the secrets of a shop that nobody uses: random, and of the format that fleet.yml asks for.

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// drillSecrets are values for every secret that a shop must have. A format for which none can be made up is an error: then a
// person has to give values.
func drillSecrets(policy fleet.Secrets) (map[string]wrangler.Secret, error) {
	out := map[string]wrangler.Secret{}
	for _, name := range policy.Required {
		value, err := drillValue(policy.Describe(name).Format)
		if err != nil {
			return nil, Usage(fmt.Errorf("no value for secret %s can be made up: %w", name, err), "give --secrets-file with values that may be thrown away")
		}
		out[name] = wrangler.Secret(value)
	}
	return out, nil
}

// drillValue is a value that matches a format as a whole; "" is any.
func drillValue(format string) (string, error) {
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return "", fmt.Errorf("reading random bytes: %w", err)
	}
	if format == "" {
		return "drill-" + hex.EncodeToString(random), nil
	}
	parsed, err := syntax.Parse(format, syntax.Perl)
	if err != nil {
		return "", fmt.Errorf("reading its format: %w", err)
	}
	g := &valueOf{random: random}
	g.write(parsed.Simplify())
	whole, err := regexp.Compile("^(?:" + format + ")$")
	if err != nil {
		return "", fmt.Errorf("reading its format: %w", err)
	}
	if value := g.b.String(); value != "" && whole.MatchString(value) {
		return value, nil
	}
	return "", fmt.Errorf("its format is too particular")
}

// valueOf writes a text that a regular expression matches, where that can be seen from its parts.
type valueOf struct {
	b      strings.Builder
	random []byte
	n      int
}

func (g *valueOf) pick(n int) int {
	g.n++
	return int(g.random[g.n%len(g.random)]) % n
}

func (g *valueOf) write(re *syntax.Regexp) {
	switch re.Op {
	case syntax.OpLiteral:
		g.b.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		if len(re.Rune) < 2 {
			return
		}
		pair := 2 * g.pick(len(re.Rune)/2)
		low, high := re.Rune[pair], min(re.Rune[pair+1], re.Rune[pair]+25) // what people can read, and no end of Unicode
		g.b.WriteRune(low + rune(g.pick(int(high-low)+1)))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		g.b.WriteByte("abcdefghijklmnop"[g.pick(16)])
	case syntax.OpCapture, syntax.OpConcat:
		for _, sub := range re.Sub {
			g.write(sub)
		}
	case syntax.OpAlternate:
		g.write(re.Sub[g.pick(len(re.Sub))])
	case syntax.OpStar, syntax.OpPlus:
		for range 24 {
			g.write(re.Sub[0])
		}
	case syntax.OpQuest:
		g.write(re.Sub[0])
	case syntax.OpRepeat:
		for range max(re.Min, min(re.Max, 24)) {
			g.write(re.Sub[0])
		}
	}
}
