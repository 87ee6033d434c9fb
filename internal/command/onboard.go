package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/provision"
	"github.com/kvick/shopfleet/internal/report"
	"github.com/kvick/shopfleet/internal/secrets"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// onboardFlags are those of onboard.
type onboardFlags struct {
	name, account, region string
	customDomain          bool
	adoptData             bool
	seed                  string
	batch                 string
	secretsFile           string
	plan, json, noGitHub  bool
	policy                policyFlags

	secrets secrets.Bundle       // instead of those of secretsFile
	pages   *[]*report.Onboarded // where pages go instead of being printed as JSON
}

func (d *Door) onboard() *cobra.Command {
	var f onboardFlags
	cmd := &cobra.Command{
		Use:   "onboard <shop> | --batch FILE",
		Short: "Make a new shop: its stores, hostname, branch, secrets and first release",
		Long: `Make a new shop, from nothing to a hostname that answers: a D1 database, an R2
bucket and a KV namespace, tagged with their owner; the DNS record; the branch with
the shop's overlay on top of main; the environment on GitHub; migrations, seed data
and secrets; the Worker with its crons and route; and the check that a release must
pass to stay.

The account is the one with the most room, unless --account names one or fleet.yml
pins the shop. Everything is looked at first, and --plan stops there. Whatever fails,
the same command again finishes the same shop: what an earlier try left is adopted,
what is somebody else's is refused.

` + sourceHelp,
		Example: "  shopfleet onboard mikes --name \"Mike's Bikes\" --secrets-file mikes.env\n  shopfleet onboard mikes --plan\n  shopfleet onboard mikes --account kvick-2 --seed mikes.sqlite --secrets-file -",
		Args: func(cmd *cobra.Command, args []string) error {
			if f.batch != "" && len(args) > 0 {
				return Usage(errors.New("--batch goes without a shop"), "leave out one or the other")
			}
			if f.batch != "" {
				return nil
			}
			return oneShop(cmd, args)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.batch != "" {
				return d.asJSON(f.json, d.onboardBatch(cmd.Context(), f))
			}
			return d.asJSON(f.json, d.runOnboard(cmd.Context(), args[0], f))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "what people call the shop; by default its slug")
	flags.StringVar(&f.account, "account", "", "the `account` of fleet.yml that it lives on; by default the one with the most room")
	flags.StringVar(&f.region, "region", "", "where its database and bucket are made, such as weur; by default the account's region, or wnam")
	flags.BoolVar(&f.customDomain, "custom-domain", false, "reach the hostname by a custom domain instead of a DNS record and a route")
	flags.BoolVar(&f.adoptData, "adopt-data", false, "take stores of the shop's names that nobody's tag is on, although they hold something")
	flags.StringVar(&f.seed, "seed", "", "`file` that the database begins with: SQL, or an SQLite database")
	flags.StringVar(&f.secretsFile, "secrets-file", "", "`file` of the shop's secrets: JSON or dotenv, - for standard input")
	flags.StringVar(&f.batch, "batch", "", "`file` of many shops, - for standard input: a line of JSON for each, {\"shop\", \"name\", \"account\", \"region\", \"seed\", \"secrets\": {…}}")
	flags.BoolVar(&f.plan, "plan", false, "show what would be made, and make nothing")
	flags.BoolVar(&f.json, "json", false, "print one JSON document")
	flags.BoolVar(&f.noGitHub, "no-github", false, "leave GitHub alone: the branch is made in this repository, and nothing is written in the journal")
	d.completesAccounts(cmd, "account")
	f.policy.add(cmd)
	return cmd
}

// maxDisplayName is how long the name of a shop for people may be, in characters.
const maxDisplayName = 100

// displayName is what people call the shop; it is put into a config and into pages, and is no place for anything else.
func displayName(name, slug string) (string, error) {
	name = strings.Join(strings.Fields(cmp.Or(name, slug)), " ")
	if utf8.RuneCountInString(name) > maxDisplayName || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "", Usage(errors.New("the name of the shop cannot be used"), fmt.Sprintf("give --name at most %d printable characters", maxDisplayName))
	}
	return name, nil
}

// onboarding is one run of onboard.
type onboarding struct {
	door  *Door
	flags onboardFlags
	c     *checkout
	hub   *github.Client // nil where GitHub is left alone
	slug  string
	name  string
	shop  fleet.Shop

	tip     string // of the shop's branch, where there is one
	here    bool   // whether this repository has the branch too
	domain  bool   // whether that branch has its hostname by a custom domain
	have    *provision.Account
	main    []byte // main's config
	crons   json.RawMessage
	secrets secrets.Bundle
	client  *cloudflare.Client
	plan    *provision.Plan
	looked  time.Time // when the accounts were looked at
	tags    bool      // the account has resource tags
	first   bool      // the shop has no Worker yet
	source  deploy.Source

	// released is what the deploy came to; nil when there was none.
	released *shopResult

	mu   sync.Mutex // guards the steps and the list of what is left to do, which several goroutines add to
	page report.Onboarded
}

func (d *Door) runOnboard(ctx context.Context, slug string, f onboardFlags) (err error) {
	if err := fleet.CheckSlug(slug); err != nil {
		return err
	}
	name, err := displayName(f.name, slug)
	if err != nil {
		return err
	}
	if drillSlug.MatchString(slug) && !d.drilling {
		return deploy.Findings{{
			Rule: "slug-reserved", Level: deploy.LevelError,
			Message: fmt.Sprintf("the slug %s is for drills, and the next drill would delete the shop", slug), Expected: "another word",
		}}
	}
	c, err := d.open(ctx, f.policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := d.mayStart(ctx, c, "onboard"); err != nil {
		return err
	}
	o := &onboarding{door: d, flags: f, c: c, slug: slug, name: name, secrets: f.secrets}
	o.page = report.Onboarded{Shop: slug, Name: name, Begun: d.Now()}
	if o.secrets == nil {
		if o.secrets, err = d.readSecrets(f.secretsFile); err != nil {
			return err
		}
	}
	if err := o.prepare(ctx); err != nil {
		return o.end(err)
	}
	if f.plan || deploy.Findings(o.page.Findings).Blocking() {
		return o.end(nil)
	}
	return o.end(o.make(ctx))
}

// step does a part of the work, tells of it and notes how long it took.
func (o *onboarding) step(ctx context.Context, text string, do func(ctx context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	o.say(text)
	o.mu.Lock()
	i, begun := len(o.page.Steps), o.door.Now()
	o.page.Steps = append(o.page.Steps, report.WorkStep{Text: text})
	o.mu.Unlock()
	err := do(ctx)
	o.mu.Lock()
	o.page.Steps[i].Seconds, o.page.Steps[i].Failed = o.door.Now().Sub(begun).Seconds(), err != nil
	o.mu.Unlock()
	if err != nil && findings(err) == nil && !errors.As(err, new(*usageError)) && !errors.As(err, new(*resultError)) {
		err = fmt.Errorf("%s: %w", text, err)
	}
	return err
}

// todo notes what a person still has to do.
func (o *onboarding) todo(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.page.Todo = append(o.page.Todo, text)
}

func (o *onboarding) say(text string) {
	fmt.Fprintf(o.door.Stderr, "%s: %s\n", o.slug, report.Clean(text))
}

// prepare looks at everything and plans; it writes nothing.
func (o *onboarding) prepare(ctx context.Context) (err error) {
	d := o.door
	if o.shop, err = o.c.policy.Shop(o.slug); err != nil {
		return err
	}
	if err := o.readMain(ctx); err != nil {
		return err
	}
	if err := o.checkSeed(ctx); err != nil {
		return err
	}
	if !o.flags.noGitHub {
		if o.hub, err = d.githubOfEnvironments(ctx, o.c); err != nil {
			return err
		}
	}
	var accounts []*provision.Account
	o.looked = d.Now()
	return o.step(ctx, "looking at the accounts", func(ctx context.Context) error {
		group, gctx := errgroup.WithContext(ctx)
		group.Go(func() (err error) {
			accounts, err = o.look(gctx)
			return err
		})
		group.Go(func() error { return o.findBranch(gctx) })
		if err := group.Wait(); err != nil {
			return err
		}
		return o.choose(ctx, accounts)
	})
}

// githubOfEnvironments is GitHub for the verbs that make or delete environments, which needs administration: write. An App
// that was not given that does all the rest; a person is then told what is left.
func (d *Door) githubOfEnvironments(ctx context.Context, c *checkout) (*github.Client, error) {
	asApp := d.Getenv(envAppID) != ""
	may := permissions{"contents": "write", "deployments": "write", "administration": "write"}
	hub, err := d.githubAs(ctx, c, may, asApp)
	if err != nil || hub == nil || hub.App == nil {
		return hub, err
	}
	_, err = hub.GitPassword(ctx)
	var refused *github.Error
	if errors.As(err, &refused) && (refused.Status == http.StatusUnprocessableEntity || refused.Status == http.StatusForbidden) {
		return d.githubAs(ctx, c, permissions{"contents": "write", "deployments": "write"}, asApp)
	}
	return hub, nil // what else is wrong is said by whoever asks first
}

// readMain reads what the overlay is written on, and what all shops have in common.
func (o *onboarding) readMain(ctx context.Context) error {
	files, err := o.c.repo.Files(ctx, configFile, o.c.main)
	if err != nil {
		return err
	}
	if files[0].Err != nil {
		return Usage(fmt.Errorf("branch %s has no %s that can be read: %w", o.flags.policy.main, configFile, files[0].Err), "commit the base of all shops to "+o.flags.policy.main)
	}
	o.main = files[0].Data
	p, err := wrangler.Parse("", configFile, o.main)
	if err != nil {
		return err
	}
	o.crons = p.Value("triggers", "crons")
	return nil
}

// findBranch is the tip of the shop's branch, here or on GitHub. One that GitHub has and this repository does not has to be
// fetched: what is in it counts.
func (o *onboarding) findBranch(ctx context.Context) error {
	commits := o.c.tipsByName()
	o.tip = commits[o.shop.Branch]
	o.here = o.tip != ""
	if o.hub == nil {
		return nil
	}
	tip, err := o.hub.Tip(ctx, o.shop.Branch)
	var none *github.NotFoundError
	switch {
	case errors.As(err, &none) || err == nil && tip == "":
		if o.tip != "" && o.door.workflow != nil {
			o.tip = ""
		}
		return nil
	case err != nil:
		return fmt.Errorf("asking GitHub for %s: %w", o.shop.Branch, err)
	case tip == o.tip:
		return nil
	}
	if _, err := o.c.repo.Commit(ctx, tip); err != nil {
		return Usage(fmt.Errorf("GitHub has %s at %s, and this repository does not", o.shop.Branch, shortID(tip)), "git fetch origin, then run the same command again")
	}
	o.tip = tip
	return nil
}

// candidates are the accounts that the shop can be on: the one that its branch or fleet.yml says, the one that is named, or
// all.
func (o *onboarding) candidates() ([]fleet.Account, error) {
	policy := o.c.policy
	pinned := policy.Shops[o.slug].Account
	if pinned == "" && o.tip != "" {
		pinned = o.shop.Account.Name
	}
	if o.flags.account != "" {
		named, ok := policy.AccountNamed(o.flags.account)
		if !ok {
			var names []string
			for _, a := range policy.Accounts {
				names = append(names, a.Name)
			}
			return nil, Usage(fmt.Errorf("%s has no account %q", policyFile, o.flags.account), "it has "+strings.Join(names, ", "))
		}
		if pinned != "" && pinned != named.Name {
			return nil, Usage(fmt.Errorf("shop %s is on account %s already", o.slug, pinned), "shopfleet move "+o.slug+" --to "+named.Name+" moves it once it is there; where that account is lost, docs/backup.md is the way")
		}
		return []fleet.Account{named}, nil
	}
	if pinned != "" {
		a, _ := policy.AccountNamed(pinned)
		return []fleet.Account{a}, nil
	}
	return policy.Accounts, nil
}

// look reads the candidates side by side. An account whose token is not there counts as one without room.
func (o *onboarding) look(ctx context.Context) ([]*provision.Account, error) {
	d := o.door
	candidates, err := o.candidates()
	if err != nil {
		return nil, err
	}
	out := make([]*provision.Account, len(candidates))
	group, ctx := errgroup.WithContext(ctx)
	for i, a := range candidates {
		if d.Getenv(a.Token) == "" {
			if len(candidates) == 1 {
				return nil, Usage(fmt.Errorf("no API token for account %s", a.Name), "set "+a.Token+" to a Cloudflare API token; shopfleet sim prints one for its world")
			}
			out[i] = &provision.Account{Account: a, Error: a.Token + " is not set"}
			continue
		}
		group.Go(func() error {
			shop, err := o.c.policy.WithAccounts(map[string]string{o.slug: a.Name}).Shop(o.slug)
			if err != nil {
				return err
			}
			engines, err := d.engines([]fleet.Account{a}, true, nil)
			if err != nil {
				return err
			}
			out[i], err = provision.Look(ctx, engines[a.ID].CF, a, shop)
			if err != nil && len(candidates) > 1 {
				out[i], err = &provision.Account{Account: a, Error: oneLine(err.Error())}, nil
			}
			return err
		})
	}
	return out, group.Wait()
}

// choose takes an account and plans what is made there.
func (o *onboarding) choose(ctx context.Context, accounts []*provision.Account) error {
	shops, err := o.neighbours(ctx, accounts)
	if err != nil {
		return err
	}
	account, found := o.begun(accounts)
	var list []deploy.Finding
	if !found {
		account, list = provision.Choose(o.c.policy, provision.Rooms(o.c.policy, accounts, shops), o.named(accounts))
		o.page.Findings = append(o.page.Findings, list...)
		if deploy.Findings(list).Blocking() {
			return nil
		}
	}
	o.c.policy = o.c.policy.WithAccounts(map[string]string{o.slug: account.Name})
	shop, err := o.c.policy.Shop(o.slug)
	if err != nil {
		return err
	}
	shop.Region = cmp.Or(o.flags.region, shop.Region, "wnam")
	o.shop = shop
	o.page.Account, o.page.Hostname, o.page.Branch = account.Name, shop.Hostname, shop.Branch
	i := slices.IndexFunc(accounts, func(a *provision.Account) bool { return a.Name == account.Name })
	ids, err := o.bound(ctx)
	if err != nil {
		return err
	}
	o.plan = provision.PlanMake(provision.Want{
		Shop: shop, CustomDomain: o.byDomain(), Crons: cronCount(o.crons), AdoptData: o.flags.adoptData, IDs: ids, Others: slugsOn(shops, account),
	}, accounts[i])
	o.have = accounts[i]
	o.page.Plan, o.tags = o.plan, accounts[i].Owners != nil
	o.first = !slices.ContainsFunc(accounts[i].Workers, func(w cloudflare.Worker) bool { return w.Name == shop.Worker })
	o.page.Findings = append(o.page.Findings, o.plan.Findings...)
	o.page.Findings = append(o.page.Findings, o.wrongSecrets(ctx)...)
	engines, err := o.door.engines([]fleet.Account{account}, false, nil)
	if err != nil {
		return err
	}
	o.client = engines[account.ID].CF
	return nil
}

// named is the account that is the only candidate; "" where there is a choice.
func (o *onboarding) named(accounts []*provision.Account) string {
	if len(accounts) == 1 {
		return accounts[0].Name
	}
	return ""
}

// begun is the account on which an earlier try has left something of this shop: a second one must not begin elsewhere.
func (o *onboarding) begun(accounts []*provision.Account) (fleet.Account, bool) {
	for _, a := range accounts {
		for _, owner := range a.Owners {
			if owner == o.slug {
				return a.Account, true
			}
		}
	}
	return fleet.Account{}, false
}

// byDomain is whether the shop has its hostname by a custom domain: the branch says so where there is one, since the deploy
// does what it says, and a DNS record would be in the way of that.
func (o *onboarding) byDomain() bool {
	if o.tip != "" {
		return o.domain
	}
	return o.flags.customDomain || o.c.policy.Onboard.Hostname == fleet.HostnameCustomDomain
}

// cronCount is how many crons a list of them has.
func cronCount(crons json.RawMessage) int {
	var list []string
	if json.Unmarshal(crons, &list) != nil {
		return 0
	}
	return len(list)
}

// neighbours are the other shops that have a branch. What their branches say of crons goes into the accounts: Cloudflare has
// no list of them.
func (o *onboarding) neighbours(ctx context.Context, accounts []*provision.Account) ([]fleet.Shop, error) {
	configs, err := o.others(ctx)
	if err != nil {
		return nil, err
	}
	var shops []fleet.Shop
	for _, slug := range sortedKeys(configs) {
		shop, err := o.c.policy.Shop(slug)
		if err != nil {
			continue // its own deploy says what is wrong with it
		}
		shops = append(shops, shop)
		crons := o.crons
		if p, err := wrangler.Parse("", configFile, configs[slug]); err == nil {
			if own := p.Value("env", slug, "triggers", "crons"); own != nil {
				crons = own
			}
		}
		for _, a := range accounts {
			if a.Name != shop.Account.Name {
				continue
			}
			if a.Crons == nil {
				a.Crons = map[string]int{}
			}
			if _, read := a.Crons[shop.Worker]; !read {
				a.Crons[shop.Worker] = cronCount(crons)
			}
		}
	}
	return shops, nil
}

// slugsOn are the shops of a list that are on an account.
func slugsOn(shops []fleet.Shop, account fleet.Account) []string {
	var out []string
	for _, s := range shops {
		if s.Account.Name == account.Name {
			out = append(out, s.Slug)
		}
	}
	return out
}

// bound are the ids and names of stores that the shop's branch binds, where there is one.
func (o *onboarding) bound(ctx context.Context) ([]string, error) {
	if o.tip == "" {
		return nil, nil
	}
	files, err := o.c.repo.Files(ctx, configFile, o.tip)
	if err != nil {
		return nil, err
	}
	p, err := wrangler.Parse("", configFile, files[0].Data)
	if err != nil {
		return nil, err
	}
	var env struct {
		D1 []struct {
			ID string `json:"database_id"`
		} `json:"d1_databases"`
		R2 []struct {
			Name string `json:"bucket_name"`
		} `json:"r2_buckets"`
		KV []struct {
			ID string `json:"id"`
		} `json:"kv_namespaces"`
		Routes []json.RawMessage `json:"routes"`
		Route  json.RawMessage   `json:"route"`
	}
	if raw := p.Value("env", o.slug); raw == nil || json.Unmarshal(raw, &env) != nil {
		return nil, deploy.Findings{{
			Rule: "overlay-missing", Level: deploy.LevelError, File: configFile,
			Message: fmt.Sprintf("branch %s has no env.%s", o.shop.Branch, o.slug), Expected: configFile + " with env." + o.slug,
			Hint: "delete the branch if nothing is in it yet, and run the same command again",
		}}
	}
	for _, raw := range append(env.Routes, env.Route) {
		var r struct {
			Pattern string `json:"pattern"`
			Custom  bool   `json:"custom_domain"`
		}
		if json.Unmarshal(raw, &r) == nil && r.Custom && r.Pattern == o.shop.Hostname {
			o.domain = true
		}
	}
	out := []string{}
	for _, x := range env.D1 {
		out = append(out, x.ID)
	}
	for _, x := range env.KV {
		out = append(out, x.ID)
	}
	for _, x := range env.R2 {
		out = append(out, x.Name)
	}
	return out, nil
}

// wrongSecrets says before anything is made what the first deploy would refuse.
func (o *onboarding) wrongSecrets(ctx context.Context) []deploy.Finding {
	policy, given := secretPolicy(o.c.policy, o.slug, o.main), o.secrets
	if o.tip != "" {
		b, err := o.c.bundleAt(ctx, o.slug, o.tip)
		if err != nil {
			return findings(err) // another error is the deploy's to meet
		}
		given = b.bundle.Over(given)
	}
	named := len(policy.Required)+len(policy.Optional) > 0
	var out []deploy.Finding
	var missing []string
	for _, f := range secrets.Check(policy, given) {
		if f.Rule != secrets.RuleAbsent && (named || f.Rule != secrets.RuleUnknown) {
			out = append(out, deploy.Finding(f))
		}
	}
	for _, name := range policy.Required {
		if _, ok := given[name]; !ok {
			missing = append(missing, name)
		}
	}
	if missing == nil || !o.first { // a Worker that is there may have them; the deploy looks
		return out
	}
	return append(out, deploy.Finding{
		Rule: "secret-missing", Level: deploy.LevelError, File: policyFile,
		Message:  fmt.Sprintf("shop %s has no value for %s", o.slug, strings.Join(missing, ", ")),
		Expected: "a value for every secret that fleet.yml requires",
		Hint:     "give --secrets-file; in a workflow, the environment's secret SHOP_SECRETS",
	})
}

// end prints the page. Of a run that failed it says how far it came, and why.
func (o *onboarding) end(err error) error {
	d, p := o.door, &o.page
	p.Seconds = d.Now().Sub(p.Begun).Seconds()
	p.Planned = o.flags.plan
	p.Exit = exitCode(err)
	if err == nil && deploy.Findings(p.Findings).Blocking() {
		p.Exit = ExitFindings
	}
	if p.Plan != nil {
		p.Digest = p.Plan.Digest()
	}
	why := err
	if o.released != nil && o.released.exit() != ExitDone {
		why = o.released.err // its exit code is in err already
	}
	failed := findings(why)
	if why != nil && failed == nil && !errors.As(why, new(*resultError)) {
		p.Error, p.Hint = report.Clean(oneLine(why.Error())), hintOf(why)
	}
	if d.workflow != nil {
		if o.released != nil && o.released.exit() == ExitDone { // for the step's outputs
			d.workflow.results = append(d.workflow.results, *o.released)
		}
		shown := *p
		if shown.Error != "" {
			shown.Error = reasons[reason(statusFailed, why)] // the cause stays in the log
		}
		shown.Findings = append(shown.Findings, failed...)
		d.workflow.page += report.OnboardMarkdown(&shown) + "\n"
	}
	var printed error
	if o.flags.json {
		p.Findings = append(p.Findings, failed...)
		if o.flags.pages != nil {
			*o.flags.pages = append(*o.flags.pages, p)
		} else {
			printed = report.JSON(d.Stdout, p)
		}
	} else {
		printed = report.Onboard(d.Stdout, d.resultStyle(), p)
	}
	switch {
	case printed != nil:
		return fmt.Errorf("printing the result: %w", printed)
	case err != nil && !o.flags.json:
		if why != err {
			d.explain(why)
		}
		return err
	case p.Exit != ExitDone:
		return &resultError{code: p.Exit}
	}
	return nil
}
