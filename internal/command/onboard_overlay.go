package command

// The overlay of a new shop: what its branch adds to main's wrangler.jsonc, written for the person who will read it.

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/provision"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// likeness is what the shops of a fleet have in common, which a new one begins with.
type likeness struct {
	D1, R2, KV    string // names of the bindings
	MigrationsDir string
	Table         string // of the migrations' ledger, where it is not wrangler's own
	Vars          map[string]string
	// Own are vars that every shop has with a value of its own: a person has to say what the new one's is.
	Own []string
}

// alike reads the configs of shops, by slug. Nothing of one shop gets into another: a var is taken over only where at least
// two shops have the very same, or where its value is made of the slug in all of them.
func alike(configs map[string][]byte) likeness {
	var l likeness
	values := map[string][]string{} // of vars, with the slug written as {slug}
	shops := 0
	for _, slug := range slices.Sorted(maps.Keys(configs)) {
		p, err := wrangler.Parse("", configFile, configs[slug])
		if err != nil {
			continue // its own deploy says what is wrong with it
		}
		var env struct {
			Vars map[string]any `json:"vars"`
			D1   []struct {
				Binding string `json:"binding"`
				Dir     string `json:"migrations_dir"`
				Table   string `json:"migrations_table"`
			} `json:"d1_databases"`
			R2 []struct {
				Binding string `json:"binding"`
			} `json:"r2_buckets"`
			KV []struct {
				Binding string `json:"binding"`
			} `json:"kv_namespaces"`
		}
		if json.Unmarshal(p.Value("env", slug), &env) != nil {
			continue
		}
		shops++
		if len(env.D1) == 1 {
			l.D1, l.MigrationsDir, l.Table = cmp.Or(l.D1, env.D1[0].Binding), cmp.Or(l.MigrationsDir, env.D1[0].Dir), cmp.Or(l.Table, env.D1[0].Table)
		}
		if len(env.R2) == 1 {
			l.R2 = cmp.Or(l.R2, env.R2[0].Binding)
		}
		if len(env.KV) == 1 {
			l.KV = cmp.Or(l.KV, env.KV[0].Binding)
		}
		for name, v := range env.Vars {
			if text, ok := v.(string); ok {
				values[name] = append(values[name], slugAside(text, slug))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list := values[name]
		if len(list) < shops {
			continue
		}
		same := !slices.ContainsFunc(list, func(v string) bool { return v != list[0] })
		switch {
		case same && (shops > 1 || strings.Contains(list[0], "{slug}")):
			if l.Vars == nil {
				l.Vars = map[string]string{}
			}
			l.Vars[name] = list[0]
		default:
			l.Own = append(l.Own, name)
		}
	}
	return l
}

// slugAside writes {slug} for a slug that stands in a text as a word of its own. Braces in the text mean themselves, and
// such a text is nobody's pattern.
func slugAside(text, slug string) string {
	if strings.ContainsAny(text, "{}") {
		return text
	}
	word := regexp.MustCompile(`(^|[^A-Za-z0-9])` + regexp.QuoteMeta(slug) + `($|[^A-Za-z0-9])`)
	for word.MatchString(text) {
		text = word.ReplaceAllString(text, "${1}{slug}${2}")
	}
	return text
}

// overlay is a new shop as its config has it.
type overlay struct {
	Shop      fleet.Shop
	Name      string // for people
	Like      likeness
	Policy    fleet.Onboard
	Resources provision.Resources
	Crons     json.RawMessage // main's; nil where main has none
}

// vars are the new shop's, sorted by name.
func (o overlay) vars() (names []string, values map[string]string) {
	values = map[string]string{"SHOP_SLUG": "{slug}", "SHOP_NAME": "{name}"}
	maps.Copy(values, o.Like.Vars)
	values["SHOP_NAME"] = "{name}"
	maps.Copy(values, o.Policy.Vars)
	fill := strings.NewReplacer("{slug}", o.Shop.Slug, "{name}", o.Name, "{hostname}", o.Shop.Hostname, "{worker}", o.Shop.Worker, "{zone}", o.Shop.Account.Zone)
	for name, v := range values {
		values[name] = fill.Replace(v)
	}
	names = slices.Sorted(maps.Keys(values))
	// What the shop is called comes first: it is what a reader looks for.
	sort.SliceStable(names, func(i, j int) bool {
		a, b := names[i], names[j]
		first := func(n string) int { return slices.Index([]string{"SHOP_NAME", "SHOP_SLUG"}, n) }
		return first(b) < first(a)
	})
	return names, values
}

// text is main's config with the new shop's environment in it. The result is read again: it must mean what main's means, and
// the shop's environment besides.
func (o overlay) text(main []byte) ([]byte, error) {
	if p, err := wrangler.Parse("", configFile, main); err == nil && slices.Contains(p.Envs(), o.Shop.Slug) {
		return nil, deploy.Findings{deploy.Finding(p.At(wrangler.Finding{
			Rule: "overlay-on-main", Level: deploy.LevelError,
			Message: fmt.Sprintf("main has an env.%s of its own", o.Shop.Slug), Expected: "shops' environments on their branches alone",
			Hint: "take it out of main",
		}, "env", o.Shop.Slug))}
	}
	shop := "{\n  \"env\": {\n" + indented(o.environment(), "    ") + "  },\n}\n"
	merged, err := wrangler.Merge(configFile, o.Shop.Slug, []byte("{}\n"), main, []byte(shop))
	if err != nil {
		return nil, err
	}
	if merged.Text == nil {
		return nil, fmt.Errorf("writing the overlay of %s: main's %s has an env.%s of its own", o.Shop.Slug, configFile, o.Shop.Slug)
	}
	if err := o.check(main, merged.Text); err != nil {
		return nil, fmt.Errorf("writing the overlay of %s: %w", o.Shop.Slug, err)
	}
	return merged.Text, nil
}

// check makes sure that nothing but env.<slug> is new.
func (o overlay) check(main, text []byte) error {
	before, err := wrangler.Parse("", configFile, main)
	if err != nil {
		return err
	}
	after, err := wrangler.Parse("", configFile, text)
	if err != nil {
		return err
	}
	for _, d := range after.Differences(before) {
		if d.Env != o.Shop.Slug {
			return fmt.Errorf("of main's own keys, %s", d)
		}
	}
	if !slices.Contains(after.Envs(), o.Shop.Slug) {
		return errors.New("it does not hold the shop")
	}
	return nil
}

// environment is env.<slug> in lines, with a comment on each key that says what it is and who may change it.
func (o overlay) environment() string {
	s, r := o.Shop, o.Resources
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("// %s. Deployed by a push to %s; what is not repeated here comes from the base above.", comment(o.Name), s.Branch)
	line("%s: {", quoted(s.Slug))
	line("  // The Worker. The name follows from the slug; another one is refused.")
	line("  \"name\": %s,", quoted(s.Worker))
	line("")
	line("  // The account that the shop lives in (%s in fleet.yml). To change it: shopfleet move %s --to ACCOUNT.", s.Account.Name, s.Slug)
	line("  \"account_id\": %s,", quoted(s.Account.ID))
	line("")
	line("  // Not secret, visible in the dashboard. Secrets are kept apart: shopfleet secrets status %s.", s.Slug)
	line("  \"vars\": {")
	names, values := o.vars()
	for _, name := range names {
		line("    %s: %s,", quoted(name), quoted(values[name]))
	}
	line("  },")
	line("")
	line("  // Everything that the shop knows. The id is the database's own; another shop's is refused.")
	line("  \"d1_databases\": [")
	line("    {")
	line("      \"binding\": %s,", quoted(cmp.Or(o.Policy.D1, o.Like.D1, "DB")))
	line("      \"database_name\": %s,", quoted(s.D1))
	line("      \"database_id\": %s,", quoted(r.DatabaseID))
	if o.Like.Table != "" {
		line("      \"migrations_table\": %s,", quoted(o.Like.Table))
	}
	line("      \"migrations_dir\": %s,", quoted(cmp.Or(o.Like.MigrationsDir, "migrations")))
	line("    },")
	line("  ],")
	line("")
	line("  // Files of the shop.")
	line("  \"r2_buckets\": [{ \"binding\": %s, \"bucket_name\": %s }],", quoted(cmp.Or(o.Policy.R2, o.Like.R2, "BUCKET")), quoted(s.R2))
	line("")
	line("  // %s, by its id.", comment(s.KV))
	line("  \"kv_namespaces\": [{ \"binding\": %s, \"id\": %s }],", quoted(cmp.Or(o.Policy.KV, o.Like.KV, "KV")), quoted(r.NamespaceID))
	line("")
	if o.Policy.Hostname == fleet.HostnameCustomDomain {
		line("  // The shop's front door. Cloudflare makes the DNS record and a certificate of its own for it.")
		line("  \"routes\": [{ \"pattern\": %s, \"custom_domain\": true }],", quoted(s.Hostname))
	} else {
		line("  // The shop's front door: a proxied DNS record, which onboarding made, and this route to the Worker.")
		line("  \"routes\": [{ \"pattern\": %s, \"zone_name\": %s }],", quoted(s.Hostname+"/*"), quoted(s.Account.Zone))
	}
	if o.Crons != nil {
		line("")
		line("  // The same hours as the base; written out so that a shop in another time zone has a line to change.")
		line("  \"triggers\": { \"crons\": %s },", spaced(o.Crons))
	}
	line("},")
	return b.String()
}

// indented puts every line of a text that is not empty farther in.
func indented(text, by string) string {
	var b strings.Builder
	for l := range strings.Lines(text) {
		if strings.TrimSpace(l) != "" {
			b.WriteString(by)
		}
		b.WriteString(l)
	}
	return b.String()
}

// quoted is a text as JSON, without the escapes that only HTML needs.
func quoted(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `""` // a string always encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// comment is a text that may stand in a line comment.
func comment(s string) string { return oneLineOf(s, 200) }

// spaced is a list of JSON with blanks after its commas.
func spaced(list json.RawMessage) string {
	var items []string
	if json.Unmarshal(list, &items) != nil {
		return string(list)
	}
	for i, item := range items {
		items[i] = quoted(item)
	}
	return "[" + strings.Join(items, ", ") + "]"
}
