package command

// What an order is, and the grammar of comments: what people may say on GitHub, and which words of the command line that is.

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/github"
)

// Order is a command that a person gave on GitHub: in a comment, or by a button of a check run.
type Order struct {
	Verb string
	Args []string // of the tree of commands, the verb first
	// Shop is whom it is about, named or by the pull request; "" for orders about the fleet.
	Shop string
	// Issue is the issue or pull request that it was given on, Comment the comment's id (0 for buttons) and URL its address.
	Issue   int
	Comment int64
	URL     string
	// Head is the head commit of the pull request when it was heard; "" on an issue, and for a fork's pull request.
	Head string
	By   string // login
	ByID int64
	At   time.Time
	// Event is what it came in, for verbs that read more of it.
	Event github.Event
	// Mark tells the order from all others, in letters, digits and hyphens: the comment's id, or what a button makes of its
	// check run. It is in the marker of the answer.
	Mark string

	about   string // the version or the commit that a button was about; "" for comments
	said    said
	problem *OrderError // it is no order yet: what to say instead
	verdict string      // an outcome that is certain before anything is done
	resumed bool        // another worker claimed it and did not finish

	answer  *answer
	results []shopResult
	page    string // Markdown that the answer consists of when the verb is done
	outcome string // where the verb knows better than its exit code
}

// id is the order for whoever carries it on, such as a hold.
func (o *Order) id() string {
	if o.Mark == "" {
		return ""
	}
	return "order-" + o.Mark
}

// OrderError says that a comment means to be an order and is none. Its text is ours, except for Word.
type OrderError struct {
	Verb string // the verb that was meant
	Word string // what cannot be read; other people's text
	Why  string // as "is no shop's name"
}

func (e *OrderError) Error() string { return fmt.Sprintf("/%s: %q %s", e.Verb, e.Word, e.Why) }

// ErrNoOrder says that a comment is talk.
var ErrNoOrder = errors.New("no order")

// said is an order as it was said, with a place for the shop.
type said struct {
	to      string
	reason  string
	rest    []string // shops of rebase, the verb of help
	restore bool
	secrets bool
}

// How an order may read.
const maxOrderLine = 1000 // bytes

var (
	verbWord = regexp.MustCompile(`^/([A-Za-z][A-Za-z-]{0,30})(?:[ \t]|$)`)
	anyWord  = regexp.MustCompile(`^[A-Za-z0-9._:+-]{1,128}$`)
	shaWord  = regexp.MustCompile(`^[0-9a-f]{7,64}$`)
)

// orderVerb is a verb of the grammar.
type orderVerb struct {
	name  string
	usage string // as help shows it
	what  string
	// shop says that it is about one: named, or the pull request's.
	shop bool
	read func(o *Order, words []string) *OrderError
	// code says that it is about the code of the pull request, so that it is bound to its head.
	code bool
}

// orderVerbs are the verbs of the grammar in the order in which help lists them.
func orderVerbs() []orderVerb {
	return []orderVerb{
		{"rollback", "/rollback [shop] [to <release|version|sha>] [--restore-data] [--old-secrets]", "back to the known good release, or to another one of the journal", true, readRollback, false},
		{"deploy", "/deploy [shop]", "deploy what the shop's branch is", true, readShop, true},
		{"plan", "/plan [shop]", "what a deploy would do", true, readShop, true},
		{"land", "/land [sha]", "move the shop's branch to what this pull request shows", false, readLand, true},
		{"rebase", "/rebase [shop...]", "carry shops onto main again", false, readShops, false},
		{"hold", "/hold [--shop=<shop>] [reason]", "keep the shop as it is", true, readHoldWords, false},
		{"release-hold", "/release-hold [shop]", "let the shop be deployed again", true, readShop, false},
		{"audit", "/audit", "look the whole fleet over", false, readNothing, false},
		{"status", "/status [shop]", "where the fleet or a shop stands", false, readShop, false},
		{"cost", "/cost [shop]", "what the fleet or a shop costs", false, readShop, false},
		{"pause", "/pause", "nothing lands until /resume; on the fleet's issue", false, readNothing, false},
		{"resume", "/resume", "go on", false, readNothing, false},
		{"skip", "/skip <shop>", "leave a shop out of this round; on the fleet's issue", false, readSkip, false},
		{"help", "/help [verb]", "this", false, readHelp, false},
	}
}

func orderVerbOf(name string) (orderVerb, bool) {
	list := orderVerbs()
	i := slices.IndexFunc(list, func(v orderVerb) bool { return v.name == name })
	if i < 0 {
		return orderVerb{}, false
	}
	return list[i], true
}

// ParseOrder reads a comment. Only its first line counts, and only from its first character on. The error is ErrNoOrder for
// talk and an *OrderError for what means to be an order. Verb, Shop where it is named, and Args are set; where the shop comes
// from the pull request, Args are made anew when that is known. It is pure.
func ParseOrder(body string) (Order, error) {
	if i := strings.IndexAny(body, "\r\n"); i >= 0 {
		body = body[:i]
	}
	m := verbWord.FindStringSubmatch(body)
	if m == nil || len(body) > maxOrderLine {
		return Order{}, ErrNoOrder
	}
	if strings.ContainsFunc(body, func(r rune) bool { return r != '\t' && (r < ' ' || r > '~') }) {
		// A reason may be in any language; nothing else may look like what it is not.
		if m[1] != "hold" {
			return Order{}, ErrNoOrder
		}
	}
	v, ok := orderVerbOf(m[1])
	if !ok {
		near := nearestVerb(m[1])
		if near == "" {
			return Order{}, ErrNoOrder
		}
		return Order{}, &OrderError{near, "/" + m[1], "is no command"}
	}
	// A reason is any text; its words are looked at where it begins.
	words := strings.FieldsFunc(body[1+len(v.name):], func(r rune) bool { return r == ' ' || r == '\t' })
	if v.name != "hold" {
		if i := slices.IndexFunc(words, func(w string) bool { return !anyWord.MatchString(w) }); i >= 0 {
			return Order{}, &OrderError{v.name, words[i], "cannot be read"}
		}
	}
	o := Order{Verb: v.name}
	if err := v.read(&o, words); err != nil {
		err.Verb = v.name
		return Order{}, err
	}
	o.Args = o.argv()
	return o, nil
}

// argv are the words of the command line that the order is. No word of a comment becomes a flag but those that the grammar
// has.
func (o *Order) argv() []string {
	args := []string{o.Verb}
	switch o.Verb {
	case "land", "pause", "resume", "skip":
		return []string{"land"} // which reads the comment itself: the words are about a commit and a round
	case "rebase", "help":
		return append(args, o.said.rest...)
	case "audit":
		return args
	case "hold":
		args = append(args, "--")
		if o.Shop != "" {
			args = append(args, o.Shop)
		}
		if o.said.reason != "" {
			args = append(args, o.said.reason)
		}
		return args
	}
	if o.Shop != "" {
		args = append(args, o.Shop)
	}
	if o.said.to != "" {
		args = append(args, "to", o.said.to)
	}
	if o.said.restore {
		args = append(args, "--restore-data")
	}
	if o.said.secrets {
		args = append(args, "--old-secrets")
	}
	return args
}

func aShop(word string) *OrderError {
	if fleet.CheckSlug(word) != nil {
		return &OrderError{Word: word, Why: "is no shop's name"}
	}
	return nil
}

func readNothing(_ *Order, words []string) *OrderError {
	if len(words) > 0 {
		return &OrderError{Word: words[0], Why: "is one word too many"}
	}
	return nil
}

func readShop(o *Order, words []string) *OrderError {
	if len(words) == 0 {
		return nil
	}
	o.Shop = words[0]
	if err := aShop(o.Shop); err != nil {
		return err
	}
	return readNothing(o, words[1:])
}

func readSkip(o *Order, words []string) *OrderError {
	if len(words) == 0 {
		return &OrderError{Word: "/skip", Why: "needs the name of a shop"}
	}
	return readShop(o, words)
}

func readShops(o *Order, words []string) *OrderError {
	for _, w := range words {
		if err := aShop(w); err != nil {
			return err
		}
		if slices.Contains(o.said.rest, w) {
			return &OrderError{Word: w, Why: "is named twice"}
		}
		o.said.rest = append(o.said.rest, w)
	}
	return nil
}

func readLand(o *Order, words []string) *OrderError {
	if len(words) == 0 {
		return nil
	}
	if !shaWord.MatchString(words[0]) {
		return &OrderError{Word: words[0], Why: "is no commit's id of seven or more digits"}
	}
	o.said.to = words[0]
	return readNothing(o, words[1:])
}

func readHelp(o *Order, words []string) *OrderError {
	if len(words) == 0 {
		return nil
	}
	name := strings.ToLower(words[0])
	if _, ok := orderVerbOf(name); !ok {
		return &OrderError{Word: words[0], Why: "is no command"}
	}
	o.said.rest = []string{name}
	return readNothing(o, words[1:])
}

func readRollback(o *Order, words []string) *OrderError {
	var plain []string
	for _, w := range words {
		flag := map[string]*bool{"--restore-data": &o.said.restore, "--old-secrets": &o.said.secrets}[w]
		switch {
		case flag != nil && *flag:
			return &OrderError{Word: w, Why: "is there twice"}
		case flag != nil:
			*flag = true
		case strings.HasPrefix(w, "-"):
			return &OrderError{Word: w, Why: "is no option"}
		default:
			plain = append(plain, w)
		}
	}
	if len(plain) > 0 && plain[0] != "to" {
		if err := aShop(plain[0]); err != nil {
			return err
		}
		o.Shop, plain = plain[0], plain[1:]
	}
	if len(plain) == 0 {
		return nil
	}
	if plain[0] != "to" {
		return &OrderError{Word: plain[0], Why: "is one word too many; a release comes after the word to"}
	}
	if len(plain) < 2 {
		return &OrderError{Word: "to", Why: "needs a release, a version or a commit after it"}
	}
	o.said.to = plain[1]
	return readNothing(o, plain[2:])
}

const maxSaidReason = 500 // bytes

func readHoldWords(o *Order, words []string) *OrderError {
	for len(words) > 0 && strings.HasPrefix(words[0], "-") {
		slug, ok := strings.CutPrefix(words[0], "--shop=")
		if !ok || o.Shop != "" {
			return &OrderError{Word: words[0], Why: "is no option"}
		}
		if err := aShop(slug); err != nil {
			return err
		}
		o.Shop, words = slug, words[1:]
	}
	o.said.reason = plainReason(strings.Join(words, " "))
	return nil
}

// plainReason is a reason on one line. What cannot be seen is left out: it is shown to people for as long as a hold is there.
func plainReason(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == ' ' || unicode.IsGraphic(r) && !unicode.IsSpace(r) && r != unicode.ReplacementChar:
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return -1
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxSaidReason {
		text = strings.TrimSpace(strings.ToValidUTF8(text[:maxSaidReason], ""))
	}
	return text
}

// nearestVerb is the verb that a word is a slip of the fingers for; "" for other words, which belong to other robots.
func nearestVerb(word string) string {
	word = strings.ToLower(word)
	best, distance := "", 3
	for _, v := range orderVerbs() {
		most := 1
		if len(v.name) >= 6 {
			most = 2
		}
		if n := editDistance(word, v.name); n <= most && n < distance {
			best, distance = v.name, n
		}
	}
	return best
}

// editDistance is Levenshtein's, with two neighbours that changed places counted as one.
func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range b {
		rows[0][j+1] = j + 1
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			n := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				n = min(n, rows[i-2][j-2]+1)
			}
			rows[i][j] = n
		}
	}
	return rows[len(a)][len(b)]
}
