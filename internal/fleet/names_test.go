package fleet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

func parse(t *testing.T, file string) *Policy {
	t.Helper()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse("fleet.yml", src)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCheckSlug(t *testing.T) {
	longest := strings.Repeat("a", 63)
	tests := []struct {
		slug string
		rule string // "" when the slug is good
		says string
	}{
		{"swicked", "", ""},
		{"mike-s-bikes", "", ""},
		{"a", "", ""},
		{"7", "", ""},
		{"007", "", ""},
		{"a--b", "", ""},
		{longest, "", ""},
		{"", ruleSlug, "empty"},
		{longest + "a", ruleSlug, "64 characters, 1 more than the 63"},
		{"Swicked", ruleSlug, `"Swicked" is not a slug`},
		{"swicked cycles", ruleSlug, "is not a slug"},
		{"-swicked", ruleSlug, "is not a slug"},
		{"swicked-", ruleSlug, "is not a slug"},
		{"--upload-pack=x", ruleSlug, "is not a slug"},
		{"../main", ruleSlug, "is not a slug"},
		{"a/b", ruleSlug, "is not a slug"},
		{"a.b", ruleSlug, "is not a slug"},
		{"a_b", ruleSlug, "is not a slug"},
		{"swicked\n", ruleSlug, `"swicked\n" is not a slug`},
		{"bücher", ruleSlug, "is not a slug"},
		{"xn--bcher-kva", ruleSlug, "internationalised"},
		{"ab--c", ruleSlug, "internationalised"},
		{"main", ruleReservedSlug, "trunk"},
		{"all", ruleReservedSlug, "every shop"},
	}
	for _, test := range tests {
		t.Run(test.slug, func(t *testing.T) {
			err := CheckSlug(test.slug)
			if test.rule == "" {
				if err != nil {
					t.Errorf("CheckSlug(%q) = %v", test.slug, err)
				}
				return
			}
			var fs Findings
			if !errors.As(err, &fs) || len(fs) != 1 {
				t.Fatalf("CheckSlug(%q) = %v; want one finding", test.slug, err)
			}
			if fs[0].Rule != test.rule || !strings.Contains(fs[0].Message, test.says) || fs[0].Line != 0 {
				t.Errorf("CheckSlug(%q) = %+v; want %s: …%s…", test.slug, fs[0], test.rule, test.says)
			}
			if _, err := parse(t, "testdata/ok/smallest.yml").Shop(test.slug); err == nil {
				t.Errorf("Shop(%q) takes what CheckSlug refuses", test.slug)
			}
		})
	}
}

// TestEveryReservedSlugIsWellFormed keeps words out of the list that are refused anyway.
func TestEveryReservedSlugIsWellFormed(t *testing.T) {
	for slug := range reserved {
		if !slugShape.MatchString(slug) {
			t.Errorf("%q is no slug to begin with", slug)
		}
	}
}

func TestShopWhoseNamesAreTooLong(t *testing.T) {
	p := parse(t, "testdata/ok/smallest.yml")
	// The bucket, helm-{slug}-assets, is the longest name with a limit: 12 characters beside the slug.
	if _, err := p.Shop(strings.Repeat("s", 51)); err != nil {
		t.Errorf("51 characters: %v", err)
	}
	_, err := p.Shop(strings.Repeat("s", 52))
	var fs Findings
	if !errors.As(err, &fs) || len(fs) != 1 {
		t.Fatalf("52 characters: %v; want one finding", err)
	}
	f := fs[0]
	line, column := p.Position("naming", "r2")
	if f.Rule != ruleLongName || !strings.Contains(f.Message, "R2 bucket name") || !strings.Contains(f.Message, "64 characters, 1 too many") {
		t.Errorf("it does not say which name is too long, and by how much: %s", f.Message)
	}
	if !strings.Contains(f.Hint, "51") || f.Line != line || f.Column != column || line == 0 {
		t.Errorf("got %+v; want the position %d:%d of the rule, and what would fit", f, line, column)
	}

	_, err = p.Shop(strings.Repeat("s", 63))
	if !errors.As(err, &fs) || len(fs) != 3 {
		t.Fatalf("63 characters: %v; want the Worker, the bucket and the hostname's label", err)
	}
	if !strings.Contains(err.Error(), "hostname's label") || !strings.Contains(err.Error(), "68 characters, 5 too many") {
		t.Errorf("63 characters: %v", err)
	}
}

func TestSlug(t *testing.T) {
	p := parse(t, "testdata/ok/full.yml")
	tests := []struct {
		branch, slug string
		ok           bool
	}{
		{"shops/swicked", "swicked", true},
		{"shops/not-listed", "not-listed", true},
		{"legacy/wheel-house", "wheel-house", true},
		{"shops/wheel-house", "", false}, // that shop's branch is the one above
		{"shops/Bad Name", "Bad Name", true},
		{"shops/a/b", "a/b", true},
		{"shops/", "", false},
		{"shops", "", false},
		{"main", "", false},
		{"", "", false},
		{"rebase/swicked", "", false},
		{"backup/swicked/20261130T060000Z-0123456789ab", "", false},
		{"refs/heads/shops/swicked", "", false},
		{"Shops/swicked", "", false},
	}
	for _, test := range tests {
		if slug, ok := p.Slug(test.branch); slug != test.slug || ok != test.ok {
			t.Errorf("Slug(%q) = %q, %v; want %q, %v", test.branch, slug, ok, test.slug, test.ok)
		}
	}
	bare := parse(t, "testdata/ok/smallest.yml")
	bare.Naming.Branch = "{slug}"
	for _, branch := range []string{"rebase/swicked", "backup/swicked/20261130T060000Z-0123456789ab"} {
		if slug, ok := bare.Slug(branch); ok {
			t.Errorf("Slug(%q) = %q by the rule {slug}", branch, slug)
		}
	}
	if got := p.BranchPrefix(); got != "shops/" {
		t.Errorf("BranchPrefix() = %q", got)
	}
}

// TestShopsNeverMeet draws shops at random and looks for a name that two of them have.
func TestShopsNeverMeet(t *testing.T) {
	for _, file := range samples(t, "ok") {
		p := parse(t, file)
		slugs := map[string]bool{}
		for slug := range p.Shops {
			slugs[slug] = true
		}
		random := rand.New(rand.NewPCG(2, 16))
		for len(slugs) < 500 {
			// Few letters and pieces of the names by rule, so that neighbours come up.
			pieces := []string{"helm", "-", "a", "b", "db", "assets", "kv", "kvick", "mike-s-bikes", "wheelhouse"}
			var slug string
			for range 1 + random.IntN(4) {
				slug += pieces[random.IntN(len(pieces))]
			}
			if CheckSlug(slug) == nil {
				slugs[slug] = true
			}
		}
		owner := map[string]string{}
		for slug := range slugs {
			s, err := p.Shop(slug)
			if err != nil {
				continue
			}
			names := map[string]bool{"hostname " + s.Hostname: true}
			for _, k := range kinds {
				names[k.key+" "+s.name(k.key)] = true
			}
			for _, h := range s.Hostnames {
				names["hostname "+h] = true
			}
			for name := range names {
				if other, ok := owner[name]; ok {
					t.Errorf("%s: %s is both %s's and %s's", file, name, slug, other)
				}
				owner[name] = slug
			}
		}
	}
}

func TestInOverlay(t *testing.T) {
	p := parse(t, "testdata/ok/full.yml")
	for path, want := range map[string]bool{
		"wrangler.jsonc":                 true,
		"shop-overrides/theme.json":      true,
		"shop-overrides/img/logo.svg":    true,
		"shop-overrides/.hidden":         true,
		"sub/wrangler.jsonc":             false,
		"wrangler.json":                  false,
		"shop-overrides-2/theme.json":    false,
		"src/shop-overrides/theme.json":  false,
		"src/index.ts":                   false,
		"fleet.yml":                      false,
		".github/workflows/deploy.yml":   false,
		"migrations/0001_init.sql":       false,
		"shop-overrides":                 true, // the directory replaced by a file
		"Wrangler.jsonc":                 false,
		"wrangler.jsonc/shop-overrides/": false,
	} {
		if got := p.InOverlay(path); got != want {
			t.Errorf("InOverlay(%q) = %v", path, got)
		}
	}
}

func TestPosition(t *testing.T) {
	p := parse(t, "testdata/ok/full.yml")
	for path, want := range map[string]string{
		"product":                        "2:1",
		"naming hostname":                "3:127",
		"overlay 1":                      "4:27",
		"accounts kvick-2 max_shops":     "13:5",
		"shops wheel-house hostnames 1":  "26:41",
		"shops not-listed":               "0:0",
		"accounts kvick-2 max_shops 500": "0:0",
	} {
		line, column := p.Position(strings.Fields(path)...)
		if got := fmt.Sprintf("%d:%d", line, column); got != want {
			t.Errorf("Position(%s) = %s; want %s", path, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"product", "naming", "max_shops", "region", "r2", "d1", "kv", "hostname", "hostnames"}
	for word, want := range map[string]string{
		"prodcut":               "product",
		"maxShops":              "max_shops",
		"max-shop":              "max_shops",
		"MAX_SHOPS":             "max_shops",
		"hostnmae":              "hostname",
		"r3":                    "r2",
		"region ":               "region",
		"colour":                "",
		"":                      "",
		"x":                     "",
		strings.Repeat("x", 99): "",
	} {
		if got := nearest(word, words); got != want {
			t.Errorf("nearest(%q) = %q; want %q", word, got, want)
		}
	}
}

func TestConceal(t *testing.T) {
	for text, want := range map[string]string{
		"token: Zx81-kLmN0pQrStUvWxYz_0123456789AbCdEfGh}": "token: ***}",
		"144c9defac04969c7bfad8efaa8ea194b9ef1":            "***", // a global key: 37 digits
		"7f3a0c5e9b1d4826a0e4c2d8f6b19357":                 "7f3a0c5e9b1d4826a0e4c2d8f6b19357",
		"134EA8A4-8582-4fdc-84ec-f0eb8f4e4b60":             "134EA8A4-8582-4fdc-84ec-f0eb8f4e4b60",
		"helm-a-very-long-name-of-a-shop-1-assets":         "helm-a-very-long-name-of-a-shop-1-assets",
	} {
		if got := conceal(text); got != want {
			t.Errorf("conceal(%q) = %q; want %q", text, got, want)
		}
	}
}
