package github

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	sdk "github.com/google/go-github/v62/github"
)

// CheckRun is a check on a commit.
type CheckRun struct {
	Name        string
	HeadSHA     string
	ExternalID  string // names what was checked, so that a repetition updates the run; "" means always a new one
	DetailsURL  string
	Conclusion  string // success, failure, neutral, cancelled, skipped, timed_out, action_required; "" means in progress
	Title       string
	Summary     string // Markdown; cut at 65,535 bytes with a pointer to DetailsURL
	Text        string // Markdown, the same
	Annotations []Annotation
	Started     time.Time
	Completed   time.Time     // zero means now, when there is a conclusion
	Actions     []CheckAction // buttons, at most three; nil leaves those that the run has, an empty list takes them off
}

// CheckAction is a button on a check run. Pressed, it comes back to the App that made the run, as an event check_run with the
// action requested_action and the identifier.
type CheckAction struct {
	Label       string // at most 20 characters, as the identifier
	Description string // at most 40
	Identifier  string // names the button among those of the run
}

// checkActions holds buttons against GitHub's limits, wire.md §1.6: one that is too long makes it refuse the whole run.
func checkActions(list []CheckAction) error {
	if len(list) > maxActions {
		return fmt.Errorf("%w: a check run has at most %d buttons, not %d", ErrArgument, maxActions, len(list))
	}
	seen := map[string]bool{}
	for _, a := range list {
		for _, field := range []struct {
			name, text string
			most       int
		}{{"label", a.Label, maxButton}, {"description", a.Description, maxActionText}, {"identifier", a.Identifier, maxButton}} {
			if n := utf8.RuneCountInString(field.text); n == 0 || n > field.most || clean(field.text) != field.text || strings.TrimSpace(field.text) == "" || !utf8.ValidString(field.text) {
				return fmt.Errorf("%w: the %s of a button is one line of 1 to %d characters, not %q", ErrArgument, field.name, field.most, clean(field.text))
			}
		}
		if seen[a.Identifier] {
			return fmt.Errorf("%w: two buttons are called %q", ErrArgument, a.Identifier)
		}
		seen[a.Identifier] = true
	}
	return nil
}

func (r CheckRun) actions() []*sdk.CheckRunAction {
	list := []*sdk.CheckRunAction{}
	for _, a := range r.Actions {
		list = append(list, &sdk.CheckRunAction{Label: a.Label, Description: a.Description, Identifier: a.Identifier})
	}
	return list
}

// Levels of annotations, by the names that check runs use.
const (
	LevelNotice  = "notice"
	LevelWarning = "warning"
	LevelFailure = "failure" // "error" in the log of a runner
)

// Annotation is a remark on lines of a file.
type Annotation struct {
	Path                   string // from the top of the repository; "" means about none
	StartLine, EndLine     int    // from 1; an EndLine of 0 means StartLine
	StartColumn, EndColumn int    // in characters, from 1; they mean something on a single line only
	Level                  string
	Title, Message, Raw    string
}

const (
	maxOutput     = 65535    // wire.md §1.6, of summary and of text
	perRequest    = 50       // annotations, wire.md §1.6
	maxAnnotated  = 64 << 10 // bytes of an annotation's message and raw details
	maxRunPages   = 10
	aboutNoFile   = ".github" // what the runner names for an annotation without a file
	maxCheckTitle = 255
	maxActions    = 3
	maxButton     = 20
	maxActionText = 40
)

// PutCheckRun writes a check run. With an ExternalID it first looks (one request) for the run of the same commit, name and
// id, and updates that; annotations that are on it already are not added again, and those cannot be taken off. One request
// for each fifty annotations, at least one; the conclusion travels with the first.
func (c *Client) PutCheckRun(ctx context.Context, run CheckRun) (url string, err error) {
	creating := call{method: http.MethodPost, path: c.repoPath("/check-runs")}
	if run.Name == "" || !shaRule.MatchString(run.HeadSHA) {
		return "", &Error{Method: creating.method, Path: creating.path, Err: fmt.Errorf("%w: a check run needs a name and a commit's full id", ErrArgument)}
	}
	if err := checkActions(run.Actions); err != nil {
		return "", &Error{Method: creating.method, Path: creating.path, Err: err}
	}
	c.once.Do(c.setUp)
	if run.Conclusion != "" && run.Completed.IsZero() {
		run.Completed = c.wire.now()
	}
	run.Title = c.hidden(run.Title)
	left := make([]*sdk.CheckRunAnnotation, len(run.Annotations))
	for i, a := range run.Annotations {
		a.Path, a.Title, a.Message, a.Raw = c.hidden(a.Path), c.hidden(a.Title), c.hidden(a.Message), c.hidden(a.Raw)
		left[i] = a.wire()
	}
	pointer := "; the rest is in the run's log"
	if run.DetailsURL != "" {
		pointer = "; the rest is [here](" + strings.NewReplacer("(", "%28", ")", "%29", " ", "%20", "\n", "").Replace(run.DetailsURL) + ")"
	}
	run.Summary = cutLines(c.hidden(validText(run.Summary)), maxOutput, pointer)
	run.Text = cutLines(c.hidden(validText(run.Text)), maxOutput, pointer)

	var there *sdk.CheckRun
	if run.ExternalID != "" {
		if there, err = c.findCheckRun(ctx, run); err != nil {
			return "", err
		}
	}
	if there == nil {
		first := left[:min(len(left), perRequest)]
		err = c.lookFirst(ctx, func() error {
			return c.do(ctx, creating, func(ctx context.Context, api *sdk.Client) (err error) {
				there, _, err = api.Checks.CreateCheckRun(ctx, c.Owner, c.Repo, run.create(first))
				if err == nil && there.GetID() == 0 {
					err = fmt.Errorf("the check run has no id")
				}
				return err
			})
		}, func() (bool, error) {
			if run.ExternalID == "" {
				return false, fmt.Errorf("a check run without an external id cannot be told from others")
			}
			there, err = c.findCheckRun(ctx, run)
			return there != nil, err
		})
		if err != nil {
			return "", missing(err, "the commit %s", run.HeadSHA)
		}
		// A run that was found after a lost answer was made by the request that holds first.
		if left = left[len(first):]; len(left) == 0 {
			return there.GetHTMLURL(), nil
		}
	} else if there.GetOutput().GetAnnotationsCount() > 0 && len(left) > 0 {
		if left, err = c.notYetOn(ctx, there.GetID(), left); err != nil {
			return "", err
		}
	}
	return there.GetHTMLURL(), c.appendTo(ctx, there.GetID(), run, left)
}

// appendTo updates a run, in as many requests as its annotations take. Each adds to what is there (wire.md §1.6), so a lost
// answer is followed by a look at the annotations.
func (c *Client) appendTo(ctx context.Context, id int64, run CheckRun, left []*sdk.CheckRunAnnotation) error {
	cl := call{method: http.MethodPatch, path: c.repoPath("/check-runs/%d", id)}
	for once := true; once || len(left) > 0; once = false {
		batch := left[:min(len(left), perRequest)]
		rest := left[len(batch):]
		cl.repeat = len(batch) == 0
		err := c.lookFirst(ctx, func() error {
			return c.do(ctx, cl, func(ctx context.Context, api *sdk.Client) error {
				if run.Actions == nil {
					_, _, err := api.Checks.UpdateCheckRun(ctx, c.Owner, c.Repo, id, run.update(batch))
					return err
				}
				// go-github leaves an empty list out, and that is what takes buttons off.
				req, err := api.NewRequest(http.MethodPatch, strings.TrimPrefix(cl.path, "/"), struct {
					sdk.UpdateCheckRunOptions
					Actions []*sdk.CheckRunAction `json:"actions"`
				}{run.update(batch), run.actions()})
				if err != nil {
					return err
				}
				_, err = api.Do(ctx, req, nil)
				return err
			})
		}, func() (bool, error) {
			lacking, err := c.notYetOn(ctx, id, batch)
			batch = lacking
			return err == nil && len(lacking) == 0, err
		})
		if err != nil {
			return err
		}
		left = rest
	}
	return nil
}

// findCheckRun looks for our run with the same commit, name and external id; nil when there is none.
func (c *Client) findCheckRun(ctx context.Context, run CheckRun) (*sdk.CheckRun, error) {
	cl := call{method: http.MethodGet, path: c.repoPath("/commits/%s/check-runs", run.HeadSHA)}
	options := &sdk.ListCheckRunsOptions{CheckName: &run.Name, Filter: sdk.String("all"), ListOptions: sdk.ListOptions{Page: 1, PerPage: pageSize}}
	if c.App != nil {
		if id, err := strconv.ParseInt(c.App.ID, 10, 64); err == nil {
			options.AppID = &id
		}
	}
	for options.Page != 0 {
		if options.Page > maxRunPages {
			return nil, &Error{Method: cl.method, Path: cl.path, Err: ErrPaging}
		}
		var found []*sdk.CheckRun
		err := c.do(ctx, cl, func(ctx context.Context, api *sdk.Client) error {
			list, resp, err := api.Checks.ListCheckRunsForRef(ctx, c.Owner, c.Repo, run.HeadSHA, options)
			if err != nil {
				return err
			}
			if list != nil {
				for _, r := range list.CheckRuns {
					if r.GetExternalID() == run.ExternalID && r.GetName() == run.Name && r.GetHeadSHA() == run.HeadSHA && r.GetID() != 0 {
						found = append(found, r)
					}
				}
			}
			if resp.NextPage != 0 && resp.NextPage <= options.Page {
				return ErrPaging
			}
			options.Page = resp.NextPage
			return nil
		})
		if err != nil {
			return nil, missing(err, "the commit %s", run.HeadSHA)
		}
		if found == nil {
			continue
		}
		// Any App may use our names, and its runs cannot be updated; nor may they pass for ours.
		login, err := c.whoami(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range found {
			if r.GetApp().GetSlug()+"[bot]" == login {
				return r, nil
			}
		}
	}
	return nil, nil
}

// notYetOn are the annotations of a list that a run does not have.
func (c *Client) notYetOn(ctx context.Context, id int64, list []*sdk.CheckRunAnnotation) ([]*sdk.CheckRunAnnotation, error) {
	cl := call{method: http.MethodGet, path: c.repoPath("/check-runs/%d/annotations", id)}
	has := map[string]int{}
	for page := 1; page != 0; {
		if page > maxCommentPages {
			return nil, &Error{Method: cl.method, Path: cl.path, Err: ErrPaging}
		}
		err := c.do(ctx, cl, func(ctx context.Context, api *sdk.Client) error {
			found, resp, err := api.Checks.ListCheckRunAnnotations(ctx, c.Owner, c.Repo, id, &sdk.ListOptions{Page: page, PerPage: pageSize})
			if err != nil {
				return err
			}
			for _, a := range found {
				has[identity(a)]++
			}
			if resp.NextPage != 0 && resp.NextPage <= page {
				return ErrPaging
			}
			page = resp.NextPage
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	var left []*sdk.CheckRunAnnotation
	for _, a := range list {
		if key := identity(a); has[key] > 0 {
			has[key]--
		} else {
			left = append(left, a)
		}
	}
	return left, nil
}

func identity(a *sdk.CheckRunAnnotation) string {
	return fmt.Sprintf("%q %d %d %q %q %q", a.GetPath(), a.GetStartLine(), a.GetEndLine(), a.GetAnnotationLevel(), a.GetTitle(), a.GetMessage())
}

// wire is an annotation as the API takes it; one wrong annotation would make it refuse all.
func (a Annotation) wire() *sdk.CheckRunAnnotation {
	a = a.proper()
	out := &sdk.CheckRunAnnotation{
		Path: sdk.String(orDefault(a.Path, aboutNoFile)), StartLine: sdk.Int(max(a.StartLine, 1)), EndLine: sdk.Int(max(a.EndLine, 1)),
		AnnotationLevel: &a.Level, Message: sdk.String(orDefault(boundary(a.Message, maxAnnotated), orDefault(a.Title, "-"))),
	}
	if a.StartColumn > 0 {
		out.StartColumn, out.EndColumn = sdk.Int(a.StartColumn), sdk.Int(max(a.EndColumn, a.StartColumn))
	}
	if a.Title != "" {
		out.Title = sdk.String(cut(a.Title, maxCheckTitle))
	}
	if a.Raw != "" {
		out.RawDetails = sdk.String(boundary(a.Raw, maxAnnotated))
	}
	return out
}

// proper is an annotation with clean text and a place that makes sense.
func (a Annotation) proper() Annotation {
	a.Path, a.Title = clean(validText(a.Path)), clean(validText(a.Title))
	a.Message, a.Raw = cleanLines(validText(a.Message)), cleanLines(validText(a.Raw))
	if a.Level != LevelWarning && a.Level != LevelFailure {
		a.Level = LevelNotice
	}
	a.StartLine = max(a.StartLine, 0)
	a.EndLine = max(a.EndLine, a.StartLine)
	if a.StartLine == 0 || a.StartLine != a.EndLine || a.StartColumn <= 0 {
		a.StartColumn, a.EndColumn = 0, 0
	}
	return a
}

func (r CheckRun) status() *string {
	if r.Conclusion == "" {
		return sdk.String("in_progress")
	}
	return sdk.String("completed")
}

func (r CheckRun) output(batch []*sdk.CheckRunAnnotation) *sdk.CheckRunOutput {
	out := &sdk.CheckRunOutput{Title: sdk.String(cut(orDefault(clean(validText(r.Title)), r.Name), maxCheckTitle)), Summary: &r.Summary, Annotations: batch}
	if r.Text != "" {
		out.Text = &r.Text
	}
	return out
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func moment(t time.Time) *sdk.Timestamp {
	if t.IsZero() {
		return nil
	}
	return &sdk.Timestamp{Time: t.UTC()}
}

func (r CheckRun) create(batch []*sdk.CheckRunAnnotation) sdk.CreateCheckRunOptions {
	return sdk.CreateCheckRunOptions{
		Name: r.Name, HeadSHA: r.HeadSHA, DetailsURL: optional(r.DetailsURL), ExternalID: optional(r.ExternalID), Status: r.status(),
		Conclusion: optional(r.Conclusion), StartedAt: moment(r.Started), CompletedAt: moment(r.Completed), Output: r.output(batch),
		Actions: r.actions(),
	}
}

func (r CheckRun) update(batch []*sdk.CheckRunAnnotation) sdk.UpdateCheckRunOptions {
	return sdk.UpdateCheckRunOptions{
		Name: r.Name, DetailsURL: optional(r.DetailsURL), ExternalID: optional(r.ExternalID), Status: r.status(),
		Conclusion: optional(r.Conclusion), CompletedAt: moment(r.Completed), Output: r.output(batch),
	}
}
