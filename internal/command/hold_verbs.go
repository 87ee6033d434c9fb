package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/git"
	"github.com/kvick/shopfleet/internal/report"
)

// holdFlags are those of hold, release-hold and holds.
type holdFlags struct {
	all, json bool
	shop      string
	lasts     time.Duration
	policy    policyFlags
}

func (f *holdFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON document")
	f.policy.add(cmd)
}

const holdHelp = `A hold is a ref of the repository, refs/shopfleet/holds/<slug>, that names who
holds the shop and why. It needs a token for GitHub (GITHUB_TOKEN or GH_TOKEN,
contents: write).`

func (d *Door) hold() *cobra.Command {
	var f holdFlags
	cmd := &cobra.Command{
		Use:   "hold [shop] [reason...]",
		Short: "Keep a shop from being deployed until somebody lifts it",
		Long: `Keep a shop, or with --all the whole fleet, from being deployed: no push, no
weekly rebase and no other deploy goes through until somebody says release-hold.
A rollback goes through. Who holds already is not replaced.

` + holdHelp,
		Example:           "  shopfleet hold swicked the owner counts the stock\n  shopfleet hold --all --for 2h Cloudflare is having an incident",
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(f.json, d.runHold(cmd.Context(), args, f))
		},
	}
	cmd.Flags().BoolVar(&f.all, "all", false, "the whole fleet; all arguments are the reason")
	cmd.Flags().StringVar(&f.shop, "shop", "", "the `shop`; all arguments are the reason")
	cmd.Flags().DurationVar(&f.lasts, "for", 0, "lift it by itself after this `time`, such as 2h")
	f.add(cmd)
	return cmd
}

func (d *Door) releaseHold() *cobra.Command {
	var f holdFlags
	cmd := &cobra.Command{
		Use:   "release-hold [shop]",
		Short: "Lift the hold of a shop",
		Long: `Lift the hold of a shop, or with --all the one of the whole fleet. Nothing is
deployed by that: the next push does, or shopfleet deploy.

` + holdHelp,
		Example: "  shopfleet release-hold swicked\n  shopfleet release-hold --all",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return Usage(fmt.Errorf("release-hold takes one shop, got %d", len(args)), "run "+cmd.CommandPath()+" --help")
			}
			return nil
		},
		ValidArgsFunction: d.completeShops,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.asJSON(f.json, d.runRelease(cmd.Context(), args, f))
		},
	}
	cmd.Flags().BoolVar(&f.all, "all", false, "the hold of the whole fleet; those of single shops stay")
	f.add(cmd)
	return cmd
}

func (d *Door) listHolds() *cobra.Command {
	var f holdFlags
	cmd := &cobra.Command{
		Use:   "holds",
		Short: "List the shops that are held, by whom and why, and the freezes",
		Long: `List the shops that are held, by whom and why, and the freezes of fleet.yml that
are on or will be.

A hold is a ref of the repository, refs/shopfleet/holds/<slug>. Reading them needs
a token for GitHub (GITHUB_TOKEN or GH_TOKEN, contents: read).`,
		Example:           "  shopfleet holds\n  shopfleet holds --json",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return d.asJSON(f.json, d.runHolds(cmd.Context(), f))
		},
	}
	f.add(cmd)
	return cmd
}

// holdsOf opens the holds of the checkout's repository.
func (d *Door) holdsOf(ctx context.Context, c *checkout, f policyFlags, task permissions) (*holds, error) {
	client, err := d.github(ctx, c, task)
	if err != nil {
		return nil, err
	}
	if client == nil {
		return nil, Usage(errors.New("holds are kept on GitHub"), "set GITHUB_TOKEN; GITHUB_REPOSITORY names the repository where origin does not")
	}
	h := &holds{client: client, now: d.Now}
	return h, c.lend(ctx, h, f.main)
}

// lend gives holds a commit that GitHub has: the main branch as it was fetched, or, where nothing tells that, as GitHub says.
func (c *checkout) lend(ctx context.Context, h *holds, main string) (err error) {
	for _, b := range c.tips {
		if b.Name == main && b.Origin != "" {
			h.like = b.Origin
		}
	}
	if h.like == "" {
		if h.like, err = h.client.Tip(ctx, main); err != nil {
			return fmt.Errorf("asking for the tip of %s: %w", main, err)
		}
	}
	return nil
}

// about is the shop that a hold is about, and the words after it; "" is the whole fleet.
func (c *checkout) about(ctx context.Context, args []string, f holdFlags) (slug string, words []string, err error) {
	switch {
	case f.all && f.shop != "":
		return "", nil, Usage(errors.New("--all goes without --shop"), "leave out one or the other")
	case f.all:
		return "", args, nil
	case f.shop != "":
		slug, words = f.shop, args
	case len(args) > 0:
		slug, words = args[0], args[1:]
	default:
		slugs, err := c.choose(ctx, nil, false)
		if err != nil {
			return "", nil, err
		}
		slug = slugs[0]
	}
	shop, err := c.policy.Shop(slug)
	if err != nil {
		return "", nil, err
	}
	for _, b := range c.tips {
		if b.Name == shop.Branch {
			return slug, words, nil
		}
	}
	return "", nil, Usage(fmt.Errorf("shop %s has no branch %s: %w", slug, shop.Branch, &git.NotFoundError{What: "branch", Name: shop.Branch}), "name a shop that has a branch, and a reason after it")
}

func (d *Door) runHold(ctx context.Context, args []string, f holdFlags) (err error) {
	if f.lasts < 0 {
		return Usage(fmt.Errorf("--for is %s", f.lasts), "give a time such as 2h")
	}
	c, err := d.open(ctx, f.policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := d.mayStart(ctx, c, "hold"); err != nil {
		return err
	}
	slug, words, err := c.about(ctx, args, f)
	if err != nil {
		return err
	}
	h, err := d.holdsOf(ctx, c, f.policy, permissions{"contents": "write"})
	if err != nil {
		return err
	}
	now := d.Now().UTC().Truncate(time.Second)
	x := Hold{Shop: slug, Owner: d.asker(), Reason: oneLineOf(strings.Join(words, " "), maxReason), Created: now, By: "hold", State: holdHeld, Order: d.orderID()}
	if x.Reason == "" {
		x.Reason = "no reason was given"
	}
	if f.lasts > 0 {
		x.Expires = now.Add(f.lasts)
	}
	there, placed, err := h.place(ctx, x)
	if err != nil {
		return err
	}
	text := "is held"
	if !placed && (there.Order == "" || there.Order != x.Order) {
		text = "is held already"
	}
	return d.sayHolds([]Hold{*there}, text, f.json)
}

func (d *Door) runRelease(ctx context.Context, args []string, f holdFlags) (err error) {
	if f.all && len(args) > 0 {
		return Usage(errors.New("--all goes without a shop's name"), "leave out one or the other")
	}
	c, err := d.open(ctx, f.policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := d.mayStart(ctx, c, "release-hold"); err != nil {
		return err
	}
	slug, _, err := c.about(ctx, args, f)
	if err != nil {
		return err
	}
	h, err := d.holdsOf(ctx, c, f.policy, permissions{"contents": "write"})
	if err != nil {
		return err
	}
	there, err := h.there(ctx, slug)
	if err != nil {
		return err
	}
	if there == nil {
		return d.sayHolds([]Hold{{Shop: slug}}, "is not held", f.json)
	}
	if there.State == holdWorking && there.counts(d.Now()) {
		return Usage(fmt.Errorf("a rollback of %s by %s is under way", name(slug), report.Clean(there.Owner)), "wait until it is over: then the shop is held, and that can be lifted")
	}
	if there.Leaving != nil {
		return Usage(fmt.Errorf("%s is not held by a person: %s", slug, report.Clean(there.Reason)), there.Leaving.lift(slug))
	}
	lifted, err := h.lift(ctx, there)
	if err != nil {
		return err
	}
	if !lifted {
		return fmt.Errorf("lifting the hold of %s: it was changed meanwhile; run the same command again", name(slug))
	}
	return d.sayHolds([]Hold{*there}, heldNoMore, f.json)
}

func (d *Door) runHolds(ctx context.Context, f holdFlags) (err error) {
	c, err := d.open(ctx, f.policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	client, err := d.github(ctx, c, permissions{"contents": "read"})
	if err != nil {
		return err
	}
	if client == nil {
		return Usage(errors.New("holds are kept on GitHub"), "set GITHUB_TOKEN; GITHUB_REPOSITORY names the repository where origin does not")
	}
	list, err := (&holds{client: client, now: d.Now}).list(ctx)
	if err != nil {
		return err
	}
	return d.sayHolds(list, "is held", f.json, d.freezes(c.policy)...)
}

// freezing is a freeze as holds lists it.
type freezing struct {
	Name   string    `json:"name"`
	Now    bool      `json:"now"`
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"`
	Reason string    `json:"reason"`
	Shops  []string  `json:"shops,omitempty"` // none are all
	Except []string  `json:"except,omitempty"`
}

// freezes are those that are on or to come, the next one first.
func (d *Door) freezes(policy *fleet.Policy) []freezing {
	now := d.Now().UTC()
	var out []freezing
	for _, f := range policy.Freezes {
		if from, until, ok := f.Next(now); ok {
			out = append(out, freezing{f.Name, !now.Before(from), from.UTC(), until.UTC(), f.Reason, f.Shops, f.Except})
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].From.Compare(out[j].From) < 0 })
	return out
}

// words are a freeze on one line.
func (f freezing) words() string {
	const minute = "2006-01-02 15:04"
	s := "is"
	if !f.Now {
		s = "will be"
	}
	about := "the fleet"
	if len(f.Shops) > 0 {
		about = strings.Join(f.Shops, ", ")
	}
	if len(f.Except) > 0 {
		about += " (not " + strings.Join(f.Except, ", ") + ")"
	}
	return fmt.Sprintf("%s %s frozen from %s until %s UTC, freeze %s: %s", about, s, f.From.Format(minute), f.Until.Format(minute), f.Name, oneLineOf(f.Reason, maxReason))
}

// name is a shop, or the fleet, in words.
func name(slug string) string {
	if slug == "" {
		return "the fleet"
	}
	return slug
}

// sayHolds prints holds, and what is said of each.
func (d *Door) sayHolds(list []Hold, what string, asJSON bool, freezes ...freezing) error {
	if d.order != nil || d.workflow != nil {
		var b strings.Builder
		for _, x := range list {
			fmt.Fprintf(&b, "%s %s%s\n", report.Code(name(x.Shop)), what, holdWords(what, x, report.Code))
		}
		if d.order != nil {
			d.order.page = b.String()
		} else {
			d.workflow.page = b.String()
		}
	}
	if asJSON {
		if list == nil {
			list = []Hold{}
		}
		return report.JSON(d.Stdout, struct {
			Exit   int    `json:"exit_code"`
			Status string `json:"status"`
			Holds  []Hold `json:"holds"`
			// Freezes are those that are on or to come; of the verb holds alone.
			Freezes []freezing `json:"freezes,omitempty"`
		}{ExitDone, strings.ReplaceAll(strings.TrimPrefix(what, "is "), " ", "-"), list, freezes})
	}
	var b bytes.Buffer
	for _, x := range list {
		fmt.Fprintf(&b, "%s %s%s\n", report.Clean(name(x.Shop)), what, holdWords(what, x, report.Clean))
	}
	if len(list) == 0 {
		b.WriteString("nothing is held\n")
	}
	for _, f := range freezes {
		fmt.Fprintf(&b, "%s\n", report.Clean(f.words()))
	}
	_, err := d.Stdout.Write(b.Bytes())
	return err
}

// holdWords are who holds, why and how long.
func holdWords(what string, x Hold, quote func(string) string) string {
	if x.Owner == "" {
		return ""
	}
	s := " by " + quote(x.Owner) + ": " + quote(x.Reason)
	if !x.Created.IsZero() {
		s += ", since " + x.Created.UTC().Format("2006-01-02 15:04 UTC")
	}
	if !x.Expires.IsZero() {
		s += ", until " + x.Expires.UTC().Format("2006-01-02 15:04 UTC")
	}
	if what == heldNoMore {
		return "; it was" + s
	}
	return s
}

const heldNoMore = "is held no more"
