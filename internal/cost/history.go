package cost

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Entry is what is kept of a report for later ones: analytics reach back 31 days, and no further. A file of entries has one
// for each day, a line of JSON each, oldest first.
type Entry struct {
	At     time.Time    `json:"at"`
	Days   float64      `json:"days"`
	Prices string       `json:"prices"` // date of the newest price
	Shops  []EntryShop  `json:"shops"`
	Unread []string     `json:"unread,omitempty"` // accounts
	Plans  USD          `json:"plans"`
	Others USD          `json:"others"`
	Format int          `json:"shopfleet_cost"`
	Totals map[Line]USD `json:"totals"`
}

// EntryShop is a shop's month.
type EntryShop struct {
	Slug  string            `json:"slug"`
	Total USD               `json:"total"`
	Lines map[Line]USD      `json:"lines"`
	Month map[Meter]float64 `json:"month"`
}

const historyFormat = 1

// MaxHistory is how large a file of entries may be, in bytes.
const MaxHistory = 64 << 20

// ReadHistory reads a file of entries. Empty lines are passed over; anything else that is no entry is an error with its line,
// because what would be left out would be lost at the next writing.
func ReadHistory(text []byte) ([]Entry, error) {
	if len(text) > MaxHistory {
		return nil, fmt.Errorf("the history has more than %d MB", MaxHistory>>20)
	}
	var out []Entry
	for i, line := range bytes.Split(text, []byte("\n")) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("line %d is no entry of a history: %w", i+1, err)
		}
		if e.Format != historyFormat || e.At.IsZero() {
			return nil, fmt.Errorf("line %d is no entry of a history of costs", i+1)
		}
		if n := len(out); n > 0 && !out[n-1].At.Before(e.At) {
			return nil, fmt.Errorf("line %d is not newer than the one before it", i+1)
		}
		out = append(out, e)
	}
	return out, nil
}

// Remember puts the report at the end of a history; one of the same day (UTC) takes the place of the day's earlier one, so
// that a run that is repeated changes nothing. A report about a few shops is not remembered.
func Remember(history []Entry, r *Report) ([]Entry, error) {
	if len(r.Only) > 0 {
		return nil, fmt.Errorf("a history is of the whole fleet")
	}
	e := Entry{At: r.At.UTC().Truncate(time.Second), Days: r.Days, Unread: r.Unread(), Format: historyFormat, Totals: map[Line]USD{}, Shops: []EntryShop{}}
	for _, p := range r.Prices {
		e.Prices = max(e.Prices, p.Date)
	}
	for _, a := range r.Accounts {
		e.Plans, e.Others = e.Plans+a.Plan, e.Others+a.Others
	}
	for _, s := range r.Shops {
		x := EntryShop{Slug: s.Slug, Total: s.Total, Lines: map[Line]USD{}, Month: map[Meter]float64{}}
		for _, l := range s.Lines {
			if l.Cost != 0 {
				x.Lines[l.Line] = l.Cost
				e.Totals[l.Line] += l.Cost
			}
		}
		for _, m := range s.Meters {
			x.Month[m.Meter] = m.Month
		}
		e.Totals[LineTotal] += s.Total
		e.Shops = append(e.Shops, x)
	}
	if n := len(history); n > 0 {
		switch last := history[n-1]; {
		case day(last.At).Equal(day(e.At)):
			history = history[:n-1]
		case !last.At.Before(e.At):
			return nil, fmt.Errorf("the newest entry of the history is of %s, which is not over yet", last.At.Format(time.DateOnly))
		}
	}
	return append(history[:len(history):len(history)], e), nil
}

// WriteHistory is the file of the entries.
func WriteHistory(list []Entry) ([]byte, error) {
	var b strings.Builder
	for _, e := range list {
		line, err := json.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("writing a history: %w", err)
		}
		b.Write(append(line, '\n'))
	}
	return []byte(b.String()), nil
}
