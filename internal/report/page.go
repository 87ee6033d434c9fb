package report

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"strings"
)

// This file is the shell of every page that people open in a browser: its looks, what tables can do, and what the page may
// load, which is nothing. A page is written with a page value:
//
//	p := newPage("Status of the fleet", true)
//	p.table(...); p.row(...); p.end()
//	io.WriteString(w, p.finish())
//
// Without its script a page is whole: headings, tables, links. The script adds sorting, filtering and the counts, so that
// what it does not do for somebody hides nothing from them. Nothing in a page has a style or an event attribute: its policy
// (PagePolicy) names the one style and the one script that may run, by their digests.

// pageStyle is all the looks of a page: nothing is loaded from anywhere.
const pageStyle = `:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--soft:#57606a;--line:#d0d7de;--bad:#b3261e;--warn:#8a5a00;--good:#1a7f37;--band:#f6f8fa;--mark:#0b5cad;--s1:#0b5cad;--s2:#9a4d00;--s3:#1a7f37;--s4:#7a3e9d}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#0d1117;--soft:#9da7b1;--line:#3d444d;--bad:#ff7b72;--warn:#e3b341;--good:#56d364;--band:#161b22;--mark:#6cb6ff;--s1:#6cb6ff;--s2:#f0a35e;--s3:#56d364;--s4:#d2a8ff}}
*{box-sizing:border-box}body{margin:0 auto;max-width:90rem;padding:2rem 1.25rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
h1{font-size:1.6rem;margin:0 0 .25rem}h2{font-size:1.2rem;margin:2.25rem 0 .5rem}h3{font-size:1rem;margin:1.25rem 0 .25rem}p{margin:.4rem 0}a{color:var(--mark)}.soft{color:var(--soft)}tr.hit td{color:var(--bad)}
.verdict{font-size:1.15rem;font-weight:600;border-left:.3rem solid;padding-left:.75rem}.good{color:var(--good)}.bad,.error{color:var(--bad)}.warn,.warning{color:var(--warn)}.notice{color:var(--soft)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9rem}th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid var(--line);overflow-wrap:anywhere;white-space:pre-line}
td p:first-child{margin-top:0}td p:last-child{margin-bottom:0}td.why{min-width:16rem}td.brief{min-width:6.5rem}thead th{background:var(--band);white-space:nowrap}tbody th{font-weight:600}code{font:.92em ui-monospace,monospace;overflow-wrap:anywhere}.number{text-align:right;white-space:nowrap;overflow-wrap:normal;font-variant-numeric:tabular-nums}
nav{display:flex;flex-wrap:wrap;gap:.35rem 1rem;margin:0 0 1rem}.tiles{display:flex;flex-wrap:wrap;gap:.6rem;margin:1rem 0;padding:0;list-style:none}.tiles li{border:1px solid var(--line);border-radius:.4rem;background:var(--band);padding:.45rem .8rem;min-width:6.5rem}.tiles b{display:block;font-size:1.35rem;line-height:1.25;font-variant-numeric:tabular-nums}
.tools{display:flex;flex-wrap:wrap;gap:.5rem;align-items:center;margin:.75rem 0}.tools input{flex:1 1 14rem;max-width:28rem;font:inherit;padding:.4rem .6rem;color:inherit;background:var(--paper);border:1px solid var(--soft);border-radius:.4rem}
button{font:inherit;color:inherit;background:none;border:0;cursor:pointer}.tools button{border:1px solid var(--line);border-radius:1rem;padding:.25rem .8rem;background:var(--band)}.tools button[aria-pressed=true]{background:var(--mark);border-color:var(--mark);color:var(--paper)}
th button{padding:0;font-weight:inherit;text-align:inherit;white-space:nowrap}th[aria-sort] button::after{content:" ↕";color:var(--soft)}th[aria-sort=ascending] button::after{content:" ↑";color:inherit}th[aria-sort=descending] button::after{content:" ↓";color:inherit}
button:focus-visible,input:focus-visible,a:focus-visible,.wide:focus-visible{outline:.15rem solid var(--mark);outline-offset:.1rem}[hidden]{display:none!important}.sr{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
figure{margin:1rem 0;overflow-x:auto}figcaption{color:var(--soft);font-size:.9rem}svg{display:block;max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:var(--ink)}svg .axis{stroke:var(--line)}svg .s1{fill:var(--s1)}svg .s2{fill:var(--s2)}svg .s3{fill:var(--s3)}svg .s4{fill:var(--s4)}svg .over{fill:var(--bad)}svg .limit{stroke:var(--bad);stroke-dasharray:4 3}
@media (max-width:48rem){svg{max-width:none}body{padding:1rem .75rem}h1{font-size:1.35rem}.tiles{gap:.35rem}.tiles li{flex:1 1 5rem;min-width:5rem;padding:.3rem .6rem}.tools button,th button{min-height:2.75rem}td.why,td.brief{min-width:0}.tools input{min-height:2.75rem;max-width:none;flex-basis:100%}
table.cards,.cards tbody,.cards tr,.cards td,.cards tbody th{display:block}.cards thead tr{display:flex;flex-wrap:wrap;gap:0 1rem}.cards thead th{border:0;background:none;padding:0 .2rem}.cards thead th:not([aria-sort]){display:none}
.cards tbody tr{border:1px solid var(--line);border-radius:.4rem;margin:.6rem 0;padding:.4rem .7rem}.cards td,.cards tbody th{border:0;padding:.15rem 0}.cards tbody th{font-size:1.05rem}.cards td[data-label]{display:grid;grid-template-columns:7.5rem minmax(0,1fr);gap:.5rem;text-align:left}.cards td[data-label]::before{content:attr(data-label);color:var(--soft)}.cards td.none{display:none}}
@media (prefers-reduced-motion:no-preference){.tools button{transition:background .1s}}
@media print{:root{--ink:#000;--paper:#fff;--soft:#444;--line:#bbb;--bad:#900;--warn:#640;--good:#063;--band:#eee}body{max-width:none;padding:0;font-size:10pt}tr{break-inside:avoid}thead{display:table-header-group}h2{break-after:avoid}.wide{overflow:visible}.tools{display:none}}
`

// pageScript sorts and filters the tables of class "live". A cell is ordered by its data-sort, or by its text; what is a
// number in both is compared as numbers, and what is empty comes last either way. The third press of a heading brings the
// page's own order back. The filter takes rows that have all its words; a chip takes rows whose data-tags have its word.
// Both stand behind the # of the address, so that a view can be sent to somebody.
const pageScript = `"use strict";
for (const table of document.querySelectorAll("table.live")) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const fold = s => s.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  rows.forEach((row, i) => { row.order = i; row.words = fold([...row.cells].map(c => c.textContent).join(" ")); });
  const key = (row, i) => { const c = row.cells[i]; return (c.dataset.sort ?? c.textContent).trim(); };
  const compare = new Intl.Collator("en", {numeric: true}).compare;
  const order = (head, i, way) => {
    for (const h of heads) if (h.hasAttribute("aria-sort")) h.setAttribute("aria-sort", h === head ? way : "none");
    const turn = way === "descending" ? -1 : 1;
    body.append(...[...rows].sort((a, b) => {
      if (way === "none") return a.order - b.order;
      const x = key(a, i), y = key(b, i);
      if (x === "" || y === "") return (x === "") - (y === "") || a.order - b.order;
      const n = x - y;
      return turn * (Number.isNaN(n) ? compare(x, y) : n) || a.order - b.order;
    }));
  };
  const next = {none: "ascending", ascending: "descending", descending: "none"};
  heads.forEach((head, i) => {
    if (head.textContent.trim() === "") return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => order(head, i, next[head.getAttribute("aria-sort")]));
  });
  const tools = document.getElementById(table.id + "-tools");
  if (!tools) continue;
  const input = tools.querySelector("input"), count = tools.querySelector("[role=status]"), chips = [...tools.querySelectorAll("button")];
  const filter = () => {
    const words = fold(input.value).split(/\s+/).filter(Boolean), chip = chips.find(c => c.getAttribute("aria-pressed") === "true");
    let shown = 0;
    for (const row of rows) {
      row.hidden = !words.every(w => row.words.includes(w)) || !!chip && !(row.dataset.tags ?? "").split(" ").includes(chip.dataset.tag);
      shown += !row.hidden;
    }
    count.textContent = shown + " of " + rows.length;
    return chip;
  };
  const keep = () => {
    const chip = filter(), at = new URLSearchParams();
    if (input.value) at.set("q", input.value);
    if (chip) at.set("only", chip.dataset.tag);
    try { history.replaceState(null, "", at.size ? "#" + at : location.href.split("#")[0]); } catch {}
  };
  const restore = () => {
    const at = new URLSearchParams(location.hash.slice(1));
    input.value = at.get("q") ?? "";
    for (const c of chips) c.setAttribute("aria-pressed", String(c.dataset.tag === at.get("only")));
    filter();
  };
  input.addEventListener("input", keep);
  for (const c of chips) c.addEventListener("click", () => {
    const on = c.getAttribute("aria-pressed") !== "true";
    for (const other of chips) other.setAttribute("aria-pressed", String(on && other === c));
    keep();
  });
  addEventListener("hashchange", restore);
  tools.hidden = false;
  restore();
}
for (const t of document.querySelectorAll("time")) {
  const at = new Date(t.dateTime);
  if (!Number.isNaN(at.getTime())) t.title = at.toLocaleString();
}
`

// source is what a Content-Security-Policy calls a text that stands in the page.
func source(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// PagePolicy is the Content-Security-Policy of the pages, as they state it themselves; whoever serves one sends it as a
// header too, with frame-ancestors 'none' behind it, which only a header can say. It lets nothing be loaded or sent from a page.
func PagePolicy() string { return pagePolicy(true) }

func pagePolicy(script bool) string {
	policy := "default-src 'none'; style-src " + source(pageStyle)
	if script {
		policy += "; script-src " + source(pageScript)
	}
	return policy + "; base-uri 'none'; form-action 'none'"
}

// Link leads from a page to another one, for whoever serves them. A page on disk has none.
type Link struct{ Text, Address string }

// page is HTML under work. Everything from the user's world goes through text.
type page struct {
	b      strings.Builder
	script bool
	labels []string // heads of the table under work, where its rows may become cards
	cell   int
}

// newPage begins a page; with script its tables of class "live" can be sorted and filtered.
func newPage(title string, script bool, links ...Link) *page {
	p := &page{script: script}
	p.raw(`<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">`)
	p.raw(`<meta http-equiv="Content-Security-Policy" content="` + pagePolicy(script) + `"><meta name="referrer" content="no-referrer">`)
	p.raw("<title>").text(title).raw("</title><style>" + pageStyle + "</style></head><body>\n")
	if len(links) > 0 {
		p.raw("<nav>")
		for _, l := range links {
			p.link(l.Address, l.Text)
		}
		p.raw("</nav>\n")
	}
	return p
}

// finish ends the page and is all of it.
func (p *page) finish() string {
	if p.script {
		p.raw("<script>" + pageScript + "</script>")
	}
	p.raw("</body></html>\n")
	return p.b.String()
}

func (p *page) raw(s string) *page {
	p.b.WriteString(s)
	return p
}

func (p *page) text(s string) *page {
	p.b.WriteString(html.EscapeString(cleanText(s)))
	return p
}

// link leads to an address of the web, or of the same site; of any other address, such as one that would run a script, only the text stays.
func (p *page) link(address, text string) *page {
	same := strings.HasPrefix(address, "/") && !strings.HasPrefix(address, "//") && !strings.HasPrefix(address, `/\`)
	if !same && !strings.HasPrefix(address, "https://") {
		return p.text(text)
	}
	return p.raw(`<a href="`).text(address).raw(`">`).text(text).raw("</a>")
}

// row is a table's row of plain texts; class is one of pageStyle's, or "".
func (p *page) row(class string, cells ...string) {
	p.raw("<tr")
	if class != "" {
		p.raw(` class="` + class + `"`)
	}
	p.raw(">")
	for _, c := range cells {
		p.raw("<td>").text(c).raw("</td>")
	}
	p.raw("</tr>\n")
}

// table begins a table; its caller ends it.
func (p *page) table(heads ...string) {
	p.raw(`<div class="wide"><table>`)
	p.heads(heads)
}

// tag is a word that a row of a live table may have, and what the button is called that shows only those.
type tag struct{ word, text string }

// live begins a table that can be sorted and, with its tools, filtered; on a phone its rows become cards. The id is ours, and
// one in the page. Rows are made with begin, cell and done.
func (p *page) live(id, caption string, tags []tag, heads ...string) {
	p.labels = heads
	p.raw(`<div class="tools" id="` + id + `-tools" hidden><label class="sr" for="` + id + `-filter">Filter</label><input type="search" id="` + id + `-filter" placeholder="Filter" autocomplete="off" spellcheck="false">`)
	for _, t := range tags {
		p.raw(`<button type="button" aria-pressed="false" data-tag="`).text(t.word).raw(`">`).text(t.text).raw("</button>")
	}
	p.raw(`<span role="status" class="soft"></span></div>` + "\n" + `<div class="wide" role="region" tabindex="0" aria-label="`).text(caption).raw(`"><table class="live cards" id="` + id + `"><caption class="sr">`).text(caption).raw("</caption>")
	p.heads(heads)
}

func (p *page) heads(heads []string) {
	p.raw("<thead><tr>")
	for _, h := range heads {
		p.raw(`<th scope="col">`).text(h).raw("</th>")
	}
	p.raw("</tr></thead><tbody>\n")
}

// begin begins a row of a live table, with its tags; done ends it.
func (p *page) begin(tags ...string) {
	p.cell = 0
	p.raw("<tr")
	if len(tags) > 0 {
		p.raw(` data-tags="`).text(strings.Join(tags, " ")).raw(`"`)
	}
	p.raw(">")
}

// unsorted is the sort of a cell that comes last whichever way its column is sorted.
const unsorted = " "

// td is a cell of a live table: the first is the row's heading. It is sorted by sort, or by its text where that is "", and
// class is one of pageStyle's, or "". inside writes what is in it; nil leaves it empty, which a phone does not show.
func (p *page) td(class, sort string, inside func()) {
	element, label := "td", ""
	if p.cell == 0 {
		element = "th"
	} else if p.cell < len(p.labels) {
		label = p.labels[p.cell]
	}
	p.cell++
	p.raw("<" + element)
	if element == "th" {
		p.raw(` scope="row"`)
	}
	if inside == nil {
		class = strings.TrimSpace(class + " none")
	}
	if class != "" {
		p.raw(` class="` + class + `"`)
	}
	if label != "" {
		p.raw(` data-label="`).text(label).raw(`"`)
	}
	if sort != "" {
		p.raw(` data-sort="`).text(sort).raw(`"`)
	}
	p.raw(">")
	if inside != nil {
		// On a phone the cell is a grid of its label and one other thing.
		p.raw("<div>")
		inside()
		p.raw("</div>")
	}
	p.raw("</" + element + ">")
}

// plain is a cell of text alone.
func (p *page) plain(class, sort, text string) {
	if text == "" {
		p.td(class, sort, nil)
		return
	}
	p.td(class, sort, func() { p.text(text) })
}

func (p *page) done() { p.raw("</tr>\n") }

func (p *page) end() { p.raw("</tbody></table></div>\n") }
