package sim

import (
	"encoding/json"
	"net"
	"slices"
	"sort"
	"strings"
	"time"
)

// This file is all that the edge knows of a world: what is released (World.served), which Worker answers a request
// (served.route), the bytes of modules and files (World.blob), and where an invocation is counted (World.traffic).

// served is what the edge has to serve: an immutable picture of everything released in every account.
type served struct {
	Change  uint64          // the world's change counter when the picture was taken
	Scripts []*servedScript // sorted by account and name; only those with a deployment
	hosts   []servedHost
}

// servedHost is where requests are sent: a custom domain or workers.dev name (exact host, any path), or a zone route.
type servedHost struct {
	host, path string // as in a route pattern: host may begin with *, path may end with *
	exact      bool   // custom domain or workers.dev
	script     *servedScript
	version    *servedVersion // of a preview hostname
}

// servedScript is a Worker with a deployment.
type servedScript struct {
	Account, Name string
	ID            string           // 32 hex, stable over redeploys, new when the Worker is deleted and made again
	Versions      []*servedVersion // those that take traffic: one or two
	// Shares are the percentages of Versions, in the same order; they sum to 100. They are here and not in the version
	// because a version stays the same while its share changes.
	Shares  []float64
	Crons   []string
	Preview map[string]*servedVersion // versions reachable under preview hostnames, by version id
}

// servedVersion is one version in full. It never changes once made: the pointer is stable for as long as the version exists,
// so it may serve as a cache key.
type servedVersion struct {
	ID, Tag, Message   string
	Number             int
	Created            time.Time
	Main               string // name of the main module (ES modules) or of the script part (service worker)
	ServiceWorker      bool
	Modules            []servedModule // Main among them; empty for an assets-only Worker
	Bindings           []servedBinding
	CompatibilityDate  string
	CompatibilityFlags []string
	Assets             *servedAssets   // nil when there are none
	Limits             json.RawMessage // cpu_ms, subrequests; nil when there are none
}

// servedModule is one uploaded part. Content is read with w.blob(Hash).
type servedModule struct {
	Name, ContentType string // e.g. index.js, application/javascript+module (wire.md §3.2)
	Hash              string // of the blob
	Size              int64
}

// servedBinding is a resolved binding: inherit and keep_bindings are already looked up, secrets carry their value.
type servedBinding struct {
	Name, Type string
	Fields     map[string]any // as wire.md §3.3, without name and type; numbers are json.Number; a D1 binding has "id"
}

// Text returns a string field, "" when absent.
func (b servedBinding) Text(key string) string { s, _ := b.Fields[key].(string); return s }

// servedAssets are the static files of a version.
type servedAssets struct {
	Manifest map[string]servedFile // by path, leading slash
	Config   json.RawMessage       // html_handling, not_found_handling, run_worker_first, base_path, _headers, _redirects (raw file text)
}

type servedFile struct {
	Hash        string // of the manifest (wire.md §5); content is read with w.blob(Blob)
	Blob        string
	ContentType string // as uploaded; "" when the client named none (application/null)
	Size        int64
}

// trafficEvent is one invocation, for analytics and tails.
type trafficEvent struct {
	Account, Script, Version string
	At                       time.Time
	Kind                     string // "fetch" or "scheduled"
	Method, URL, Cron        string
	Status                   int    // HTTP status sent; 0 for scheduled
	Outcome                  string // ok, exception, canceled, exceededCpu…
	Subrequests              int
	Wall, CPU                time.Duration
	AssetOnly                bool // a static file answered and no code ran: free, not an invocation
}

// served takes the picture of what is live now. It is taken anew only after a change.
func (w *World) served() *served {
	if p := w.picture.Load(); p != nil && p.Change == w.change() {
		return p
	}
	w.mu.Lock() // servedVersion is made once per version, so two readers may not take the picture at the same time
	defer w.mu.Unlock()
	p := &served{Change: w.change()}
	for _, id := range sortedKeys(w.accounts) {
		p.addAccount(w.accounts[id])
	}
	// Custom domains and workers.dev names win over routes, then the longer pattern wins.
	sort.SliceStable(p.hosts, func(i, j int) bool {
		a, b := p.hosts[i], p.hosts[j]
		if a.exact != b.exact {
			if a.exact {
				return true
			}
			return false
		}
		if n := specificity(b.host) - specificity(a.host); n != 0 {
			return n < 0
		}
		return specificity(b.path) < specificity(a.path)
	})
	w.picture.Store(p)
	return p
}

// specificity orders patterns: exact before wildcard, longer before shorter.
func specificity(pattern string) int {
	n := 2 * len(pattern)
	if !strings.Contains(pattern, "*") {
		n += 1 << 16
	}
	return n
}

func (p *served) addAccount(a *account) {
	byName := map[string]*servedScript{}
	for _, name := range sortedKeys(a.Scripts) {
		s := a.Scripts[name]
		out := &servedScript{Account: a.ID, Name: name, ID: s.Tag, Preview: map[string]*servedVersion{}}
		for _, c := range s.Schedules {
			out.Crons = append(out.Crons, c.Cron)
		}
		d := s.live()
		if d == nil {
			continue
		}
		for _, share := range d.Versions {
			if v := s.version(share.Version); v != nil {
				out.Versions = append(out.Versions, v.serve())
				out.Shares = append(out.Shares, share.Percentage)
			}
		}
		p.Scripts = append(p.Scripts, out)
		byName[name] = out
		if a.Subdomain == "" {
			continue
		}
		suffix := name + "." + a.Subdomain + ".workers.dev"
		if s.WorkersDev {
			p.hosts = append(p.hosts, servedHost{host: suffix, path: "/*", exact: true, script: out})
		}
		if s.Previews {
			// The newest version that carries an alias has it: it comes first and the first match wins.
			for _, v := range slices.Backward(s.Versions) {
				out.Preview[v.ID] = v.serve()
				p.hosts = append(p.hosts, servedHost{host: v.ID[:8] + "-" + suffix, path: "/*", exact: true, script: out, version: v.serve()})
				if v.Alias != "" {
					p.hosts = append(p.hosts, servedHost{host: v.Alias + "-" + suffix, path: "/*", exact: true, script: out, version: v.serve()})
				}
			}
		}
	}
	for _, d := range a.Domains {
		if s := byName[d.Service]; s != nil && d.Enabled {
			p.hosts = append(p.hosts, servedHost{host: d.Hostname, path: "/*", exact: true, script: s})
		}
	}
	for _, z := range a.Zones {
		for _, r := range z.Routes {
			host, path := splitPattern(r.Pattern)
			p.hosts = append(p.hosts, servedHost{host: host, path: path, script: byName[r.Script]})
		}
	}
}

// serve is the version as the edge sees it, made once.
func (v *version) serve() *servedVersion {
	if v.served != nil {
		return v.served
	}
	out := &servedVersion{
		ID: v.ID, Number: v.Number, Tag: v.Annotations["workers/tag"], Message: v.Annotations["workers/message"], Created: v.Created, Main: v.Main,
		ServiceWorker: v.ServiceWorker, Modules: v.Modules, CompatibilityDate: v.CompatibilityDate, CompatibilityFlags: v.CompatibilityFlags,
		Assets: v.Assets, Limits: v.Limits,
	}
	for _, b := range v.Bindings {
		out.Bindings = append(out.Bindings, servedBinding(b))
	}
	v.served = out
	return out
}

// route finds the Worker that answers a request for host (a port is ignored) and path (unescaped is not needed: as
// sent, without query), and the version when the hostname is that of a preview. The script is nil when the hostname is
// nobody's or its route switches Workers off.
func (p *served) route(host, path string) (s *servedScript, preview *servedVersion) {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, h := range p.hosts {
		if matchHost(h.host, host) && matchPath(h.path, path) {
			return h.script, h.version
		}
	}
	return nil, nil
}

// matchHost understands *.example.com (below it only) and *example.com (it and everything that ends so).
func matchHost(pattern, host string) bool {
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(host, suffix)
	}
	return pattern == host
}

// matchPath understands * anywhere.
func matchPath(pattern, path string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == path
	}
	if !strings.HasPrefix(path, first) {
		return false
	}
	path = path[len(first):]
	for {
		part, more, wild := strings.Cut(rest, "*")
		if !wild {
			return strings.HasSuffix(path, part)
		}
		i := strings.Index(path, part)
		if i < 0 {
			return false
		}
		path, rest = path[i+len(part):], more
	}
}
