package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/report"
)

// workflow is the run of a workflow that a command is a step of, and what it has to tell when it ends.
type workflow struct {
	runner  *github.Runner
	context github.Context
	// branch and commit are what a push, or a dispatch by hand, started the run with; "" for other events.
	branch, commit string
	pull           *github.PullRequest // of a pull_request event
	typed          string              // what somebody typed into the form to confirm something

	results []shopResult
	loose   []deploy.Finding // findings that belong to no shop
	page    string           // Markdown that the summary begins with
}

// stranger says that GitHub gave the run neither secrets nor a token that may write: it is of a fork's pull request, or of
// one by GitHub's own bot for dependencies.
func (w *workflow) stranger() bool {
	return w.pull != nil && (w.pull.Fork || w.context.Actor == "dependabot[bot]")
}

// The events that a deploy may be started by: each is of this repository's own branches. Others, such as workflow_run and
// issue_comment, come with secrets for whoever causes them.
var deployEvents = []string{"push", "workflow_dispatch", "schedule", "repository_dispatch"}

// The events that may start what moves branches, releases or holds. A comment and a ticked box are a person's, who is asked
// for, and a dispatch is of somebody who may push; a push and a pull request are of code that nobody may have looked at.
var orderEvents = map[string]struct {
	may  []string
	file string // the workflow in which it is right
}{
	"rebase":       {[]string{"schedule", "workflow_dispatch"}, "rebase.yml"},
	"land":         {[]string{"schedule", "workflow_dispatch", "issue_comment", "issues"}, "rebase.yml"},
	"comment":      {[]string{"schedule", "workflow_dispatch", "issue_comment"}, "commands.yml"},
	"rollback":     {[]string{"workflow_dispatch"}, "rollback.yml"},
	"hold":         {[]string{"workflow_dispatch"}, "rollback.yml"},
	"release-hold": {[]string{"workflow_dispatch"}, "rollback.yml"},
}

// The verbs that the action has. What puts a database back, or writes files of the repository, is for a person at a
// terminal, or in a comment who confirms it.
var actionVerbs = []string{
	"deploy", "plan", "check", "lint", "audit", "verify", "receipts", "rebase", "land", "comment", "rollback", "hold", "release-hold",
	"onboard", "offboard", "move", "backup", "drill", "status", "cost", "accounts", "secrets",
}

func (d *Door) action() *cobra.Command {
	return &cobra.Command{
		Use:   "action",
		Short: "Be a step of a GitHub Actions workflow: inputs instead of flags",
		Long: `Be a step of a GitHub Actions workflow. The container action runs this. Inputs
are read from the environment (INPUT_COMMAND, INPUT_SHOP, …; action.yml lists
them), the verb is run as on the command line, and its result becomes the step's
outputs, its summary and annotations.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.act(cmd.Context()) },
	}
}

func (d *Door) act(ctx context.Context) error {
	w := &workflow{runner: github.NewRunner(d.Getenv, d.Stdout)}
	if !w.runner.Active() {
		return Usage(errors.New("this is no step of a workflow"), "on a laptop use the verbs themselves: shopfleet deploy --help")
	}
	inner := *d
	// Text that other people wrote is on its way to the log, where a line can be a command.
	inner.Stdout, inner.Stderr = w.runner.Log(), w.runner.Log()
	inner.workflow = w
	inner.Terminal = false
	err := inner.begin(w)
	if err == nil && len(inner.Args) > 0 {
		tree := inner.tree()
		tree.SetArgs(inner.Args)
		tree.SetIn(inner.Stdin)
		tree.SetOut(inner.Stdout)
		tree.SetErr(inner.Stderr)
		err = tree.ExecuteContext(ctx)
	}
	if err != nil {
		inner.explain(err)
	}
	return inner.publish(ctx, err)
}

// begin turns the step's inputs and its event into the arguments of a verb; none when the event asks for nothing.
func (d *Door) begin(w *workflow) error {
	in := w.runner.Input
	outer := d.Getenv
	given := map[string]string{}
	for name, input := range map[string]string{
		"CLOUDFLARE_API_TOKEN": "cloudflare-api-token", envToken: "github-token",
		envAppID: "app-id", envAppKey: "app-private-key", envInstallation: "app-installation-id",
		"CLOUDFLARE_BACKUP_TOKEN": "backup-api-token", "SHOPFLEET_AGE_KEY": "secrets-key",
	} {
		given[name] = in(input)
		if input != "app-id" && input != "app-installation-id" {
			d.mask(w, given[name])
		}
	}
	d.Getenv = func(name string) string {
		if v := given[name]; v != "" {
			return v
		}
		return outer(name)
	}
	var err error
	if w.context, err = w.runner.Context(); err != nil {
		return Usage(err, "run this as a step of a workflow")
	}
	event := w.context.Event
	switch w.context.EventName {
	case "push", "workflow_dispatch":
		w.branch, _ = strings.CutPrefix(w.context.Ref, "refs/heads/")
		if w.branch == w.context.Ref {
			w.branch = ""
		}
		w.commit = w.context.SHA
	case "pull_request":
		w.pull = event.PullRequest
	case "pull_request_target":
		return Usage(errors.New("the workflow was started by pull_request_target, which hands secrets to strangers' code"), "use on: pull_request")
	}
	if event.Deleted {
		w.results = append(w.results, because("", statusSkipped, []deploy.Finding{{
			Rule: "branch-deleted", Level: deploy.LevelNotice, Message: "the branch was deleted; its shop stays as it is",
		}}))
		d.Args = nil
		return nil
	}
	w.typed = in("confirm")
	secrets := in("secrets")
	d.Args, err = actionArgs(in, secrets != "")
	if err != nil {
		return err
	}
	if d.Args[0] == "deploy" && !slices.Contains(deployEvents, w.context.EventName) {
		return Usage(fmt.Errorf("a run that %s started does not deploy", w.context.EventName), "deploy on push or workflow_dispatch; on a pull request use command: plan")
	}
	by, ok := orderEvents[d.Args[0]]
	if !ok {
		by, ok = fleetEvents[d.Args[0]]
	}
	if ok && !slices.Contains(by.may, w.context.EventName) {
		return Usage(fmt.Errorf("a run that %s started does not %s", w.context.EventName, d.Args[0]), "use the workflow "+by.file+" that shopfleet init writes")
	}
	if ok || slices.Contains(fleetLooks, d.Args[0]) {
		w.branch, w.commit = "", "" // of main, which says what the rules are and not what it is about
	}
	for _, name := range []string{"CLOUDFLARE_API_BASE_URL", "SHOPFLEET_EDGE_URL"} {
		// They are for the simulator. An earlier step that could set one would be sent the tokens, or would answer the gate.
		if v := d.Getenv(name); v != "" && !loopback(v) {
			return Usage(fmt.Errorf("%s is set in the environment of the step", name), "leave it out; the simulator's is on this machine")
		}
	}
	d.Stdin = strings.NewReader(secrets)
	values, err := parseSecrets([]byte(secrets))
	if err != nil {
		return err
	}
	for _, v := range values {
		d.mask(w, string(v))
	}
	return nil
}

// loopback says that an address is one of this machine's.
func loopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return ip != nil && ip.IsLoopback()
}

// mask hides a secret in the log from here on. One that is too short to be hidden is told of, since GitHub does not hide it
// either.
func (d *Door) mask(w *workflow, secret string) {
	d.tell(w.runner.Mask(github.Secret(secret)))
}

// tell prints what went wrong and changes nothing; nil is nothing.
func (d *Door) tell(err error) {
	if err != nil {
		fmt.Fprintf(d.Stderr, "warning: %s\n", report.Clean(err.Error()))
	}
}

// actionArgs are the arguments of the verb that the inputs ask for. No input can become a flag of its own.
func actionArgs(in func(string) string, secrets bool) ([]string, error) {
	verb := in("command")
	if verb == "" {
		verb = "deploy"
	}
	if !slices.Contains(actionVerbs, verb) {
		return nil, Usage(fmt.Errorf("input command is %q", verb), "one of "+strings.Join(actionVerbs, ", "))
	}
	var err error
	yes := func(name string) bool {
		switch v := in(name); v {
		case "", "false":
			return false
		case "true":
			return true
		default:
			err = errors.Join(err, Usage(fmt.Errorf("input %s is %q", name, v), "true or false"))
			return false
		}
	}
	dry, all := yes("dry-run"), yes("all")
	issue, land := yes("issue"), yes("land")
	to, commit, why := in("to"), in("commit"), in("reason")
	form := fleetInputs{
		name: in("name"), account: in("account"), region: in("region"), seed: in("seed"), keep: in("keep"), days: in("days"), step: in("step"),
		confirm: in("confirm"), report: in("report"), history: in("history"), customDomain: yes("custom-domain"),
	}
	redeploy, overwrite, destructive, noJournal := yes("redeploy"), yes("overwrite-outside"), yes("allow-destructive"), yes("no-journal")
	if err != nil {
		return nil, err
	}
	if verb == "deploy" && dry {
		verb = "plan"
	}
	args := []string{verb}
	if verb != "lint" {
		for _, f := range []string{"main", "config"} {
			if v := in(f); v != "" {
				args = append(args, "--"+f+"="+v)
			}
		}
		if all && !fleetVerb(verb) && !slices.Contains([]string{"audit", "receipts", "rebase", "land", "comment", "rollback"}, verb) { // receipts are of one shop, some of all anyway, and some of none
			args = append(args, "--all")
		}
	}
	if verb == "audit" {
		args = append(args, "--deep") // it has the time, and nobody looks whether crons and schemas were left out
		if issue {
			args = append(args, "--issue")
		}
	}
	if dry && (verb == "rebase" || verb == "land" || verb == "rollback") {
		args = append(args, "--dry-run")
	}
	if land && verb == "rebase" {
		args = append(args, "--land")
	}
	if name := form.report; name != "" && verb == "audit" {
		if !belowWorkspace(name) {
			return nil, Usage(fmt.Errorf("input report is %q", name), "a name of letters, digits and . _ / -, below the workspace; .html and .sarif are put behind it")
		}
		args = append(args, "--html="+name+".html", "--sarif="+name+".sarif")
	}
	if verb == "deploy" || verb == "plan" {
		for flag, set := range map[string]bool{"--redeploy": redeploy, "--overwrite-outside": overwrite, "--allow-destructive": destructive, "--no-journal": noJournal, "--secrets-file=-": secrets} {
			if set {
				args = append(args, flag)
			}
		}
	}
	if digest := in("plan-digest"); digest != "" && verb == "deploy" {
		args = append(args, "--plan="+digest)
	}
	words := strings.Fields(in("shop"))
	switch verb {
	case "comment":
		words = nil // a comment names its shop
	case "rollback", "hold", "release-hold":
		more, last, err := orderWords(verb, words, all, to, commit, why)
		if err != nil {
			return nil, err
		}
		args, words = append(args, more...), last
	}
	if fleetVerb(verb) {
		more, last, err := fleetArgs(verb, form, words, all, dry, secrets, to)
		if err != nil {
			return nil, err
		}
		args, words = append(args, more...), last
	}
	slices.Sort(args[1:])
	if verb == "secrets" {
		args = slices.Insert(args, 1, "status") // what writes them is for a person at a terminal, or in the shop's branch
	}
	return append(append(args, "--"), words...), nil
}

// orderWords are the flags and the words of a verb that people also say in comments, as strict as there: what somebody types
// into a form is a shop, a release or a commit, or it is nothing.
func orderWords(verb string, shops []string, all bool, to, commit, why string) (flags, words []string, err error) {
	bad := func(name, value, hint string) error { return Usage(fmt.Errorf("input %s is %q", name, value), hint) }
	switch {
	case len(shops) > 1:
		return nil, nil, bad("shop", strings.Join(shops, " "), verb+" is about one shop")
	case len(shops) == 1 && fleet.CheckSlug(shops[0]) != nil:
		return nil, nil, bad("shop", shops[0], "a slug is lower-case letters, digits and hyphens")
	case to != "" && (verb != "rollback" || !anyWord.MatchString(to) || strings.HasPrefix(to, "-")):
		return nil, nil, bad("to", to, "with command: rollback, a release, a version or a commit of the shop's journal")
	case commit != "" && (verb != "rollback" || !shaWord.MatchString(commit)):
		return nil, nil, bad("commit", commit, "with command: rollback, seven or more hexadecimal digits of a commit's id")
	case commit != "" && (len(shops) > 0 || to != ""):
		return nil, nil, bad("commit", commit, "it is about every shop that got the commit: leave out shop and to")
	case len(shops) == 0 && commit == "" && (verb == "rollback" || !all):
		return nil, nil, bad("shop", "", "name the shop")
	case len(shops) > 0 && verb != "rollback" && all:
		return nil, nil, bad("all", "true", "leave out shop")
	}
	words = shops
	why = plainReason(why)
	switch verb {
	case "rollback":
		if to != "" {
			words = append(words, "to", to)
		}
		if commit != "" {
			flags = append(flags, "--commit="+commit)
		}
		if why != "" {
			flags = append(flags, "--reason="+why)
		}
	case "hold":
		if len(shops) > 0 {
			flags = append(flags, "--shop="+shops[0])
		}
		words = strings.Fields(why)
	}
	return flags, words, nil
}

// farewell bounds what is told after the run was cancelled.
const farewell = 30 * time.Second

// publish tells GitHub how the step went: outputs, annotations, a summary, and a check run for what the runner would drop.
func (d *Door) publish(ctx context.Context, err error) error {
	w := d.workflow
	code := exitCode(err)
	if list := findings(err); list != nil {
		w.loose = append(w.loose, list...)
	}
	var printed *resultError
	if err != nil && !errors.As(err, &printed) && findings(err) == nil {
		status := shopResult{Status: statusFailed, Reason: reason(statusFailed, err), Error: report.Clean(oneLine(err.Error())), Hint: hintOf(err), err: err}
		w.results = append(w.results, status)
	}
	list := annotations(w.results)
	list = append(list, annotationsOf(w.loose)...)
	problem := errors.Join(w.runner.Annotate(list...), d.setOutputs(code), d.summarize())
	if over := w.runner.Left(); len(over) > 0 && !w.stranger() {
		// The log has them all, so a check run that cannot be written changes nothing about how it went.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		if err := d.putOver(ctx, over, code); err != nil {
			d.explain(fmt.Errorf("writing the findings that are over the step's limits: %w", err))
		}
	}
	if problem != nil {
		d.explain(fmt.Errorf("telling GitHub how it went: %w", problem))
		code = max(code, ExitFailed)
	}
	if code == ExitDone {
		return nil
	}
	return &resultError{code: code}
}

// annotations are the findings and errors of results, each once: shops that share a file share its mistakes.
func annotations(list []shopResult) []github.Annotation {
	var out []github.Annotation
	for _, r := range list {
		for _, a := range annotationsOf(r.found()) {
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
		if r.Error != "" {
			text := r.public() + "; the step's log says more"
			if r.Hint != "" {
				text += "\nhint: " + r.Hint
			}
			out = append(out, github.Annotation{Level: github.LevelFailure, Title: r.Reason, Message: text})
		}
		if r.Status == statusSuperseded {
			out = append(out, github.Annotation{Level: github.LevelNotice, Title: r.Status, Message: r.Shop + ": the branch is at " + r.By + " by now; nothing was written"})
		}
	}
	return out
}

func annotationsOf(list []deploy.Finding) []github.Annotation {
	out := make([]github.Annotation, 0, len(list))
	for _, f := range list {
		a := github.Annotation{Path: f.File, StartLine: f.Line, EndLine: f.Line, Title: f.Rule, Message: report.Words(f), Level: github.LevelNotice}
		switch f.Level {
		case deploy.LevelError:
			a.Level = github.LevelFailure
		case deploy.LevelWarning:
			a.Level = github.LevelWarning
		}
		if f.Line > 0 && f.Column > 0 {
			a.StartColumn = report.Column(f)
		}
		out = append(out, a)
	}
	return out
}

// setOutputs sets every output that action.yml names. Those about one shop stay empty when there were several.
func (d *Door) setOutputs(code int) error {
	w := d.workflow
	status := statusUnchanged
	grave := shopResult{}
	changed := false
	for _, r := range w.results {
		if grave.Status == "" || r.gravity() > grave.gravity() {
			grave = r
		}
		changed = changed || r.Outcome != nil && r.Outcome.Changed
	}
	if grave.Status != "" {
		status = grave.Status
	}
	if code != ExitDone && grave.exit() == ExitDone {
		status, grave.Reason = statusFindings, statusFindings // findings that belong to no shop
	}
	values := map[string]string{
		"status": status, "reason-code": grave.Reason, "exit-code": strconv.Itoa(code), "changed": strconv.FormatBool(changed),
		"shop": "", "version-id": "", "previous-version-id": "", "deployment-url": "", "bookmark": "", "migrations-applied": "[]", "plan-digest": "",
	}
	if values["reason-code"] == "" {
		values["reason-code"] = status
	}
	if len(w.results) == 1 {
		r := w.results[0]
		values["shop"], values["plan-digest"] = r.Shop, r.Digest
		if o := r.Outcome; o != nil {
			values["version-id"], values["previous-version-id"], values["deployment-url"], values["bookmark"] = o.VersionID, o.PreviousVersionID, o.URL, o.Bookmark
			files := o.Migrations
			if files == nil {
				files = []string{}
			}
			list, err := json.Marshal(files)
			if err != nil {
				return fmt.Errorf("encoding the migrations: %w", err)
			}
			values["migrations-applied"] = string(list)
		}
	}
	var problem error
	for _, name := range sortedKeys(values) {
		problem = errors.Join(problem, w.runner.SetOutput(name, values[name]))
	}
	return problem
}

// summarize writes the step's summary: what needs a person first.
func (d *Door) summarize() error {
	w := d.workflow
	list := slices.Clone(w.results)
	sort.SliceStable(list, func(i, j int) bool { return urgency(list[i]) < urgency(list[j]) })
	var sections []string
	if w.page != "" {
		sections = append(sections, w.page)
	}
	if len(w.loose) > 0 {
		sections = append(sections, "### ❌ findings\n\n"+report.MarkdownFindings(w.loose)+"\n")
	}
	for _, r := range list {
		title := icon(r) + " " + report.Code(r.Shop) + ": " + r.Status
		if r.Shop == "" {
			title = icon(r) + " " + r.Status
		}
		sections = append(sections, "### "+title+"\n\n"+resultPage(r)+"\n")
	}
	return w.runner.WriteSummary(sections, "The rest is in the step's log.\n")
}

// icon is a result's state at a glance.
func icon(r shopResult) string {
	switch {
	case r.exit() != ExitDone:
		return "❌"
	case needsPerson(r):
		return "⚠️"
	}
	return "✅"
}

// resultPage is a result under its heading.
func resultPage(r shopResult) string {
	var b strings.Builder
	done := r.Outcome != nil && (r.err == nil || r.Outcome.Changed)
	if r.Error != "" {
		fmt.Fprintf(&b, "- **%s**: %s; the step's log says more\n", r.Reason, report.Code(r.public()))
		if r.Hint != "" {
			fmt.Fprintf(&b, "  - hint: %s\n", report.Code(r.Hint))
		}
	}
	// A deploy that was refused; a plan has no outcome.
	if !done && (r.Error != "" || r.Outcome != nil) && r.Plan != nil && r.Plan.Changes() {
		b.WriteString("\nNone of this was done:\n\n")
	}
	switch {
	case r.Rollback != nil:
		b.WriteString(report.MarkdownRollback(r.Rollback, r.Outcome))
	case done:
		b.WriteString(report.MarkdownOutcome(r.Plan, r.Outcome))
	case r.Status == statusSuperseded:
		fmt.Fprintf(&b, "- the branch is at %s by now; that commit's own run deploys it, and this one wrote nothing\n", report.Code(r.By))
	case r.Plan != nil:
		b.WriteString(report.MarkdownPlan(r.Plan))
	case r.Status == statusChecked && len(r.Findings) == 0:
		b.WriteString("- nothing was found\n")
	}
	if r.Journal != "" {
		fmt.Fprintf(&b, "- journal: %s\n", report.Code(r.Journal))
	}
	if r.Hold != "" {
		fmt.Fprintf(&b, "- 🔒 held: %s\n", report.Code(r.Hold))
		if r.Rollback != nil {
			fmt.Fprintf(&b, "  - Nothing deploys the shop until somebody says %s.\n", report.Code("/release-hold "+r.Shop))
		}
	}
	for _, what := range r.NotRecorded {
		fmt.Fprintf(&b, "- ⚠️ not recorded: %s\n", report.Code(what))
	}
	if r.Rollback == nil || len(r.Findings) > 0 { // the page of a rollback has its own
		b.WriteString(report.MarkdownFindings(r.found()))
	}
	return b.String()
}

// putOver shows in a check run what the runner would not show beside the step.
func (d *Door) putOver(ctx context.Context, over []github.Annotation, code int) error {
	w := d.workflow
	head := w.context.SHA
	if w.pull != nil {
		head = w.pull.Head.SHA
	}
	c, err := d.justRepository(ctx)
	if err != nil {
		return err
	}
	client, err := d.github(ctx, c, toPlan())
	if err != nil || client == nil {
		return err
	}
	run := github.CheckRun{
		Name: "shopfleet findings", HeadSHA: head, ExternalID: fmt.Sprintf("findings %d", w.context.RunID), DetailsURL: d.runURL(),
		Conclusion: "neutral", Title: counted(len(over), "finding") + " more than a step may show", Summary: "GitHub shows ten errors and ten warnings of a step. These are the others.\n",
		Annotations: over, Completed: d.Now(),
	}
	if code != ExitDone {
		run.Conclusion = "failure"
	}
	_, err = client.PutCheckRun(ctx, run)
	return err
}

// runURL is where the log of this run is; "" outside of a workflow.
func (d *Door) runURL() string {
	if d.workflow == nil {
		return ""
	}
	return d.workflow.context.RunURL
}
