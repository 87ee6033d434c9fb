package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"

	"github.com/kvick/shopfleet/internal/audit"
	"github.com/kvick/shopfleet/internal/deploy"
)

// AuditHTML writes an audit as one page for people who have no shopfleet: it loads nothing, runs nothing, and prints.
func AuditHTML(w io.Writer, r *audit.Report) error {
	p := newPage("Audit of the fleet, "+r.At.UTC().Format("2006-01-02"), false)
	p.summary(r)
	p.findings(r)
	p.stores(r)
	p.workers(r)
	p.hostnames(r)
	p.accounts(r)
	_, err := io.WriteString(w, p.finish())
	return err
}

func (p *page) summary(r *audit.Report) {
	p.raw("<h1>Audit of the fleet</h1>\n<p class=\"soft\">").text(fmt.Sprintf("%s; read from %s on; main at %s; %s", limits(r), moment(r.At), short(r.Main), r.Tool)).raw("</p>\n")
	switch {
	case isolated(r):
		p.raw(`<p class="verdict good">Isolated: `).text(auditProof(r)).raw("</p>\n")
	case len(r.Unread()) > 0:
		p.raw(`<p class="verdict bad">Not proved: `).text("not every account could be read: " + few(r.Unread(), 10)).raw("</p>\n")
	default:
		p.raw(`<p class="verdict bad">Not isolated: a Worker reaches, or may reach, what is not its shop's, or answers for a shop.</p>` + "\n")
	}
	p.raw("<p>").text(count(r)).raw("</p>\n")
	for _, what := range r.NotRead {
		p.raw(`<p class="warn">Not read: `).text(what).raw("</p>\n")
	}
}

func (p *page) findings(r *audit.Report) {
	p.raw("<h2>Findings</h2>\n")
	if len(r.Findings) == 0 {
		p.raw("<p>None.</p>\n")
		return
	}
	p.table("Level", "Rule", "Account", "Shop", "What was found", "What to do")
	for _, f := range r.Findings {
		shops := strings.Join(append([]string{f.Shop}, f.Others...), ", ")
		p.raw(`<tr><td class="`).text(f.Level).raw(`">`).text(f.Level).raw("</td><td><code>").text(f.Rule).raw("</code></td><td>").text(f.Account).
			raw("</td><td>").text(strings.TrimPrefix(shops, ", ")).raw("</td><td>").text(f.Message)
		if at := position(f); at != "" {
			p.raw(` <span class="soft">`).text(at).raw("</span>")
		}
		p.raw("</td><td>").text(f.Hint).raw("</td></tr>\n")
	}
	p.end()
}

// stores is the graph: each store with who reaches it and what says whose it is.
func (p *page) stores(r *audit.Report) {
	p.raw("<h2>Who reaches what</h2>\n<p class=\"soft\">Every store of the accounts, and every other thing that a Worker reaches. Proofs: name – fleet.yml gives it to the shop; tag – the owner tag says so; record – the identity record inside of it says so.</p>\n")
	type place struct{ account, typ, id, jurisdiction string }
	reached := map[place][]string{}
	for _, e := range r.Graph.Edges {
		at := place{e.Account, e.Type, e.ID, e.Jurisdiction}
		word := e.Worker + " as " + e.Binding
		if !slices.Contains(reached[at], word) {
			reached[at] = append(reached[at], word)
		}
	}
	nodes := slices.Clone(r.Graph.Stores)
	for _, w := range r.Graph.Workers {
		if len(reached[place{w.Account, w.Type, w.ID, ""}]) > 0 {
			nodes = append(nodes, w)
		}
	}
	sort.SliceStable(nodes, func(i, j int) bool {
		return nodes[i].Account+"\x00"+nodes[i].Shop < nodes[j].Account+"\x00"+nodes[j].Shop
	})
	hit := map[string]bool{}
	for _, f := range r.Findings {
		if f.Level == deploy.LevelError {
			hit[f.Account+"\x00"+f.Resource] = true
		}
	}
	p.table("Account", "Shop", "Type", "Name", "Id", "Proofs", "Reached by")
	for _, n := range nodes {
		shop := n.Shop
		switch {
		case n.Shared != "":
			shop = "shared: " + n.Shared
		case shop == "":
			shop = "–"
		}
		id := n.ID
		if id == n.Name {
			id = ""
		}
		by := strings.Join(reached[place{n.Account, n.Type, n.ID, n.Jurisdiction}], "\n")
		if by == "" {
			by = "–"
		}
		class := ""
		if hit[n.Account+"\x00"+n.Words()] {
			class = "hit"
		}
		name := n.Name
		if n.Jurisdiction != "" {
			name += " (" + n.Jurisdiction + ")"
		}
		p.row(class, n.Account, shop, n.Type, name, id, strings.Join(n.Proofs, ", "), by)
	}
	p.end()
}

// workers is the graph from the other side: every Worker of the accounts, also those of nobody.
func (p *page) workers(r *audit.Report) {
	p.raw("<h2>Workers</h2>\n<p class=\"soft\">Every Worker of the accounts, and everything that it reaches. One without a shop is nobody's by fleet.yml.</p>\n")
	type place struct{ account, typ, id string }
	names := map[place]string{}
	for _, n := range append(slices.Clone(r.Graph.Stores), r.Graph.Workers...) {
		names[place{n.Account, n.Type, n.ID}] = n.Words()
	}
	reaches := map[[2]string][]string{}
	for _, e := range r.Graph.Edges {
		word := e.Binding + " → " + cmp.Or(names[place{e.Account, e.Type, e.ID}], e.Type+" "+e.ID)
		if e.Version != "" {
			word += " (in a version that takes traffic)"
		}
		reaches[[2]string{e.Account, e.Worker}] = append(reaches[[2]string{e.Account, e.Worker}], word)
	}
	p.table("Account", "Shop", "Worker", "Proofs", "Reaches")
	for _, w := range r.Graph.Workers {
		p.row("", w.Account, cmp.Or(w.Shop, "–"), w.Name, strings.Join(w.Proofs, ", "), cmp.Or(strings.Join(reaches[[2]string{w.Account, w.Name}], "\n"), "–"))
	}
	p.end()
}

// hostnames is who answers where, and whose hostname that is.
func (p *page) hostnames(r *audit.Report) {
	p.raw("<h2>Who answers where</h2>\n<p class=\"soft\">Every custom domain of the accounts, and every route of the fleet's zones. Whose hostname it is, or which ones a route covers, is by fleet.yml.</p>\n")
	p.table("Account", "Hostname or route", "Hostname of", "Answered by", "Worker of")
	for _, h := range r.Graph.Hostnames {
		class := ""
		if slices.ContainsFunc(h.Of, func(slug string) bool { return slug != h.Shop }) {
			class = "hit"
		}
		what := h.Pattern
		if h.Kind != "custom domain" {
			what = h.Kind + " " + what
		}
		p.row(class, h.Account, what, cmp.Or(few(h.Of, 10), "–"), cmp.Or(h.Worker, "no Worker"), cmp.Or(h.Shop, "–"))
	}
	p.end()
}

func (p *page) accounts(r *audit.Report) {
	p.raw("<h2>What was read</h2>\n")
	p.table("Account", "Id", "When", "Shops", "Workers", "Stores", "Calls", "")
	for _, a := range r.Accounts {
		p.row("", a.Name, a.ID, moment(a.At), fmt.Sprint(a.Shops), fmt.Sprint(a.Workers), fmt.Sprint(a.Stores), fmt.Sprint(a.Calls), a.Error)
	}
	p.end()
}
