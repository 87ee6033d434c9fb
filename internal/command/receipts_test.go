package command

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/github"
)

// deployments are a journal as GitHub lists it, newest first.
func deployments(t *testing.T, n int) []github.Deployment {
	t.Helper()
	var list []github.Deployment
	previous := deploy.NoEntry
	for i := 1; i <= n; i++ {
		r := deploy.Release{Shop: "swicked", VersionID: fmt.Sprint("v", i), Commit: strings.Repeat("c", 40), Previous: previous}
		x := deployed(t, int64(i), r)
		previous = deploy.EntryDigest(x.Payload)
		list = append([]github.Deployment{x}, list...)
	}
	return list
}

func deployed(t *testing.T, id int64, r deploy.Release) github.Deployment {
	t.Helper()
	text, err := json.Marshal(struct {
		payload
		Key string `json:"key"`
	}{payload{payloadFormat, r}, r.Key()})
	if err != nil {
		t.Fatal(err)
	}
	return github.Deployment{ID: id, SHA: r.Commit, Payload: text, Creator: "github-actions[bot]"}
}

func TestJudgeReceipts(t *testing.T) {
	shop := fleet.Shop{Slug: "swicked"}
	edit := func(x github.Deployment, old, new string) github.Deployment {
		text := strings.Replace(string(x.Payload), old, new, 1)
		if text == string(x.Payload) {
			t.Fatalf("%s has no %s", text, old)
		}
		x.Payload = json.RawMessage(text)
		return x
	}
	for _, test := range []struct {
		name   string
		tamper func([]github.Deployment) []github.Deployment
		want   []string // rules
	}{
		{"honest", func(l []github.Deployment) []github.Deployment { return l }, nil},
		{"GitHub writes the JSON anew", func(l []github.Deployment) []github.Deployment {
			for i, x := range l {
				var v any
				if err := json.Unmarshal(x.Payload, &v); err != nil {
					t.Fatal(err)
				}
				l[i].Payload, _ = json.MarshalIndent(v, "", "  ")
			}
			return l
		}, nil},
		{"deleted in the middle", func(l []github.Deployment) []github.Deployment { return slices.Delete(l, 2, 3) }, []string{"receipt-chain-broken"}},
		{"changed in the middle", func(l []github.Deployment) []github.Deployment {
			l[2] = edit(l[2], `"release":{`, `"release":{"actor":"nobody",`)
			return l
		}, []string{"receipt-chain-broken"}},
		{"written twice", func(l []github.Deployment) []github.Deployment {
			again := l[3]
			again.ID = 99
			return append([]github.Deployment{again}, l...)
		}, []string{"receipt-forged"}},
		{"another shop's", func(l []github.Deployment) []github.Deployment {
			return append([]github.Deployment{edit(l[0], `"shop":"swicked"`, `"shop":"other"`)}, l...)
		}, []string{"receipt-forged"}},
		{"another commit than the deployment's", func(l []github.Deployment) []github.Deployment {
			l[0].SHA = strings.Repeat("d", 40)
			return l
		}, []string{"receipt-forged"}},
		{"no payload", func(l []github.Deployment) []github.Deployment { return append([]github.Deployment{{ID: 5}}, l...) }, []string{"receipt-forged"}},
		{"swapped", func(l []github.Deployment) []github.Deployment { l[1], l[2] = l[2], l[1]; return l },
			[]string{"receipt-chain-broken", "receipt-chain-broken", "receipt-chain-broken"}},
	} {
		list := test.tamper(deployments(t, 5))
		entries, strays := entriesOf(shop, list)
		var got []string
		for _, f := range judgeReceipts(entries, strays, nil, true) {
			got = append(got, f.Rule)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}

	// The newest entry has nothing behind it; the version at Cloudflare speaks against it.
	mark := "sf-" + strings.Repeat("a", 32)
	entries, strays := entriesOf(shop, []github.Deployment{deployed(t, 1, deploy.Release{Shop: "swicked", VersionID: "v1", Commit: strings.Repeat("d", 40), Content: mark, Previous: deploy.NoEntry})})
	version := cloudflare.Version{ID: "v1", Annotations: map[string]string{
		"workers/tag": mark, "workers/message": "shopfleet content=" + mark + " secrets=0123456789ab reach=0123456789ab commit=" + strings.Repeat("c", 40),
	}}
	found := judgeReceipts(entries, strays, []cloudflare.Version{version}, true)
	if len(found) != 1 || found[0].Rule != "receipt-contradicted" {
		t.Errorf("found %v", found)
	}
}
