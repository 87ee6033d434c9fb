package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Serving static files, as developers.cloudflare.com/workers/static-assets describes it; the details are those of the open
// source of Cloudflare's asset Worker (cloudflare/workers-sdk, packages/workers-shared/{asset,router}-worker).

// site is the static half of a version, made ready for serving. It is immutable.
type site struct {
	files        map[string]servedFile
	htmlHandling string // auto-trailing-slash, force-trailing-slash, drop-trailing-slash or none
	notFound     string // none, 404-page or single-page-application
	base         string // "/", or a prefix with a slash at both ends
	navigation   bool   // a browser's navigation prefers not_found handling over the Worker
	workerFirst  bool
	listed       bool // run_worker_first is a list
	toWorker     []*regexp.Regexp
	toAssets     []*regexp.Regexp
	redirects    redirectRules
	headers      []headerRule
}

func newSite(v *servedVersion) (*site, error) {
	var config struct {
		HTMLHandling     string          `json:"html_handling"`
		NotFoundHandling string          `json:"not_found_handling"`
		BasePath         string          `json:"base_path"`
		RunWorkerFirst   json.RawMessage `json:"run_worker_first"`
		Redirects        string          `json:"_redirects"`
		Headers          string          `json:"_headers"`
	}
	if len(v.Assets.Config) > 0 {
		if err := json.Unmarshal(v.Assets.Config, &config); err != nil {
			return nil, fmt.Errorf("reading the assets configuration: %w", err)
		}
	}
	s := &site{
		files:        v.Assets.Manifest,
		htmlHandling: config.HTMLHandling,
		notFound:     config.NotFoundHandling,
		base:         "/",
		redirects:    parseRedirects(config.Redirects, config.HTMLHandling),
		headers:      parseHeaders(config.Headers),
	}
	if s.htmlHandling == "" {
		s.htmlHandling = "auto-trailing-slash"
	}
	if base := path.Clean("/" + config.BasePath); base != "/" {
		s.base = base + "/"
	}
	const enable, disable = "assets_navigation_prefers_asset_serving", "assets_navigation_has_no_effect"
	s.navigation = slices.Contains(v.CompatibilityFlags, enable) ||
		v.CompatibilityDate >= "2025-04-01" && !slices.Contains(v.CompatibilityFlags, disable)

	var list []string
	if json.Unmarshal(config.RunWorkerFirst, &list) == nil && list != nil {
		s.listed = true
		for _, rule := range list {
			if without, negative := strings.CutPrefix(rule, "!"); negative {
				s.toAssets = append(s.toAssets, globExpression(without))
			} else {
				s.toWorker = append(s.toWorker, globExpression(rule))
			}
		}
	} else {
		s.workerFirst = string(config.RunWorkerFirst) == "true"
	}
	return s, nil
}

// globExpression matches a whole path; * stands for anything, slashes included.
func globExpression(glob string) *regexp.Regexp {
	parts := strings.Split(glob, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("^" + strings.Join(parts, ".*") + "$")
}

// takes decides whether a request goes to the files rather than to the Worker's code.
func (s *site) takes(r *http.Request, hasCode bool) bool {
	p := urlPath(r.URL.EscapedPath())
	matches := func(re *regexp.Regexp) bool { return re.MatchString(p) }
	switch {
	case !hasCode || slices.ContainsFunc(s.toAssets, matches):
		return true
	case s.workerFirst || slices.ContainsFunc(s.toWorker, matches):
		return false
	}
	if _, within := s.strip(decodePath(p)); !within {
		return false
	}
	without := *s
	if !s.listed && !(s.navigation && r.Header.Get("Sec-Fetch-Mode") == "navigate") {
		without.notFound = "none" // the Worker is what handles what is not found
	}
	_, claimed := without.answer(r)
	return claimed
}

// assetAnswer is what the files have to say to a request, before headers rules.
type assetAnswer struct {
	status   int
	location string // of a redirect
	file     servedFile
	hasFile  bool
}

// answer looks a request up. claimed is false when the files know nothing of it; the answer is a 404 then.
func (s *site) answer(r *http.Request) (a assetAnswer, claimed bool) {
	p, search := urlPath(r.URL.EscapedPath()), searchOf(r)
	decoded := decodePath(p)
	to, status, redirected := s.redirects.find(hostOnly(r.Host), p)
	switch {
	case redirected && status != http.StatusOK:
		return assetAnswer{status: status, location: redirectLocation(r, to, search)}, true
	case redirected:
		p, _ = cutSuffixes(to)
		p = urlPath(p)
		decoded = decodePath(p)
	}
	// What a rule serves under another path is answered here in any case: the Worker would not know that path.
	nothing := assetAnswer{status: http.StatusNotFound}
	assetPath, within := s.strip(decoded)
	if !within {
		return nothing, redirected
	}
	found, ok := found{}, false
	if !redirected {
		found, ok = s.baseRoot(decoded)
	}
	if !ok {
		found, ok = s.lookUp(assetPath, false)
	}
	if !ok {
		return nothing, redirected
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return assetAnswer{status: http.StatusMethodNotAllowed}, true
	}
	destination := decoded
	if found.moved {
		destination = s.unstrip(found.to)
	}
	if encoded := encodePath(destination); found.moved || encoded != p {
		return assetAnswer{status: http.StatusTemporaryRedirect, location: encoded + search}, true
	}
	return assetAnswer{status: found.status, file: found.file, hasFile: true}, true
}

func searchOf(r *http.Request) string {
	if r.URL.RawQuery == "" {
		return ""
	}
	return "?" + r.URL.RawQuery
}

// redirectLocation is the Location of a _redirects rule: relative within the host, with the query of the request unless
// the rule brings its own.
func redirectLocation(r *http.Request, to, search string) string {
	location, rest := "", to
	if external.MatchString(to) {
		target, err := url.Parse(to)
		if err != nil {
			return to
		}
		rest = strings.TrimPrefix(to, target.Scheme+"://"+target.Host)
		if target.Scheme == "" {
			rest = strings.TrimPrefix(to, "//"+target.Host)
		}
		if target.Host != r.Host {
			scheme := target.Scheme
			if scheme == "" {
				scheme = "https"
			}
			location = scheme + "://" + target.Host
		}
	}
	path, suffix := cutSuffixes(rest)
	query, fragment, _ := strings.Cut(suffix, "#")
	if query == "" {
		query = search
	}
	if fragment != "" {
		fragment = "#" + fragment
	}
	return location + urlPath(path) + query + fragment
}

// strip takes the base path off; within is false for a path outside of it.
func (s *site) strip(p string) (assetPath string, within bool) {
	switch {
	case s.base == "/":
		return p, true
	case p == strings.TrimSuffix(s.base, "/"):
		return "/", true
	case strings.HasPrefix(p, s.base):
		return p[len(s.base)-1:], true
	}
	return p, false
}

func (s *site) unstrip(assetPath string) string {
	switch {
	case s.base == "/":
		return assetPath
	case assetPath == "/":
		return s.base
	}
	return strings.TrimSuffix(s.base, "/") + assetPath
}

// baseRoot moves requests for the base path to its form with or without the slash, when there is an index to show.
func (s *site) baseRoot(p string) (found, bool) {
	if _, ok := s.files["/index.html"]; !ok || s.base == "/" {
		return found{}, false
	}
	switch s.htmlHandling {
	case "auto-trailing-slash", "force-trailing-slash":
		return found{moved: true, to: "/"}, p == strings.TrimSuffix(s.base, "/")
	case "drop-trailing-slash":
		return found{moved: true, to: ""}, p == s.base
	}
	return found{}, false
}

// found is the result of a look-up: a file to serve with a status, or another path to send the browser to.
type found struct {
	file   servedFile
	status int
	moved  bool
	to     string
}

// try is one attempt to answer a path: serve the file, or send the browser to the path under which the file is served.
type try struct {
	file, to string
	move     bool
}

// lookUp finds what answers a path. still forbids redirects: it is set while checking where a redirect would lead.
func (s *site) lookUp(p string, still bool) (found, bool) {
	for _, t := range tries(s.htmlHandling, p) {
		file, ok := s.files[t.file]
		if !ok {
			continue
		}
		if !t.move {
			return found{file: file, status: http.StatusOK}, true
		}
		if _, taken := s.files[t.to]; still || taken {
			continue
		}
		if there, ok := s.lookUp(t.to, true); ok && there.file.Hash == file.Hash {
			return found{moved: true, to: t.to}, true
		}
	}
	return s.missing(p)
}

// tries lists what to attempt for a path, in order, by html_handling.
func tries(htmlHandling, p string) []try {
	serve := func(file string) try { return try{file: file} }
	move := func(file, to string) try { return try{file: file, to: to, move: true} }
	cut := func(n int) string { return p[:len(p)-n] }

	var list []try
	switch htmlHandling {
	case "auto-trailing-slash":
		switch {
		case strings.HasSuffix(p, "/index"):
			list = []try{serve(p), move(p+".html", cut(5)), move(cut(6)+".html", cut(6))}
		case strings.HasSuffix(p, "/index.html"):
			list = []try{move(p, cut(10)), move(cut(11)+".html", cut(11))}
		case strings.HasSuffix(p, "/"):
			list = []try{serve(p + "index.html"), move(cut(1)+".html", cut(1))}
		case strings.HasSuffix(p, ".html"):
			list = []try{move(p, cut(5)), move(cut(5)+"/index.html", cut(5)+"/")}
		}
		return append(list, serve(p), serve(p+".html"), move(p+"/index.html", p+"/"))
	case "force-trailing-slash":
		switch {
		case strings.HasSuffix(p, "/index"):
			list = []try{serve(p), move(p+".html", cut(5)), move(cut(6)+".html", cut(5))}
		case strings.HasSuffix(p, "/index.html"):
			list = []try{move(p, cut(10)), move(cut(11)+".html", cut(10))}
		case strings.HasSuffix(p, "/"):
			list = []try{serve(p + "index.html"), serve(cut(1) + ".html")}
		case strings.HasSuffix(p, ".html"):
			list = []try{move(p, cut(5)+"/"), serve(p), move(cut(5)+"/index.html", cut(5)+"/")}
		}
		return append(list, serve(p), move(p+".html", p+"/"), move(p+"/index.html", p+"/"))
	case "drop-trailing-slash":
		switch {
		case p == "/":
			list = []try{serve("/index.html")}
		case p == "/index":
			list = []try{serve(p), move("/index.html", "/")}
		case p == "/index.html":
			list = []try{move(p, "/")}
		case strings.HasSuffix(p, "/index"):
			list = []try{serve(p), move(cut(6)+".html", cut(6)), move(p+".html", cut(6))}
		case strings.HasSuffix(p, "/index.html"):
			list = []try{move(p, cut(11)), serve(p), move(cut(11)+".html", cut(11))}
		case strings.HasSuffix(p, "/"):
			list = []try{move(cut(1)+".html", cut(1)), move(cut(1)+"/index.html", cut(1))}
		case strings.HasSuffix(p, ".html"):
			list = []try{move(p, cut(5)), move(cut(5)+"/index.html", cut(5))}
		}
		return append(list, serve(p), serve(p+".html"), serve(p+"/index.html"))
	}
	return []try{serve(p)} // none
}

// missing is what not_found_handling shows.
func (s *site) missing(p string) (found, bool) {
	switch s.notFound {
	case "single-page-application":
		file, ok := s.files["/index.html"]
		return found{file: file, status: http.StatusOK}, ok
	case "404-page":
		for strings.Contains(p, "/") {
			p = p[:strings.LastIndexByte(p, '/')]
			if file, ok := s.files[p+"/404.html"]; ok {
				return found{file: file, status: http.StatusNotFound}, true
			}
		}
	}
	return found{}, false
}

// serve answers a request from the files and returns the status it sent.
func (s *site) serve(rw http.ResponseWriter, r *http.Request, read func(hash string) ([]byte, error)) int {
	p := urlPath(r.URL.EscapedPath())
	h := rw.Header()
	h["Content-Type"] = nil // net/http would guess one; a file without a type has none on the platform either
	if _, within := s.strip(decodePath(p)); !within {
		rw.WriteHeader(http.StatusNotFound)
		return http.StatusNotFound
	}
	a, _ := s.answer(r)
	var body []byte
	if a.hasFile {
		if a.file.ContentType != "" {
			h.Set("Content-Type", a.file.ContentType)
		}
		if r.Header.Get("Authorization") == "" && r.Header.Get("Range") == "" {
			h.Set("Cache-Control", "public, max-age=0, must-revalidate")
		}
		etag := `"` + a.file.Hash + `"`
		h.Set("Etag", etag)
		h.Set("Cf-Cache-Status", "HIT")
		if known := r.Header.Get("If-None-Match"); known == etag || known == "W/"+etag {
			a.status = http.StatusNotModified
		} else {
			content, err := read(a.file.Blob)
			if err != nil {
				http.Error(rw, "reading a static file: "+err.Error(), http.StatusInternalServerError)
				return http.StatusInternalServerError
			}
			h.Set("Content-Length", strconv.Itoa(len(content)))
			if r.Method != http.MethodHead {
				body = content
			}
		}
	}
	if a.location != "" {
		h.Set("Location", a.location)
	}
	applyHeaders(s.headers, h, hostOnly(r.Host), p)
	rw.WriteHeader(a.status)
	rw.Write(body) // the reader may have left; there is nobody to tell
	return a.status
}
