package command

// What an order has a workflow do: what has to be built, and what takes long. It runs where a push would have it run, with that
// branch's environment and its turn among the shop's runs (contracts/github/wire.md §1.7, §2a).

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/report"
)

// The workflows that init writes, as far as orders start them.
const (
	deployWorkflow = "deploy.yml"
	auditWorkflow  = "audit.yml"
	rebaseWorkflow = "rebase.yml"
)

func toDispatch() permissions {
	return permissions{"actions": "write", "contents": "read", "pull_requests": "read"}
}

// as is a client for a task of the desk's.
func (k *Desk) as(ctx context.Context, task permissions) (*github.Client, error) {
	c, err := k.door.justRepository(ctx)
	if err != nil {
		return nil, err
	}
	hub, err := k.door.githubAs(ctx, c, task, k.door.Getenv(envAppID) != "")
	if err == nil && hub == nil {
		err = Usage(errors.New("there is no way to GitHub"), "set GITHUB_TOKEN, or the App's id and key")
	}
	return hub, err
}

// dispatch starts the workflow that carries out /deploy, /plan, /audit or /rebase, and says where its run is. A deploy is of
// the commit that the branch is at now, which the workflow compares with what it finds when its turn comes; what was heard
// about another commit is refused.
func (k *Desk) dispatch(ctx context.Context, o *Order) (page string, err error) {
	hub, err := k.as(ctx, toDispatch())
	if err != nil {
		return "", err
	}
	file, branch, inputs, about := "", k.policyFlags().main, map[string]string{}, ""
	switch o.Verb {
	case "audit":
		file, about = auditWorkflow, "all accounts"
	case "rebase":
		file, about = rebaseWorkflow, "all shops"
		if len(o.said.rest) > 0 {
			inputs["shops"] = strings.Join(o.said.rest, " ")
			about = inputs["shops"]
		}
	case "deploy", "plan":
		shop, err := k.rules().Shop(o.Shop)
		if err != nil {
			return "", err
		}
		tip, why, err := k.tipFor(ctx, hub, o, shop.Branch)
		if err != nil {
			return "", err
		}
		if why != "" {
			o.outcome = outcomeRefused
			return why + " Nothing was started; look at it, and say it again.\n", nil
		}
		file, branch, about = deployWorkflow, shop.Branch, shop.Branch+" at "+shortID(tip)
		inputs["commit"] = tip
		if o.Verb == "plan" {
			inputs["dry-run"] = "true"
		}
	default:
		return "", fmt.Errorf("no workflow carries out %s", o.Verb)
	}
	run, err := hub.Dispatch(ctx, file, branch, inputs)
	loose := false
	if unknownInput(err) && inputs["commit"] != "" {
		// A branch from before the input. It certainly did not start, so that it can be sent again.
		loose = true
		delete(inputs, "commit")
		run, err = hub.Dispatch(ctx, file, branch, inputs)
	}
	list := k.workflowPage(hub, file)
	name := report.Code(file)
	var e *github.Error
	switch {
	case err == nil:
	case errors.As(err, &e) && e.Unclear:
		k.options.Log.Warn("it is not known whether a run was started", "order", o.Mark, "workflow", file, "branch", branch, "error", err)
		o.outcome = outcomeFailed
		return fmt.Sprintf("GitHub did not answer, so that it is not known whether %s was started for %s. Look at [its runs](%s) before you say it again.\n", name, report.Code(about), list), nil
	case errors.As(err, new(*github.NotFoundError)):
		o.outcome = outcomeRefused
		page = fmt.Sprintf("There is no %s on %s that can be started. %s writes it", name, report.Code(branch), report.Code("shopfleet init"))
		if file == deployWorkflow {
			page += "; the shops' branches get it from main"
		}
		return page + ".\n", nil
	case errors.As(err, &e) && e.Status == http.StatusForbidden:
		k.options.Log.Error("a run may not be started", "order", o.Mark, "workflow", file, "error", err)
		o.outcome = outcomeFailed
		return fmt.Sprintf("GitHub does not let the App start %s: it needs the permission %s.\n", name, report.Code("actions: write")), nil
	case errors.As(err, &e) && e.Status == http.StatusUnprocessableEntity:
		k.options.Log.Error("a run was not started", "order", o.Mark, "workflow", file, "branch", branch, "error", err)
		o.outcome = outcomeRefused
		return fmt.Sprintf("GitHub does not start %s on %s: it may be disabled, or is not what %s writes. See [its page](%s).\n", name, report.Code(branch), report.Code("shopfleet init"), list), nil
	default:
		return "", err
	}
	o.outcome = outcomeWaiting // the run goes on with it
	where := fmt.Sprintf("[run](%s)", run)
	if run == "" {
		where = fmt.Sprintf("run, which is among [these](%s)", list)
	}
	page = fmt.Sprintf("%s was started for %s. Its %s tells how it goes on.\n", name, report.Code(about), where)
	if loose {
		page += fmt.Sprintf("\n%s on this branch is older than the input %s: it deploys what the branch is at when it starts.\n", name, report.Code("commit"))
	}
	return page, nil
}

// unknownInput says that GitHub refused an input that the branch's copy of the workflow does not have.
func unknownInput(err error) bool {
	var e *github.Error
	return errors.As(err, &e) && e.Status == http.StatusUnprocessableEntity && strings.Contains(strings.ToLower(e.Message), "unexpected input")
}

// workflowPage is where the runs of a workflow are listed.
func (k *Desk) workflowPage(hub *github.Client, file string) string {
	server := k.door.Getenv("GITHUB_SERVER_URL")
	if k.door.workflow != nil {
		server = k.door.workflow.context.ServerURL // which was looked at
	}
	if !strings.HasPrefix(server, "https://") || strings.ContainsAny(server, "()<>\"' \n") {
		server = "https://github.com"
	}
	return fmt.Sprintf("%s/%s/%s/actions/workflows/%s", strings.TrimRight(server, "/"), hub.Owner, hub.Repo, file)
}

// tipFor is the commit that a shop's branch is at. why says that the order was about another one: the button's, or the head of
// the pull request when that is this branch.
func (k *Desk) tipFor(ctx context.Context, hub *github.Client, o *Order, branch string) (tip, why string, err error) {
	tip, err = hub.Tip(ctx, branch)
	if errors.As(err, new(*github.NotFoundError)) || err == nil && tip == "" {
		return "", "There is no branch " + report.Code(branch) + " any more.", nil
	} else if err != nil {
		return "", "", fmt.Errorf("asking where %s is: %w", branch, err)
	}
	want := o.about
	if want == "" && o.Issue > 0 && o.Head != "" {
		pull, err := hub.PullRequest(ctx, o.Issue)
		if err != nil {
			return "", "", fmt.Errorf("reading pull request %d: %w", o.Issue, err)
		}
		if !pull.Fork && pull.Head.Ref == branch {
			want = o.Head
		}
	}
	if want != "" && want != tip {
		return "", fmt.Sprintf("%s moved since from %s to %s.", report.Code(branch), report.Code(shortID(want)), report.Code(shortID(tip))), nil
	}
	return tip, "", nil
}
