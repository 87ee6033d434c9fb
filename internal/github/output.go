package github

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

const (
	maxOutputBytes = 512 << 10 // wire.md §2f: 1 MB for all outputs of a job, as UTF-16
	maxSummary     = 1<<20 - 1 // wire.md §2f: at 1 MiB a step's summary is dropped
)

var outputRule = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,99}$`)

// SetOutput sets an output of the step. Whatever the value holds, it sets this one output: its delimiter is random.
func (r *Runner) SetOutput(name, value string) error {
	r.state.mu.Lock()
	defer r.state.mu.Unlock()
	if !outputRule.MatchString(name) {
		return fmt.Errorf("setting an output: %q is not a name for one", clean(name))
	}
	value = r.hide(validText(value))
	if len(value) > maxOutputBytes {
		return fmt.Errorf("setting the output %s: it is larger than %d KiB", name, maxOutputBytes>>10)
	}
	random := make([]byte, 16)
	rand.Read(random) // never fails: it ends the process instead
	delimiter := "shopfleet_" + hex.EncodeToString(random)
	if strings.Contains(value, delimiter) {
		return fmt.Errorf("setting the output %s: it holds its own delimiter", name)
	}
	// wire.md §2g: NAME<<DELIM, the value, DELIM, each on lines of their own.
	if err := r.appendTo("GITHUB_OUTPUT", func(int64) string {
		return name + "<<" + delimiter + "\n" + value + "\n" + delimiter + "\n"
	}); err != nil {
		return fmt.Errorf("setting the output %s: %w", name, err)
	}
	return nil
}

// WriteSummary adds sections to the step's summary, which is Markdown. Those that fit are whole; when one does not, it and
// those behind it are left out, and pointer says where they are.
func (r *Runner) WriteSummary(sections []string, pointer string) error {
	r.state.mu.Lock()
	defer r.state.mu.Unlock()
	section := func(s string) string { return strings.TrimRight(r.hide(validText(s)), "\n") + "\n\n" }
	err := r.appendTo("GITHUB_STEP_SUMMARY", func(size int64) string {
		room := maxSummary - int(min(size, maxSummary)) - 1
		ending := ""
		if pointer != "" {
			ending = section(pointer)
		}
		var b strings.Builder
		for i, s := range sections {
			s = section(s)
			reserve := 0
			if i < len(sections)-1 {
				reserve = len(ending)
			}
			if b.Len()+len(s)+reserve > room {
				if b.Len()+len(ending) <= room {
					b.WriteString(ending)
				}
				break
			}
			b.WriteString(s)
		}
		return b.String()
	})
	if err != nil {
		return fmt.Errorf("writing the summary: %w", err)
	}
	return nil
}

// appendTo adds to a file that the runner made and named in the environment, in one write.
func (r *Runner) appendTo(variable string, text func(size int64) string) (err error) {
	name := r.getenv(variable)
	if name == "" {
		return fmt.Errorf("%s is not set", variable)
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s does not name a file", variable)
	}
	add := text(info.Size())
	if size := info.Size(); size > 0 && add != "" {
		// What an earlier step of the process left unended would swallow our first line.
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, size-1); err != nil && err != io.EOF {
			return err
		}
		if last[0] != '\n' {
			add = "\n" + add
		}
	}
	_, err = io.WriteString(f, add)
	return err
}
