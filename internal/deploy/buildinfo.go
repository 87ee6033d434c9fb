package deploy

import (
	"encoding/json"
	"time"
)

// BuildInfo is what a release says of itself at its build_info.json. It is
// made anew at every deploy, travels with the release and is never committed.
type BuildInfo struct {
	Shop   string `json:"shop"`
	Branch string `json:"branch"`
	// Commit is the shop's commit, MainCommit the newest commit of main below it.
	Commit     string `json:"commit"`
	MainCommit string `json:"main_commit"`
	// Content is the mark of the release: equal content, equal mark, whatever the commit.
	Content string    `json:"content"`
	BuiltAt time.Time `json:"built_at"` // UTC, whole seconds
	// Run tells which run of which automation made the release; empty on a laptop.
	Run *Run `json:"run,omitempty"`
	// Actor is who asked for the deploy, as GitHub or the laptop's git names them.
	Actor string `json:"actor,omitempty"`
	// Tool is the version of shopfleet.
	Tool string `json:"tool"`
}

// Run is one run of a workflow.
type Run struct {
	ID  string `json:"id"`
	URL string `json:"url"`
}

// Bytes is the file as it is uploaded: indented JSON with a final newline.
func (b BuildInfo) Bytes() []byte {
	b.BuiltAt = b.BuiltAt.UTC().Truncate(time.Second)
	out, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		// Strings and a time of this era; Marshal has no way to fail on them.
		panic("deploy: encoding build_info.json: " + err.Error())
	}
	return append(out, '\n')
}
