package sim

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The rules of _headers and _redirects, which a client uploads as the text of the files. Lines that are not rules are left
// out, as the platform does after having warned about them at deploy time.
// Source of the semantics: developers.cloudflare.com/workers/static-assets/{headers,redirects}, and the open source of the
// asset Worker and its parsers (cloudflare/workers-sdk, packages/workers-shared).

const (
	maxRuleLine         = 2000
	maxHeaderRules      = 100
	maxStaticRedirects  = 2000
	maxDynamicRedirects = 100
)

// pathRule matches the path of a request, or "https://" + host + path, with one splat (*) and named parts (:name).
type pathRule struct {
	pattern string
	re      *regexp.Regexp // nil: the pattern cannot be matched (a name occurs twice) and never does
	hosted  bool
}

// match returns what splat and named parts stood for, as pairs of ":name" and value.
func (p pathRule) match(host, path string) (names []string, ok bool) {
	if p.re == nil {
		return nil, false
	}
	if p.hosted {
		path = "https://" + host + path
	}
	m := p.re.FindStringSubmatch(path)
	if m == nil {
		return nil, false
	}
	for i, name := range p.re.SubexpNames()[1:] {
		names = append(names, ":"+name, m[i+1])
	}
	return names, true
}

var (
	namedPart = regexp.MustCompile(`:([A-Za-z]\w*)`)
	splatName = regexp.MustCompile(`:splat(?:\W|$)`)
)

func compilePathRule(pattern string) pathRule {
	p := pathRule{pattern: pattern, hosted: strings.HasPrefix(pattern, "https://")}
	host, path := "", pattern
	if p.hosted {
		rest := strings.TrimPrefix(pattern, "https://")
		cut := strings.IndexByte(rest, '/')
		host, path = "https://"+rest[:cut], rest[cut:]
	}
	// A name in the host stands for one label, in the path for one segment.
	re, err := regexp.Compile("^" + ruleExpression(host, `[^/.]+`) + ruleExpression(path, `[^/]+`) + "$")
	if err == nil {
		p.re = re
	}
	return p
}

func ruleExpression(text, one string) string {
	var b strings.Builder
	literal := func(s string) {
		parts := strings.Split(s, "*")
		for i, part := range parts {
			if i > 0 {
				b.WriteString("(?P<splat>.*)")
			}
			b.WriteString(regexp.QuoteMeta(part))
		}
	}
	at := 0
	for _, m := range namedPart.FindAllStringSubmatchIndex(text, -1) {
		literal(text[at:m[0]])
		b.WriteString("(?P<" + text[m[2]:m[3]] + ">" + one + ")")
		at = m[1]
	}
	literal(text[at:])
	return b.String()
}

// fill puts what a rule matched into text. Names are replaced in the order they stand in the rule.
func fill(text string, names []string) string {
	for i := 0; i+1 < len(names); i += 2 {
		text = strings.ReplaceAll(text, names[i], names[i+1])
	}
	return text
}

// headerRule is one block of _headers.
type headerRule struct {
	pathRule
	set   [][2]string // names in lower case, in the order of the file
	unset []string
}

// isPathLine tells a path from a header line.
var isPathLine = regexp.MustCompile(`^(\S+://|/)`)

// parseHeaders reads a _headers file.
func parseHeaders(text string) []headerRule {
	var rules []headerRule
	var rule *headerRule // the block being read; nil when its path was no good
	seen := 0
	finish := func() {
		if rule == nil || len(rule.set)+len(rule.unset) == 0 {
			return
		}
		seen++
		// A path that comes again takes the place of the earlier one.
		if i := slices.IndexFunc(rules, func(r headerRule) bool { return r.pattern == rule.pattern }); i >= 0 {
			rules[i] = *rule
			return
		}
		rules = append(rules, *rule)
	}
	for line := range ruleLines(text) {
		if isPathLine.MatchString(line) {
			if seen >= maxHeaderRules {
				break
			}
			finish()
			rule = nil
			path, ok := rulePath(line, false)
			if !ok || strings.Count(path, "*") > 1 || strings.Contains(path, "*") && splatName.MatchString(path) {
				continue
			}
			rule = &headerRule{pathRule: compilePathRule(path)}
			continue
		}
		if rule == nil {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			if unset, is := strings.CutPrefix(line, "! "); is {
				rule.unset = append(rule.unset, unset)
			}
			continue
		}
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if name == "" || value == "" || strings.Contains(name, " ") {
			continue
		}
		if i := slices.IndexFunc(rule.set, func(h [2]string) bool { return h[0] == name }); i >= 0 {
			rule.set[i][1] += ", " + value
		} else {
			rule.set = append(rule.set, [2]string{name, value})
		}
	}
	finish()
	return rules
}

// applyHeaders changes h as the rules say: a rule removes first and sets then; what an earlier rule has set is added to,
// what the response brought along is replaced.
func applyHeaders(rules []headerRule, h http.Header, host, path string) {
	set := map[string]bool{}
	for _, r := range rules {
		names, ok := r.match(host, path)
		if !ok {
			continue
		}
		for _, name := range r.unset {
			h.Del(name)
		}
		for _, kv := range r.set {
			if set[kv[0]] {
				h.Add(kv[0], fill(kv[1], names))
			} else {
				h.Set(kv[0], fill(kv[1], names))
				set[kv[0]] = true
			}
		}
	}
}

// redirectRule is one line of _redirects. Status 200 serves another path without telling the browser.
type redirectRule struct {
	pathRule
	to     string
	status int
}

// redirectRules are looked up by exact path first, then in order.
type redirectRules struct {
	static  map[string]redirectRule
	dynamic []redirectRule
}

var (
	lineComment   = regexp.MustCompile(`\s+#.*$`)
	pointsToIndex = regexp.MustCompile(`/index(.html)?$`)
)

// parseRedirects reads a _redirects file. htmlHandling decides which lines would redirect for ever.
func parseRedirects(text, htmlHandling string) redirectRules {
	rules := redirectRules{static: map[string]redirectRule{}}
	known := map[string]bool{}
	statics, dynamics := 0, 0 // after the first dynamic line every line counts as dynamic
	for line := range ruleLines(text) {
		tokens := strings.Fields(lineComment.ReplaceAllString(line, ""))
		if len(tokens) < 2 || len(tokens) > 3 {
			continue
		}
		from, ok := redirectSource(tokens[0])
		if !ok {
			continue
		}
		plain := !strings.Contains(from, "*") && !namedPart.MatchString(from)
		if plain && dynamics == 0 {
			if statics++; statics > maxStaticRedirects {
				continue
			}
		} else if dynamics++; dynamics > maxDynamicRedirects {
			break
		}
		to, ok := rulePath(tokens[1], true)
		if !ok {
			continue
		}
		status := http.StatusFound
		if len(tokens) == 3 {
			n, err := strconv.Atoi(tokens[2])
			if err != nil || !slices.Contains([]int{200, 301, 302, 303, 307, 308}, n) {
				continue
			}
			status = n
		}
		hosted := strings.HasPrefix(to, "https://")
		loops := strings.HasSuffix(from, "/*") || strings.HasSuffix(from, "/") && htmlHandling != "none"
		if !hosted && loops && pointsToIndex.MatchString(to) || hosted && status == http.StatusOK || known[from] {
			continue
		}
		known[from] = true
		rule := redirectRule{compilePathRule(from), to, status}
		if plain && len(rules.dynamic) == 0 {
			rules.static[from] = rule
		} else {
			rules.dynamic = append(rules.dynamic, rule)
		}
	}
	return rules
}

// find returns where a request for path is sent; to is a path or an https URL with everything filled in.
func (r redirectRules) find(host, path string) (to string, status int, ok bool) {
	if rule, is := r.static[path]; is {
		return rule.to, rule.status, true
	}
	for _, rule := range r.dynamic {
		if names, is := rule.match(host, path); is {
			return redirectTarget(rule.to, names), rule.status, true
		}
	}
	return "", 0, false
}

var external = regexp.MustCompile(`^(?:\w+://|//[^/\\\s?#])`)

// redirectTarget fills in a target. What was matched must not turn a path into the address of another host.
func redirectTarget(to string, names []string) string {
	full := strings.TrimSpace(fill(to, names))
	if external.MatchString(strings.TrimSpace(to)) {
		return full
	}
	path, suffix := full, ""
	if i := strings.IndexAny(full, "?#"); i >= 0 {
		path, suffix = full[:i], full[i:]
	}
	return slashes.ReplaceAllString(path, "/") + suffix
}

var slashes = regexp.MustCompile(`[/\\]+`)

// ruleLines yields the lines that may be rules, trimmed: no blank ones, no comments, none that are too long.
func ruleLines(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for line := range strings.SplitSeq(text, "\n") {
			line = strings.TrimSpace(line)
			if line != "" && line[0] != '#' && len(line) <= maxRuleLine && !yield(line) {
				return
			}
		}
	}
}

var httpsURL = regexp.MustCompile(`^https:/{2,}([^/]+)/?(.*)`)

// redirectSource normalises the left side of a redirect, which is always a path of this site.
func redirectSource(token string) (string, bool) {
	if httpsURL.MatchString(token) {
		return "", false
	}
	if !strings.HasPrefix(token, "/") {
		token = "/" + token
	}
	path, _ := cutSuffixes(token)
	return resolveDots(encodeSet(path, pathSet)), true
}

// rulePath normalises a path or an https URL; target says that it is where a redirect goes, which may have a port, a query
// and a fragment.
func rulePath(token string, target bool) (string, bool) {
	host := ""
	if m := httpsURL.FindStringSubmatch(token); m != nil {
		if !target && hasPort.MatchString(m[1]) {
			return "", false
		}
		host, token = "https://"+m[1], "/"+strings.TrimPrefix(m[2], "/")
	}
	if !strings.HasPrefix(token, "/") {
		return "", false
	}
	path, suffix := cutSuffixes(token)
	path = resolveDots(encodeSet(path, pathSet))
	if !target {
		suffix = ""
	}
	return host + path + suffix, true
}

var hasPort = regexp.MustCompile(`:\d+$`)

// cutSuffixes splits a URL after its path.
func cutSuffixes(token string) (path, suffix string) {
	path, fragment, hasFragment := strings.Cut(token, "#")
	path, query, hasQuery := strings.Cut(path, "?")
	if hasQuery && query != "" {
		suffix = "?" + encodeSet(query, querySet)
	}
	if hasFragment && fragment != "" {
		suffix += "#" + encodeSet(fragment, fragmentSet)
	}
	return path, suffix
}
