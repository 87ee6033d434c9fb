package report

import (
	"fmt"
	"math"
	"strings"
)

// Charts are SVG inside of a page: drawn here, without a script, in the page's colours. Each has a title and a description for
// those who do not see it, every bar its own, and its numbers stand in a table of the page as well.

// bar is a row of a chart: parts of series one after the other.
type bar struct {
	label string
	parts []float64
	note  string // after the bar
	over  bool
}

// beginChart begins a figure; its caller ends the SVG.
func (p *page) beginChart(id, title, description string, width, height int) {
	p.raw(`<figure><svg viewBox="0 0 ` + fmt.Sprint(width) + " " + fmt.Sprint(height) + `" width="` + fmt.Sprint(width) + `" height="` + fmt.Sprint(height) +
		`" role="img" aria-labelledby="` + id + `-title ` + id + `-text"><title id="` + id + `-title">`).text(title).raw(`</title><desc id="` + id + `-text">`).text(description).raw("</desc>\n")
}

func (p *page) endChart(caption string) {
	p.raw("</svg><figcaption>").text(caption).raw("</figcaption></figure>\n")
}

// rectangle is a bar with the words that a pointer on it shows.
func (p *page) rectangle(class string, x, y, width, height float64, words string) {
	p.raw(fmt.Sprintf(`<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>`, class, x, y, max(width, 0.5), max(height, 0.5))).text(words).raw("</title></rect>\n")
}

func (p *page) label(class, anchor string, x, y float64, words string) {
	if class != "" {
		class = ` class="` + class + `"`
	}
	p.raw(fmt.Sprintf(`<text%s x="%.1f" y="%.1f" text-anchor="%s">`, class, x, y, anchor)).text(words).raw("</text>\n")
}

// barChart draws rows of stacked bars, with a legend of the series and a mark at limit (0 for none).
func (p *page) barChart(id, title, description, caption string, series []string, rows []bar, limit float64, words func(float64) string) {
	const width, left, right, step, top = 760, 170, 150, 24, 34
	most := limit
	for _, r := range rows {
		sum := 0.0
		for _, v := range r.parts {
			sum += v
		}
		most = max(most, sum)
	}
	if most <= 0 {
		most = 1
	}
	scale := float64(width-left-right) / most
	height := top + step*len(rows) + 10
	p.beginChart(id, title, description, width, height)
	x := float64(left)
	for i, name := range series {
		p.raw(fmt.Sprintf(`<rect class="s%d" x="%.1f" y="8" width="11" height="11"/>`, i+1, x))
		p.label("", "start", x+15, 18, name)
		x += 30 + 7.5*float64(len(name))
	}
	for i, r := range rows {
		y := float64(top + step*i)
		p.label("", "end", left-8, y+14, clip(Clean(r.label), 24))
		at := float64(left)
		for j, v := range r.parts {
			if v <= 0 {
				continue
			}
			p.rectangle(fmt.Sprintf("s%d", j+1), at, y+3, v*scale, step-8, fmt.Sprintf("%s, %s: %s", r.label, series[j], words(v)))
			at += v * scale
		}
		class := ""
		if r.over {
			class = "over"
		}
		p.label(class, "start", at+6, y+14, r.note)
	}
	if limit > 0 {
		at := left + limit*scale
		p.raw(fmt.Sprintf(`<line class="limit" x1="%.1f" y1="%d" x2="%.1f" y2="%d"><title>`, at, top-4, at, height-6)).text("budget " + words(limit)).raw("</title></line>\n")
	}
	p.endChart(caption)
}

// columnChart draws a column for each label, oldest first.
func (p *page) columnChart(id, title, caption string, labels []string, values []float64, words func(float64) string) {
	const width, height, left, bottom, top = 760, 190, 90, 24, 12
	most, high := 0.0, 0
	for i, v := range values {
		if v > most {
			most, high = v, i
		}
	}
	description := "No use at all."
	if most > 0 {
		description = fmt.Sprintf("%d columns from %s to %s; the highest is %s at %s, the last %s.", len(values), labels[0], labels[len(labels)-1], words(most), labels[high], words(values[len(values)-1]))
	}
	p.beginChart(id, title, description, width, height)
	room := float64(height - bottom - top)
	for i := range 3 {
		y := top + room*float64(i)/2
		p.raw(fmt.Sprintf(`<line class="axis" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/>`, left, y, width, y))
		p.label("", "end", left-8, y+4, words(most*float64(2-i)/2))
	}
	each := float64(width-left) / math.Max(1, float64(len(values)))
	for i, v := range values {
		tall := 0.0
		if most > 0 {
			tall = v / most * room
		}
		if v > 0 {
			p.rectangle("s1", left+each*float64(i)+each*0.1, top+room-tall, each*0.8, tall, labels[i]+": "+words(v))
		}
	}
	if n := len(labels); n > 0 {
		p.label("", "start", left, height-6, labels[0])
		if n > 1 {
			p.label("", "end", width, height-6, labels[n-1])
		}
	}
	p.endChart(caption)
}

// plainNumber is a number without words, for cells that are sorted.
func plainNumber(f float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.6f", f), "0"), ".")
}
