package wrangler

import (
	"encoding/json"
	"fmt"
	"sort"
)

// Replacement is another text for one string of a configuration. Path is where it stands: strings are keys, ints indexes.
type Replacement struct {
	Path []any
	Text string
}

// Replace is the configuration's text with other strings in some places and everything else, comments and layout included,
// byte for byte as it was. Each place has to hold a string already, and may be named once.
func (p *Project) Replace(list ...Replacement) ([]byte, error) {
	type cut struct {
		from, to int
		text     []byte
	}
	var cuts []cut
	for _, r := range list {
		v := p.root.at(r.Path...)
		if v == nil || v.kind != kindString || v.offset < 0 {
			return nil, fmt.Errorf("editing %s: there is no string at %v", p.File, r.Path)
		}
		end := v.offset + 1
		for p.src.text[end] != '"' {
			if p.src.text[end] == '\\' {
				end++
			}
			end++
		}
		text, err := json.Marshal(r.Text)
		if err != nil {
			return nil, fmt.Errorf("editing %s: %w", p.File, err)
		}
		cuts = append(cuts, cut{v.offset, end + 1, text})
	}
	sort.Slice(cuts, func(i, j int) bool { return cuts[i].from < cuts[j].from })
	var out []byte
	if p.src.bom {
		out = append(out, "\ufeff"...)
	}
	at := 0
	for _, c := range cuts {
		if c.from < at {
			return nil, fmt.Errorf("editing %s: one place is named twice", p.File)
		}
		out = append(append(out, p.src.text[at:c.from]...), c.text...)
		at = c.to
	}
	return append(out, p.src.text[at:]...), nil
}
