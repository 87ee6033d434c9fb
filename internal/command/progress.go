package command

import (
	"fmt"
	"sync"
	"time"

	"github.com/kvick/shopfleet/internal/report"
)

// progress tells a person what is under way, on standard error: on a terminal
// one line that is redrawn, elsewhere one plain line for each change, so that a
// log can be read afterwards. Its methods are safe for concurrent use.
type progress struct {
	door  *Door
	style report.Style
	total int
	start time.Time

	mu       sync.Mutex
	finished int
	running  map[string]string // shop → what it is doing
	drawn    bool
}

func (d *Door) newProgress(total int) *progress {
	return &progress{door: d, style: d.style(), total: total, start: d.Now(), running: map[string]string{}}
}

// stage says what a shop is doing now.
func (p *progress) stage(shop, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running[shop] = text
	if p.door.Terminal {
		p.draw()
		return
	}
	fmt.Fprintf(p.door.Stderr, "%s: %s\n", report.Clean(shop), report.Clean(text))
}

// done says that a shop is through.
func (p *progress) done(r shopResult) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.running, r.Shop)
	p.finished++
	if p.door.Terminal {
		p.draw()
		return
	}
	fmt.Fprintf(p.door.Stderr, "%s: %s\n", report.Clean(r.Shop), r.Status)
}

// finish clears the line so that results begin on an empty one.
func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		fmt.Fprint(p.door.Stderr, "\r\x1b[K")
	}
}

// draw redraws the line: how many are through, and what the first few that are
// not are doing. It is called with mu held.
func (p *progress) draw() {
	line := fmt.Sprintf("%d/%d", p.finished, p.total)
	shown := 0
	for _, shop := range sortedKeys(p.running) {
		if shown == 2 {
			line += fmt.Sprintf("  … and %d more", len(p.running)-shown)
			break
		}
		line += "  " + shop + " " + p.style.Dim(report.Clean(p.running[shop]))
		shown++
	}
	elapsed := p.door.Now().Sub(p.start).Round(time.Second)
	fmt.Fprintf(p.door.Stderr, "\r\x1b[K%s  %s", elapsed, line)
	p.drawn = true
}
