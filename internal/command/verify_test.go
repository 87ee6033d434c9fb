package command

import (
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
)

// What a version says of itself is somebody's text.
func TestKnown(t *testing.T) {
	repo, err := git.Open(t.Context(), newRepository(t))
	if err != nil {
		t.Fatal(err)
	}
	c := &checkout{repo: repo, objects: repo}
	shop := fleet.Shop{Slug: "swicked", Worker: "helm-swicked", Branch: "shops/swicked"}
	for _, test := range []struct {
		name   string
		live   deploy.Live
		commit string
		want   string
	}{
		{"nothing", deploy.Live{}, "", "nothing is live on helm-swicked [nothing-live]"},
		{"two", deploy.Live{Version: "v", Shares: map[string]float64{"v": 60, "w": 40}}, "x", "2 versions share the traffic of helm-swicked [released-in-part]"},
		{"no message", deploy.Live{Version: "v"}, "", "[changed-outside]"},
		{"no such commit", deploy.Live{Version: "v"}, strings.Repeat("d", 40), "which is not in this clone [live-commit-unknown]"},
		{"a word", deploy.Live{Version: "v"}, "HEAD", "commit HEAD, which is not in this clone [live-commit-unknown]"},
		{"an option", deploy.Live{Version: "v"}, "--output=x", "[live-commit-unknown]"},
	} {
		err := c.known(t.Context(), shop, test.live, test.commit)
		if list := findings(err); len(list) != 1 || !strings.Contains(list[0].String(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 41230: "41,230", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
