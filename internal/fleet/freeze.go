package fleet

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Freeze is a time in which shops are not deployed.
type Freeze struct {
	Name string `yaml:"-"` // the key it stands under
	// When it begins: date, time and offset, such as 2026-12-18T18:00:00+01:00. Goes with until.
	From time.Time `yaml:"from,omitempty"`
	// When it ends, in the same form.
	Until time.Time `yaml:"until,omitempty"`
	// Instead of from and until, a time of every week in UTC, such as fri 16:00 - mon 06:00.
	Weekly string `yaml:"weekly,omitempty"`
	// Why, for people who meet it.
	Reason string `yaml:"reason"`
	// Slugs of the shops that it is about. Default: all.
	Shops []string `yaml:"shops,omitempty"`
	// Slugs of shops that it is not about. Default: none.
	Except []string `yaml:"except,omitempty"`
}

// Commands says who may give orders on GitHub.
type Commands struct {
	// Slug of a team of the repository's owner: members alone give orders, and need write access besides. Default: no team.
	Team string `yaml:"team,omitempty"`
	// What single commands ask for, by their name without the slash, such as rollback.
	Verbs map[string]CommandRule `yaml:"verbs,omitempty"`
}

// CommandRule is what an order asks of who gives it.
type CommandRule struct {
	// The least permission in the repository: write or admin. Default: write.
	Permission string `yaml:"permission,omitempty"`
	// Slug of a team of the repository's owner, instead of the one for all commands. Default: that one.
	Team string `yaml:"team,omitempty"`
	// Logins of people who need not be in the team. Where no team is named, of the only ones who may.
	Users []string `yaml:"users,omitempty"`
}

// The values of CommandRule.Permission.
const (
	PermissionWrite = "write"
	PermissionAdmin = "admin"
)

// Rule is what a command asks of who gives it.
func (c Commands) Rule(verb string) CommandRule {
	rule := c.Verbs[verb]
	if rule.Permission == "" {
		rule.Permission = PermissionWrite
	}
	if rule.Team == "" {
		rule.Team = c.Team
	}
	return rule
}

// Frozen is a freeze that a shop is in at a time, the first by name that is; ok is false when there is none.
func (p *Policy) Frozen(slug string, now time.Time) (f Freeze, ok bool) {
	for _, f := range p.Freezes {
		if f.about(slug) && f.covers(now) {
			return f, true
		}
	}
	return Freeze{}, false
}

func (f Freeze) about(slug string) bool {
	return (len(f.Shops) == 0 || slices.Contains(f.Shops, slug)) && !slices.Contains(f.Except, slug)
}

func (f Freeze) covers(now time.Time) bool {
	if f.Weekly == "" {
		return !now.Before(f.From) && now.Before(f.Until)
	}
	from, until, ok := weekly(f.Weekly)
	if !ok {
		return false // Parse does not let it pass
	}
	at := minuteOfWeek(now)
	if from <= until {
		return from <= at && at < until
	}
	return at >= from || at < until
}

// Ends is when a freeze that covers now is over.
func (f Freeze) Ends(now time.Time) time.Time {
	if f.Weekly == "" {
		return f.Until
	}
	_, until, _ := weekly(f.Weekly)
	left := until - minuteOfWeek(now)
	if left <= 0 {
		left += week
	}
	return now.UTC().Truncate(time.Minute).Add(time.Duration(left) * time.Minute)
}

// Next is the time that the freeze is on now or will be next; ok is false when it is over for good.
func (f Freeze) Next(now time.Time) (from, until time.Time, ok bool) {
	if f.Weekly == "" {
		return f.From, f.Until, now.Before(f.Until)
	}
	begin, end, ok := weekly(f.Weekly)
	if !ok {
		return from, until, false // Parse does not let it pass
	}
	until = f.Ends(now)
	lasts := (end - begin + week) % week
	return until.Add(-time.Duration(lasts) * time.Minute), until, true
}

// orders are the commands that people give on GitHub. A rule for one that is misspelt would protect nothing.
var orders = []string{"audit", "cost", "deploy", "help", "hold", "land", "move", "offboard", "onboard", "pause", "plan", "rebase", "release-hold", "restore", "resume", "rollback", "secrets", "skip", "status"}

const week = 7 * 24 * 60 // minutes

// minuteOfWeek counts from Monday 00:00 UTC.
func minuteOfWeek(t time.Time) int {
	t = t.UTC()
	return (int(t.Weekday())+6)%7*24*60 + t.Hour()*60 + t.Minute()
}

var (
	days        = []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}
	weeklyShape = regexp.MustCompile(`^(mon|tue|wed|thu|fri|sat|sun) ([01][0-9]|2[0-3]):([0-5][0-9]) - (mon|tue|wed|thu|fri|sat|sun) ([01][0-9]|2[0-3]):([0-5][0-9])$`)
	// What RFC 3339 asks for, with seconds and an offset.
	momentShape = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})$`)
	freezeName  = accountName
	teamSlug    = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,99}$`)
	login       = regexp.MustCompile(`^[A-Za-z0-9](-?[A-Za-z0-9]){0,38}$`)
)

// weekly reads a time of every week, as minutes from Monday 00:00.
func weekly(s string) (from, until int, ok bool) {
	m := weeklyShape.FindStringSubmatch(s)
	if m == nil {
		return 0, 0, false
	}
	minute := func(day, hour, minute string) int {
		var h, n int
		_, _ = fmt.Sscanf(hour+" "+minute, "%d %d", &h, &n) // the expression has made sure that they are numbers
		return slices.Index(days, day)*24*60 + h*60 + n
	}
	from, until = minute(m[1], m[2], m[3]), minute(m[4], m[5], m[6])
	return from, until, from != until
}

// freezes checks freezes:.
func (c *checker) freezes() {
	for _, f := range c.policy.Freezes {
		path := []string{"freezes", f.Name}
		at, ok := c.entry(path...)
		if !ok {
			continue
		}
		if !freezeName.MatchString(f.Name) {
			c.report(at.key, problem{ruleBadName, quote(f.Name) + " is no name for a freeze", "lower-case letters, digits and hyphens", ""})
		}
		_, from := c.entry(under(path, "from")...)
		_, until := c.entry(under(path, "until")...)
		when, every := c.entry(under(path, "weekly")...)
		switch {
		case every && (from || until):
			c.report(when.key, problem{ruleFreeze, "the freeze has weekly, and from or until", "one of the two", "make two freezes of it"})
		case every:
			if _, _, ok := weekly(f.Weekly); !ok {
				c.report(when.value, problem{ruleFreeze, quote(f.Weekly) + " is no time of the week", `two different times in UTC, such as fri 16:00 - mon 06:00`, "days are mon, tue, wed, thu, fri, sat and sun"})
			}
		case !from || !until:
			c.report(at.key, problem{ruleFreeze, "the freeze " + quote(f.Name) + " does not say when it is", "from and until, or weekly", ""})
		case !f.Until.After(f.From):
			c.report(at.key, problem{ruleFreeze, "the freeze " + quote(f.Name) + " ends before it begins", "an until after from", ""})
		}
		if at, ok := c.entry(under(path, "reason")...); ok && strings.TrimSpace(f.Reason) == "" {
			c.report(at.value, problem{ruleEmpty, "the freeze gives no reason", "a few words for people who meet it", ""})
		}
		for key, list := range map[string][]string{"shops": f.Shops, "except": f.Except} {
			c.items(under(path, key), list, func(at mark, slug string) {
				for _, bad := range slugProblems(slug) {
					c.report(at, bad)
				}
			})
		}
	}
}

// commands checks commands:.
func (c *checker) commands() {
	p := c.policy.Commands
	team := problem{ruleBadName, "%s is no team's slug", "lower-case letters, digits, - and _, as in the team's address", ""}
	c.match([]string{"commands", "team"}, p.Team, teamSlug, team)
	for _, verb := range slices.Sorted(maps.Keys(p.Verbs)) {
		path, rule := []string{"commands", "verbs", verb}, p.Verbs[verb]
		if at, ok := c.entry(path...); ok && !slices.Contains(orders, verb) {
			hint := ""
			if near := nearest(verb, orders); near != "" {
				hint = "did you mean " + near + "?"
			}
			c.report(at.key, problem{ruleChoice, quote(verb) + " is no command", "one of " + strings.Join(orders, ", "), hint})
		}
		c.choice(under(path, "permission"), rule.Permission, PermissionWrite, PermissionAdmin)
		c.match(under(path, "team"), rule.Team, teamSlug, team)
		c.names(under(path, "users"), rule.Users, login, problem{ruleBadName, "%s is no login", "a name as GitHub has it, without @", ""})
	}
}
