package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/report"
)

// comment is the desk for repositories without the App's server: a step of the workflow commands.yml. It is no verb for people.
func (d *Door) comment() *cobra.Command {
	var f policyFlags
	cmd := &cobra.Command{
		Use:    "comment",
		Short:  "Do what people ask for in comments on GitHub; a step of the workflow commands.yml",
		Hidden: true,
		Args:   noArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return d.actComment(cmd.Context(), f) },
	}
	f.add(cmd)
	return cmd
}

// actComment hears the comment that started the run and does what it asks for. A run that no comment started finishes what
// others left.
func (d *Door) actComment(ctx context.Context, f policyFlags) error {
	w := d.workflow
	if w == nil {
		return Usage(errors.New("this is no step of a workflow"), "on a laptop use the verbs themselves: shopfleet rollback --help")
	}
	if d.Getenv(envAppID) == "" {
		// The 👀 of a workflow's own token is another account's than the server's, and both would do it.
		return Usage(errors.New("comments are heard as a GitHub App"), "give the action app-id and app-private-key, and an empty github-token")
	}
	k, err := d.Desk(ctx, DeskOptions{Main: f.main, Config: f.config})
	if err != nil {
		return err
	}
	var orders []*Order
	kind, event := w.context.EventName, w.context.Event
	if kind == "issue_comment" {
		o, err := k.Hear(ctx, event, kind)
		if err != nil {
			return err
		}
		if o != nil {
			orders = append(orders, o)
		}
	} else if orders, err = k.Recover(ctx); err != nil {
		d.explain(err) // what was found all the same is carried out
	}
	for _, o := range orders {
		err = errors.Join(err, k.Carry(ctx, o))
		w.results = append(w.results, o.results...)
	}
	w.page = commentPage(kind, orders)
	return err
}

// commentPage is what the run's summary says.
func commentPage(kind string, orders []*Order) string {
	if len(orders) == 0 {
		if kind == "issue_comment" {
			return "Nothing to do: the comment is no command, its author may not give it, or somebody else has it.\n"
		}
		return "Nothing was left undone.\n"
	}
	var b strings.Builder
	for _, o := range orders {
		line := report.Code("/" + o.Verb)
		if o.Shop != "" {
			line += " " + report.Code(o.Shop)
		}
		fmt.Fprintf(&b, "- %s by %s", line, report.Code(o.By))
		if strings.HasPrefix(o.URL, "https://") && !strings.ContainsAny(o.URL, "()<> \n") {
			fmt.Fprintf(&b, " in [this comment](%s)", o.URL)
		}
		b.WriteString("\n")
	}
	return b.String()
}
