package fleet

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// checkName is what a check run may be called: printable, so that a list of what is missing reads as it was written.
var checkName = regexp.MustCompile(`^[!-~]([ -~]{0,98}[!-~])?$`)

// PlanCheck is the check run that the plan of a pull request into a shop's branch ends in.
const PlanCheck = "shopfleet plan: " + slugMark

// ChecksOf are the names of the check runs that a shop's branch waits for before it lands.
func (r Rebase) ChecksOf(slug string) []string {
	names := make([]string, len(r.Checks))
	for i, name := range r.Checks {
		names[i] = strings.ReplaceAll(name, slugMark, slug)
	}
	return names
}

// rebase checks rebase: and fills in those of its defaults for which an empty value in the file means something.
func (c *checker) rebase() {
	r := &c.policy.Rebase
	c.choice([]string{"rebase", "style"}, r.Style, StyleRebase, StyleMerging)
	c.choice([]string{"rebase", "land"}, r.Land, LandManual, LandGreen, LandSilent)
	c.choice([]string{"rebase", "replay"}, r.Replay, ReplayOffer, ReplayApply)

	c.names([]string{"rebase", "checks"}, r.Checks, checkName, problem{ruleBadName,
		"%s is no name of a check run", "1 to 100 printable characters, without blanks at the ends", ""})
	if _, ok := c.entry("rebase", "checks"); !ok {
		r.Checks = []string{PlanCheck}
	}

	waves := []string{"rebase", "waves"}
	// A canary need not be listed under shops:, nor need its branch be there yet; who reads branches tells.
	c.items(under(waves, "canaries"), r.Waves.Canaries, func(at mark, slug string) {
		for _, bad := range slugProblems(slug) {
			c.report(at, bad)
		}
	})
	c.percent(under(waves, "percent"))
	c.between(under(waves, "stop_at"), r.Waves.StopAt, 1, maxShops, "number of failures")
	at, ok := c.entry(under(waves, "bake")...)
	switch {
	case !ok:
		r.Waves.Bake = time.Hour
	case r.Waves.Bake > maxBake:
		c.report(at.value, problem{ruleDuration, "a bake time of " + short(r.Waves.Bake) + " is out of range",
			"0s to " + short(maxBake), "the next week's main is coming"})
	}
}

// percent checks that each wave is larger than the one before it and leaves something for the last one.
func (c *checker) percent(path []string) {
	r := &c.policy.Rebase
	if _, ok := c.entry(path...); !ok {
		r.Waves.Percent = []int{10, 50}
		return
	}
	before := 0
	for i, percent := range r.Waves.Percent {
		item := under(path, fmt.Sprint(i))
		at, ok := c.entry(item...)
		if !ok {
			continue
		}
		c.between(item, percent, 1, 99, "share of the fleet in percent")
		if percent <= before && percent >= 1 {
			c.report(at.value, problem{ruleOutOfRange, fmt.Sprintf("%d %% of the fleet after %d %%", percent, before),
				"more than before: each number is how much has landed after its wave", "sort the list"})
		}
		before = max(before, percent)
	}
}
