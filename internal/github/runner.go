package github

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/sethvargo/go-githubactions"
)

// Runner is the step of GitHub Actions that the process runs in, if it does. Its methods are safe for concurrent use.
//
// Workflow commands are made by github.com/sethvargo/go-githubactions, which escapes as the runner's own toolkit does; what
// goes into them is cleaned first. Files are written here: that package's delimiter is fixed, so that a value could end
// itself and set other outputs, and it panics when it cannot write (wire.md §5).
type Runner struct {
	getenv func(string) string
	stdout io.Writer
	action *githubactions.Action
	state  *runnerState
}

// Format prints no more than what it is, under every verb: the secrets that were masked are inside.
func (Runner) Format(f fmt.State, _ rune) { io.WriteString(f, "github.Runner") }

type runnerState struct {
	mu       sync.Mutex
	commands bytes.Buffer    // what action writes; it panics when its writer fails, and this never does
	hidden   func() []Secret // in a func, where no fmt verb looks when this is printed as a part of something else
	shown    map[string]int
	left     []Annotation
	line     lineState
}

// perLevel is how many annotations of a level GitHub keeps of one step (wire.md §2f).
const perLevel = 10

// NewRunner reads what it needs through getenv, when it is asked for it, and writes workflow commands to stdout.
func NewRunner(getenv func(string) string, stdout io.Writer) *Runner {
	r := &Runner{getenv: getenv, stdout: stdout, state: &runnerState{hidden: func() []Secret { return nil }, shown: map[string]int{}, line: lineState{start: true}}}
	r.action = githubactions.New(githubactions.WithGetenv(getenv), githubactions.WithWriter(&r.state.commands))
	return r
}

// Active says whether this is a step of GitHub Actions. Outside of one nothing is written to stdout.
func (r *Runner) Active() bool { return r.getenv("GITHUB_ACTIONS") == "true" }

// Input is an input of the action, without white space around it; "" when there is none.
func (r *Runner) Input(name string) string { return r.action.GetInput(name) }

// issue writes the commands that say makes.
func (r *Runner) issue(say func(*githubactions.Action)) error {
	if !r.Active() {
		return nil
	}
	say(r.action)
	text := r.state.commands.Bytes()
	if r.state.line.begun { // a command counts at the beginning of a line only
		text = append([]byte("\n"), text...)
	}
	r.state.line = lineState{start: true}
	_, err := r.stdout.Write(text)
	r.state.commands.Reset()
	if err != nil {
		return fmt.Errorf("writing a workflow command: %w", err)
	}
	return nil
}

// minMask is the shortest text that is masked: shorter ones are all over a log, which would become unreadable and tell more.
const minMask = 4

// Mask has the runner replace a secret by *** in all logs from here on, each line of it by itself and the whole of it, and
// has this Runner do so in outputs, summaries and annotations. The command is the only place that a secret is written to.
// A secret too short to be masked is an error that says so, and is not masked.
func (r *Runner) Mask(s Secret) error {
	r.state.mu.Lock()
	defer r.state.mu.Unlock()
	whole := strings.TrimSpace(string(s))
	if whole == "" {
		return nil
	}
	if len(whole) < minMask {
		return fmt.Errorf("a secret is not masked in the log: it is shorter than %d characters", minMask)
	}
	parts := []string{string(s), whole}
	for _, line := range strings.FieldsFunc(whole, func(r rune) bool { return r == '\n' || r == '\r' }) {
		parts = append(parts, line, strings.TrimSpace(line))
	}
	known := r.state.hidden()
	had := len(known)
	for _, part := range parts {
		if len(strings.TrimSpace(part)) >= minMask && !slices.Contains(known, Secret(part)) {
			known = append(known, Secret(part))
		}
	}
	r.state.hidden = func() []Secret { return known }
	if len(known) == had {
		return nil
	}
	return r.issue(func(a *githubactions.Action) {
		for _, s := range known[had:] {
			a.AddMask(string(s))
		}
	})
}

// Hide is a text without what was masked so far, for where the runner does not look: see Client.Hide.
func (r *Runner) Hide(text string) string {
	r.state.mu.Lock()
	defer r.state.mu.Unlock()
	return r.hide(text)
}

// hide replaces what was masked.
func (r *Runner) hide(text string) string { return redact(text, r.state.hidden()...) }

// Group begins a part of the log that can be folded.
func (r *Runner) Group(title string) error {
	r.state.mu.Lock()
	defer r.state.mu.Unlock()
	return r.issue(func(a *githubactions.Action) { a.Group(clean(r.hide(validText(title)))) })
}

// EndGroup ends the part that began last.
func (r *Runner) EndGroup() error {
	r.state.mu.Lock()
	defer r.state.mu.Unlock()
	return r.issue((*githubactions.Action).EndGroup)
}

// Annotate writes annotations to the log, which GitHub shows at the lines of the files: ten of each level for a step. Left
// tells the others, which are in the log too.
func (r *Runner) Annotate(list ...Annotation) error {
	r.state.mu.Lock()
	defer r.state.mu.Unlock()
	return r.issue(func(action *githubactions.Action) {
		for _, a := range list {
			a = a.proper()
			a.Title, a.Message, a.Raw, a.Path = r.hide(a.Title), r.hide(a.Message), r.hide(a.Raw), r.hide(a.Path)
			if r.state.shown[a.Level]++; r.state.shown[a.Level] > perLevel {
				r.state.left = append(r.state.left, a)
			}
			command := &githubactions.Command{Name: a.Level, Message: a.Message, Properties: a.properties()}
			if a.Level == LevelFailure {
				command.Name = "error"
			}
			action.IssueCommand(command)
		}
	})
}

func (a Annotation) properties() githubactions.CommandProperties {
	p := githubactions.CommandProperties{}
	if a.Title != "" {
		p["title"] = a.Title
	}
	if a.Path != "" {
		p["file"] = a.Path
	}
	if a.StartLine > 0 {
		p["line"] = strconv.Itoa(a.StartLine)
	}
	if a.EndLine > a.StartLine {
		p["endLine"] = strconv.Itoa(a.EndLine)
	}
	if a.StartColumn > 0 {
		p["col"] = strconv.Itoa(a.StartColumn)
	}
	if a.EndColumn > a.StartColumn {
		p["endColumn"] = strconv.Itoa(a.EndColumn)
	}
	return p
}

// Left are the annotations that GitHub does not show of those so far: the place for them is a check run.
func (r *Runner) Left() []Annotation {
	r.state.mu.Lock()
	defer r.state.mu.Unlock()
	return append([]Annotation(nil), r.state.left...)
}

// Log is the log for text that others had a hand in, such as a commit's message: no line of it can be a workflow command.
// The runner takes :: at the beginning of a line for one, and ##[ anywhere in a line; a space is put inside. Outside of
// Actions it is stdout.
func (r *Runner) Log() io.Writer {
	if !r.Active() {
		return r.stdout
	}
	return runnerLog{r}
}

type runnerLog struct{ *Runner }

func (l runnerLog) Write(p []byte) (int, error) {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	if _, err := l.stdout.Write(l.state.line.inert(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// lineState is what was seen of a line of the log.
type lineState struct {
	begun  bool // it has a character
	start  bool // nothing but white space
	colon  bool // and then one colon
	hashes int  // the last so many characters
}

func (s *lineState) inert(p []byte) []byte {
	out := make([]byte, 0, len(p)+8)
	for _, b := range p {
		if s.colon && b == ':' || s.hashes >= 2 && b == '[' {
			out = append(out, ' ')
		}
		out = append(out, b)
		if s.hashes++; b != '#' {
			s.hashes = 0
		}
		s.colon = s.start && b == ':'
		s.begun = b != '\n'
		switch {
		case b == '\n', b == '\r':
			s.start = true
		case b > ' ' && b < 0x7f: // the runner trims Unicode's spaces too: whatever is not ASCII may be one
			s.start = false
		}
	}
	return out
}
