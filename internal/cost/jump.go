package cost

import (
	"fmt"
	"math"
	"time"
)

// How rows read for each request are compared around a release. The hours after it are held against the same hours of the
// days before, because a till at noon and one at night are not the same; and against the worst of those days, because one
// with a monthly report in it is no news.
const (
	jumpHours    = 23  // at most so many whole hours after the release count
	jumpDays     = 7   // so many days before it
	jumpRequests = 200 // fewer requests than this say nothing
	jumpFactor   = 2   // a jump is at least twice the worst of the days before …
	jumpRows     = 10  // … and at least so many rows more for each request
	// JumpAge is how old a release may be to be looked at. It is more than a week, so that a weekly report misses none.
	JumpAge = 8 * 24 * time.Hour
)

// Jump compares the rows that a database read for each request of its Worker, before and after a release.
type Jump struct {
	Release Release `json:"release"`
	// Before is the worst of the days before the release, After what it is since; rows for each request.
	Before float64 `json:"before"`
	After  float64 `json:"after"`
	// Hours after the release were counted, with so many Requests, and held against Days earlier days.
	Hours    int   `json:"hours"`
	Requests int64 `json:"requests"`
	Days     int   `json:"days"`
	// Jumped says that it is more than chance and the time of day explain.
	Jumped bool `json:"jumped"`
	// Rows is how many more that are in a month, and Monthly what they cost where nothing is included any more.
	Rows    float64 `json:"rows_a_month"`
	Monthly USD     `json:"monthly"`
}

// compare looks at the hours around a release; nil with the reason when there are too few of them.
func compare(hours map[time.Time]Hour, release Release, now time.Time, reading Price) (*Jump, string) {
	begun := release.At.UTC().Truncate(time.Hour)
	start := begun.Add(time.Hour) // the hour of the release has both in it
	length := int(min(now.UTC().Truncate(time.Hour).Sub(start), jumpHours*time.Hour) / time.Hour)
	if length < 1 {
		return nil, "no whole hour has passed since the release"
	}
	sum := func(from time.Time) (h Hour) {
		for i := range length {
			x := hours[from.Add(time.Duration(i)*time.Hour)]
			h.Requests, h.RowsRead = h.Requests+x.Requests, h.RowsRead+x.RowsRead
		}
		return h
	}
	after := sum(start)
	if after.Requests < jumpRequests {
		return nil, fmt.Sprintf("the Worker had %.0f requests since the release; %d are needed", after.Requests, jumpRequests)
	}
	j := &Jump{Release: release, After: after.RowsRead / after.Requests, Hours: length, Requests: int64(after.Requests)}
	for d := 1; d <= jumpDays; d++ {
		h := sum(start.Add(-time.Duration(d) * 24 * time.Hour))
		if h.Requests < jumpRequests {
			continue
		}
		j.Days++
		j.Before = math.Max(j.Before, h.RowsRead/h.Requests)
	}
	if j.Days == 0 {
		return nil, fmt.Sprintf("no day of the %d before the release had %d requests in those hours", jumpDays, jumpRequests)
	}
	more := j.After - j.Before
	j.Jumped = j.After >= jumpFactor*j.Before && more >= jumpRows
	if more > 0 {
		j.Rows = math.Round(more * after.Requests / float64(length) * 24 * monthDays)
		j.Monthly = reading.List(j.Rows)
	}
	return j, ""
}
