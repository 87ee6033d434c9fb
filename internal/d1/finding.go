package d1

// Finding is something wrong in the user's world (not an error of ours). The packages that find things declare the same
// struct, so that their findings convert.
type Finding struct {
	Rule     string // kebab-case name, documented in docs/findings.md, stable
	Level    string // "error", "warning" or "notice"
	File     string // as the user knows it, slash separated; "" when there is none
	Line     int    // 1-based; 0 unknown
	Column   int    // 1-based, in bytes; 0 unknown
	Message  string // what is wrong
	Expected string // what was expected; may be ""
	Hint     string // what to type or do next; may be ""
	Source   string // the source line, without newline; may be ""
}

const (
	levelError   = "error"   // nothing is applied while it stands
	levelWarning = "warning" // shown; the work goes on
	levelNotice  = "notice"  // shown; nothing is expected of anybody
)
