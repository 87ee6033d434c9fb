package command

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/kvick/shopfleet/internal/fleet"
)

// fleetEvents are what may start the verbs that make, move, keep and end shops. A form is filled in by somebody who may push;
// a schedule is main's own.
var fleetEvents = map[string]struct {
	may  []string
	file string
}{
	"onboard":  {[]string{"workflow_dispatch"}, "onboard.yml"},
	"offboard": {[]string{"workflow_dispatch"}, "offboard.yml"},
	"move":     {[]string{"workflow_dispatch"}, "move.yml"},
	"backup":   {[]string{"schedule", "workflow_dispatch"}, "backup.yml"},
	"drill":    {[]string{"schedule", "workflow_dispatch"}, "drill.yml"},
}

// The verbs of the fleet that only look. They are about the shops that are named, or all: whose branch a run is of is nothing
// to them.
var fleetLooks = []string{"status", "cost", "accounts", "secrets"}

// fleetVerb says that a verb takes the inputs of fleetInputs.
func fleetVerb(verb string) bool {
	_, ok := fleetEvents[verb]
	return ok || slices.Contains(fleetLooks, verb)
}

// fleetInputs are the inputs of the verbs that make, move, keep and end shops, as somebody typed them into a form.
type fleetInputs struct {
	name, account, region, seed string
	keep, days, step, report    string
	history                     string
	confirm                     string
	customDomain                bool
}

var (
	accountWord = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	// A place for backups: a name of fleet.yml, or a folder of the workspace.
	storeWord  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$`)
	countWord  = regexp.MustCompile(`^[1-9][0-9]{0,3}$`)
	regionWord = []string{"wnam", "enam", "weur", "eeur", "apac", "oc"}
)

// maxShopName bounds a display name, in bytes.
const maxShopName = 100

// The steps that offboard and move have beside the first.
var leaveSteps = map[string][]string{"offboard": {"delete", "cancel"}, "move": {"confirm", "back"}}

// fleetArgs are the arguments of one of those verbs, beside what all have. Whatever a form holds is a slug, a name, a number
// or a path below the workspace, or it is refused: none of it becomes an option of its own. An input that the verb does not
// have is refused too, since who fills it in expects something of it.
func fleetArgs(verb string, in fleetInputs, shops []string, all, dry, secrets bool, to string) (flags, words []string, err error) {
	bad := func(name, value, hint string) ([]string, []string, error) {
		return nil, nil, Usage(fmt.Errorf("input %s is %q", name, value), hint)
	}
	for _, slug := range shops {
		if fleet.CheckSlug(slug) != nil {
			return bad("shop", slug, "a slug is lower-case letters, digits and hyphens")
		}
	}
	one := slices.Contains([]string{"onboard", "offboard", "move"}, verb)
	given := map[string]string{
		"name": in.name, "account": in.account, "region": in.region, "seed": in.seed, "keep": in.keep, "days": in.days, "step": in.step, "report": in.report, "to": to, "confirm": in.confirm,
		"history": in.history,
	}
	for name, set := range map[string]bool{"custom-domain": in.customDomain, "all": all, "dry-run": dry} {
		if set {
			given[name] = "true"
		}
	}
	has := map[string][]string{
		"onboard": {"name", "account", "region", "seed", "custom-domain", "dry-run"}, "offboard": {"to", "step", "confirm"}, "move": {"account", "step", "confirm"},
		"backup": {"to", "keep", "all"}, "drill": {"account"}, "status": {"report", "all"}, "cost": {"report", "days", "history", "all"}, "accounts": {"all"}, "secrets": {"all"},
	}[verb]
	for _, name := range sortedKeys(given) {
		if given[name] != "" && !slices.Contains(has, name) {
			return bad(name, given[name], "command: "+verb+" does not have it; leave it out")
		}
	}
	switch {
	case one && len(shops) != 1:
		return bad("shop", strings.Join(shops, " "), verb+" is about one shop")
	case len(shops) > 0 && slices.Contains([]string{"drill", "accounts"}, verb):
		return bad("shop", strings.Join(shops, " "), verb+" is about no shop of the fleet")
	case verb == "backup" && all == (len(shops) > 0):
		return bad("shop", strings.Join(shops, " "), "name the shops, or say all: true")
	case in.name != "" && (plainReason(in.name) != in.name || len(in.name) > maxShopName):
		return bad("name", in.name, fmt.Sprintf("one line of at most %d bytes, as people read it", maxShopName))
	case in.account != "" && !accountWord.MatchString(in.account):
		return bad("account", in.account, "a name from accounts: of the fleet policy")
	case in.region != "" && !slices.Contains(regionWord, in.region):
		return bad("region", in.region, "one of "+strings.Join(regionWord, ", "))
	case in.seed != "" && !belowWorkspace(in.seed):
		return bad("seed", in.seed, "a file of the repository: a name of letters, digits and . _ / -")
	case to != "" && (!storeWord.MatchString(to) || !fs.ValidPath(to)):
		return bad("to", to, "a name from backups: of the fleet policy")
	case in.report != "" && !belowWorkspace(in.report):
		return bad("report", in.report, "a name of letters, digits and . _ / -, below the workspace; .html is put behind it")
	case in.history != "" && !belowWorkspace(in.history):
		return bad("history", in.history, "a name of letters, digits and . _ / -, below the workspace")
	case in.step != "" && !slices.Contains(leaveSteps[verb], in.step):
		return bad("step", in.step, "leave it out to begin, or say "+strings.Join(leaveSteps[verb], " or "))
	case (in.step == "delete" || in.step == "confirm") != (in.confirm != "") || in.confirm != "" && in.confirm != shops[0]:
		return bad("confirm", in.confirm, "what cannot be undone is confirmed by the shop's slug, and nothing else is")
	case in.keep != "" && !countWord.MatchString(in.keep):
		return bad("keep", in.keep, "how many backups of each shop stay, from 1")
	case in.days != "" && !countWord.MatchString(in.days):
		return bad("days", in.days, "a number of days, from 1")
	case verb == "backup" && to == "":
		return bad("to", "", "a name from backups: of the fleet policy")
	case verb == "move" && (in.account == "") == (in.step == ""):
		return bad("account", in.account, "where the shop goes to; leave it out with step")
	case verb == "offboard" && to != "" && in.step != "":
		return bad("to", to, "the export is made when the offboarding begins")
	}
	flag := func(name, value string) {
		if value != "" {
			flags = append(flags, "--"+name+"="+value)
		}
	}
	for name, set := range map[string]bool{
		"custom-domain": in.customDomain, "all": all && verb == "backup", "plan": dry, // the others are about all shops anyway
		"secrets-file=-": secrets && verb == "onboard",
		in.step:          in.step != "",
	} {
		if set {
			flags = append(flags, "--"+name)
		}
	}
	if verb == "move" {
		to, in.account = in.account, ""
	}
	for name, value := range map[string]string{"name": in.name, "account": in.account, "region": in.region, "seed": in.seed, "keep": in.keep, "days": in.days, "history": in.history, "to": to} {
		flag(name, value)
	}
	if in.report != "" {
		flag("html", in.report+".html")
	}
	return flags, shops, nil
}

// belowWorkspace says that a path leads to somewhere below the workspace and means nothing to a shell.
func belowWorkspace(name string) bool { return plainName.MatchString(name) && fs.ValidPath(name) }

// confirmed says that somebody typed the shop's slug into the form that started the run, as they have to at a terminal.
func (w *workflow) confirmed(slug string) bool {
	return w != nil && w.typed != "" && w.typed == slug
}
