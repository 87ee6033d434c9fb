package sim

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxCrons is how many cron triggers an account may have (field.md §5).
const maxCrons = 250

func (s *script) schedulesView() map[string]any {
	list := []map[string]any{}
	for _, x := range s.Schedules {
		list = append(list, map[string]any{"cron": x.Cron, "created_on": stamp(x.Created), "modified_on": stamp(x.Modified)})
	}
	return map[string]any{"schedules": list}
}

func (c *call) getSchedules() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	return s.schedulesView(), nil
}

// putSchedules replaces the cron triggers of a Worker.
func (c *call) putSchedules() (any, error) {
	s, err := c.script()
	if err != nil {
		return nil, err
	}
	var in []struct {
		Cron string `json:"cron"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	total := len(in)
	for _, other := range c.account.Scripts {
		if other != s {
			total += len(other.Schedules)
		}
	}
	if total > maxCrons {
		return nil, refuse(http.StatusBadRequest, 10072, "You have exceeded the limit of %d Cron Triggers on your account.", maxCrons)
	}
	now := c.w.now()
	var list []schedule
	for _, x := range in {
		if err := checkCron(x.Cron); err != nil {
			return nil, refuse(http.StatusBadRequest, 10100, "invalid cron string: %s: %v", x.Cron, err)
		}
		if slices.ContainsFunc(list, func(o schedule) bool { return o.Cron == x.Cron }) {
			return nil, refuse(http.StatusBadRequest, 10100, "duplicate cron string: %s", x.Cron)
		}
		made := schedule{Cron: x.Cron, Created: now, Modified: now}
		if i := slices.IndexFunc(s.Schedules, func(o schedule) bool { return o.Cron == x.Cron }); i >= 0 {
			made.Created = s.Schedules[i].Created
		}
		list = append(list, made)
	}
	s.Schedules = list
	c.w.touchScript(c.account, s)
	c.w.released()
	return s.schedulesView(), nil
}

// cronField is one of the five fields of an expression.
type cronField struct {
	name     string
	min, max int
	names    string // three letters each, from min
	special  string // suffixes that Quartz adds: L last, W weekday, # nth
}

// cronFields are Cloudflare's: days of the week count from 1 = Sunday, unlike other crons.
var cronFields = []cronField{
	{name: "minute", min: 0, max: 59},
	{name: "hour", min: 0, max: 23},
	{name: "day of month", min: 1, max: 31, special: "LW"},
	{name: "month", min: 1, max: 12, names: "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"},
	{name: "day of week", min: 1, max: 7, names: "SUNMONTUEWEDTHUFRISAT", special: "L#"},
}

// checkCron tells what is wrong with a cron expression.
func checkCron(text string) error {
	fields := strings.Fields(text)
	if len(fields) != len(cronFields) {
		return fmt.Errorf("%d fields, expected %d", len(fields), len(cronFields))
	}
	for i, f := range cronFields {
		for part := range strings.SplitSeq(fields[i], ",") {
			if err := f.check(part); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
	}
	return nil
}

func (f cronField) check(part string) error {
	value, step, stepped := strings.Cut(part, "/")
	if stepped {
		if n, err := strconv.Atoi(step); err != nil || n < 1 || n > f.max {
			return fmt.Errorf("%q is not a step", step)
		}
	}
	if value == "*" {
		return nil
	}
	upper := strings.ToUpper(value)
	switch {
	case strings.Contains(f.special, "L") && upper == "L", strings.Contains(f.special, "W") && upper == "LW":
		return nil
	case strings.Contains(f.special, "W") && strings.HasSuffix(upper, "W"):
		upper = strings.TrimSuffix(upper, "W")
	case strings.Contains(f.special, "#") && strings.Contains(upper, "#"):
		day, nth, _ := strings.Cut(upper, "#")
		if n, err := strconv.Atoi(nth); err != nil || n < 1 || n > 5 {
			return fmt.Errorf("%q is not one of 1 to 5", nth)
		}
		upper = day
	case f.names != "" && strings.Contains(f.special, "L") && strings.HasSuffix(upper, "L"):
		upper = strings.TrimSuffix(upper, "L")
	}
	from, to, ranged := strings.Cut(upper, "-")
	a, err := f.number(from)
	if err != nil || !ranged {
		return err
	}
	b, err := f.number(to)
	if err == nil && b < a {
		err = fmt.Errorf("%q goes backwards", value)
	}
	return err
}

func (f cronField) number(text string) (int, error) {
	if len(text) == 3 {
		for i := 0; i < len(f.names); i += 3 {
			if f.names[i:i+3] == text {
				return f.min + i/3, nil
			}
		}
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < f.min || n > f.max {
		return 0, fmt.Errorf("%q is not one of %d to %d", text, f.min, f.max)
	}
	return n, nil
}

// FireCron delivers a scheduled event to a Worker as its cron trigger would, and waits until the handler has returned.
// The expression must be one of the Worker's schedules.
func (w *World) FireCron(ctx context.Context, account, script, cron string) error {
	for _, s := range w.served().Scripts {
		if s.Account != account || s.Name != script {
			continue
		}
		if !slices.Contains(s.Crons, cron) {
			return fmt.Errorf("firing %q: Worker %s has no such cron trigger", cron, script)
		}
		if err := w.edge.cron(ctx, s, cron, w.now()); err != nil {
			return fmt.Errorf("firing %q on Worker %s: %w", cron, script, err)
		}
		return nil
	}
	return fmt.Errorf("firing %q: account %s has no deployed Worker %s", cron, account, script)
}
