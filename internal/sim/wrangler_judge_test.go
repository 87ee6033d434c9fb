package sim_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/sim"
)

// The judge is the real wrangler, unmodified, against a world whose every request and answer is held against the
// OpenAPI description. Each trial repeats the command of a recording: it must end with exit code 0, make the calls that
// it made when it was recorded, and leave the world as the command promises; the world is asked over its own API.
//
//	wrangler_judge_test.go          what is tried, and that nothing is left out
//	wrangler_judge_court_test.go    running wrangler in a world
//	wrangler_judge_calls_test.go    comparing calls
//	wrangler_judge_*_test.go        the trials, by what they are about

// trial is one run of wrangler.
type trial struct {
	// recording names the recording; its command is run unless args says how it is written here: quoted, or with ids that
	// this world made up ("$name" is taken from the court's notes).
	recording string
	args      []string
	stdin     string
	// terminal gives wrangler a terminal as standard output.
	terminal bool
	// env is added to the environment; "NAME=" takes a variable away.
	env []string
	// before prepares the world. Its calls are not among those compared.
	before func(c *court)
	// check looks at the world afterwards, and at what was printed.
	check func(c *court, out string)
	// run is for a command that does not end by itself.
	run func(c *court, args []string) string
}

// session is a world and the trials that happen in it, one after the other.
type session struct {
	name    string
	options sim.Options
	open    func(c *court)
	trials  []trial
}

func sessions() []session {
	return slices.Concat(deploySessions(), triggerSessions(), bindingSessions(), versionSessions(), storageSessions(), oddSessions())
}

// untried are recordings that cannot be repeated in a world, with the reason.
var untried = map[string]string{
	"missing-versions-post-id": "wrangler goes on to release a version without an id, which the OpenAPI description forbids and an account refuses; only a server that takes anything lets it end with 0",
}

func TestWrangler(t *testing.T) {
	tool := findWrangler(t)
	seats := make(chan struct{}, 2) // a start of wrangler costs a second of processor and 300 MB
	for _, s := range sessions() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			c := openCourt(t, tool, s)
			for _, tr := range s.trials {
				t.Run(tr.recording, func(t *testing.T) {
					seats <- struct{}{}
					defer func() { <-seats }()
					c.try(t, tr)
				})
			}
		})
	}
}

// Every command that ended well when it was recorded is tried, or there is a reason.
func TestWranglerTrialsAreComplete(t *testing.T) {
	tried := map[string]bool{}
	for _, s := range sessions() {
		for _, tr := range s.trials {
			if tried[tr.recording] {
				t.Errorf("%s is tried twice", tr.recording)
			}
			tried[tr.recording] = true
		}
	}
	index, err := os.ReadFile(filepath.Join(recordings, "INDEX.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| (\S+)\.json \| 0 \|`).FindAllStringSubmatch(string(index), -1)
	if len(rows) < 100 {
		t.Fatalf("found %d commands in the index", len(rows))
	}
	for _, row := range rows {
		if name := row[1]; tried[name] == (untried[name] != "") {
			t.Errorf("%s: tried %v, reason against it %q", name, tried[name], untried[name])
		}
	}
}

// loadCommand reads a recording and the words of its command, without the name of the program.
func loadCommand(t *testing.T, name string) (*recording, []string) {
	t.Helper()
	file := filepath.Join(recordings, name+".json")
	rec := load(t, file)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var head struct{ Command string }
	if err := json.Unmarshal(b, &head); err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(head.Command, "wrangler ")
	return rec, strings.Fields(text)
}
