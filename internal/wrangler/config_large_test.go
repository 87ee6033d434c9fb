package wrangler_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// TestLargeConfig holds the time that a branch's configuration takes against its size: every shop's deploy looks at the
// branches of all other shops, so that one of them must not be able to stop the fleet.
func TestLargeConfig(t *testing.T) {
	for _, c := range []struct{ name, before, each, after string }{
		{"variables", `{"name":"helm","env":{"evil":{"vars":{`, `"a%06d":1,`, `"z":1}}}}`},
		{"keys", `{"name":"helm","env":{"evil":{`, `"a%06d":1,`, `"z":1}}}`},
		{"environments", `{"name":"helm","env":{`, `"a%06d":{},`, `"evil":{}}}`},
		{"databases", `{"name":"helm","env":{"evil":{"d1_databases":[`, `{"binding":"a%06d"},`, `{"binding":"z"}]}}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var text strings.Builder
			text.WriteString(c.before)
			for i := range 40_000 {
				fmt.Fprintf(&text, c.each, i)
			}
			text.WriteString(c.after)
			start := time.Now()
			p, err := wrangler.Parse("/", "wrangler.jsonc", []byte(text.String()))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = p.Resolve("evil")
			p.Differences(p)
			if d := time.Since(start); d > 10*time.Second {
				t.Errorf("it took %v", d)
			}
		})
	}
}
