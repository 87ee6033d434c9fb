package d1

import (
	"fmt"
	"slices"
	"strings"
)

// differ tells what became of a live table: now is its description after a statement, or after a file that rebuilt it.
// Only in an ALTER can a column have another name and be the same.
func (r *rehearser) differ(f *fileRun, at site, l *liveTable, now *tableInfo, alter bool) {
	d := &difference{r: r, f: f, at: at, l: l, was: l.now, now: now, renamed: map[string]string{}}
	if alter && len(d.was.columns) == len(now.columns) {
		for i, c := range d.was.columns {
			if other := now.columns[i]; !strings.EqualFold(c.name, other.name) && now.column(c.name) == nil && d.was.column(other.name) == nil {
				d.rename(c.name, other.name)
			}
		}
	}
	d.kind()
	d.columns()
	d.uniques()
	d.checks()
	d.foreignKeys()
}

// difference is the comparison of one table with what it was.
type difference struct {
	r        *rehearser
	f        *fileRun
	at       site
	l        *liveTable
	was, now *tableInfo
	renamed  map[string]string // lower case, old name → new name
}

func (d *difference) note(c change) {
	c.at = d.at
	d.f.changes = append(d.f.changes, c)
}

// live is the name that the live database has for a present column; "" when it is new.
func (d *difference) live(column string) string { return d.l.columns[lower(column)] }

// depends notes a condition that live rows must not meet. nulls says that it is about values that are missing: made-up
// rows have them too, and may show that the file deals with them.
func (d *difference) depends(message, where string, nulls bool) {
	question := "SELECT count(*) FROM " + quoteName(d.l.origin.name)
	if where != "" {
		question += " WHERE " + where
	}
	d.r.ask(risk{kind: depends, rule: "migration-data-dependent", at: d.at, message: message, nulls: nulls, mended: d.l.written}, question)
}

func (d *difference) rename(from, to string) {
	d.renamed[lower(from)] = to
	d.note(change{text: fmt.Sprintf("renames column %s.%s to %s", d.was.name, from, to), expands: true, retires: true})
	if old := d.live(from); old != "" {
		delete(d.l.columns, lower(from))
		d.l.columns[lower(to)] = old
		d.r.out.Dropped = append(d.r.out.Dropped, Dropped{Table: d.l.origin.name, Column: old})
	}
}

// kind compares what stands behind the parentheses of CREATE TABLE.
func (d *difference) kind() {
	_, was := definitions(d.was.sql)
	_, now := definitions(d.now.sql)
	if was == now {
		return
	}
	text := fmt.Sprintf("declares table %s as %s, which was %s", d.now.name, orNone(now), orNone(was))
	d.note(change{text: text})
	if strings.Contains(now, "strict") && !strings.Contains(was, "strict") {
		d.r.ask(risk{kind: depends, rule: "migration-data-dependent", at: d.at, message: text, mended: d.l.written}, "")
	}
}

func (d *difference) columns() {
	for _, was := range d.was.columns {
		name := was.name
		if to, ok := d.renamed[lower(name)]; ok {
			name = to
		}
		now := d.now.column(name)
		full := d.now.name + "." + was.name
		if now == nil {
			d.dropped(was, full)
			continue
		}
		old := d.live(name)
		switch {
		case now.notNull && !was.notNull && now.pk == 0:
			d.note(change{text: "forbids NULL in " + full, retires: old != ""})
			if old != "" {
				d.depends("forbids NULL in "+full, quoteName(old)+" IS NULL", true)
			}
		case was.notNull && !now.notNull:
			d.note(change{text: "allows NULL in " + full, expands: true})
		}
		switch {
		case was.hasDefault && !now.hasDefault && now.notNull:
			d.note(change{text: "takes the default of " + full + " away", retires: old != ""})
		case normalise(was.def) != normalise(now.def):
			d.note(change{text: fmt.Sprintf("changes the default of %s from %s to %s", full, orNone(was.def), orNone(now.def))})
		}
		if !strings.EqualFold(was.kind, now.kind) {
			d.note(change{text: fmt.Sprintf("changes the type of %s from %s to %s", full, orNone(was.kind), orNone(now.kind))})
		}
	}
	for _, now := range d.now.columns {
		isNew := d.was.column(now.name) == nil && !slices.ContainsFunc(sortedKeys(d.renamed), func(k string) bool { return strings.EqualFold(d.renamed[k], now.name) })
		if !isNew {
			continue
		}
		full := d.now.name + "." + now.name
		if now.notNull && !now.hasDefault && !now.generated && now.pk == 0 {
			d.note(change{text: "adds column " + full + ", NOT NULL without a default", expands: true, retires: true})
			d.depends("adds column "+full+", NOT NULL without a default", "", true)
			continue
		}
		d.note(change{text: "adds column " + full, expands: true})
	}
}

func (d *difference) dropped(was column, full string) {
	old := d.live(was.name)
	d.note(change{text: "drops column " + full, retires: old != ""})
	if old == "" {
		return
	}
	delete(d.l.columns, lower(was.name))
	d.r.out.Dropped = append(d.r.out.Dropped, Dropped{Table: d.l.origin.name, Column: old})
	if was.generated {
		return // its values are made of others
	}
	d.r.ask(risk{kind: destroys, rule: "migration-destructive", at: d.at, message: "drops column " + full, excused: d.f.directives.destructive != ""},
		"SELECT count("+quoteName(old)+") FROM "+quoteName(d.l.origin.name))
}

func (d *difference) uniques() {
	has := func(t *tableInfo, key string) bool {
		return slices.ContainsFunc(t.uniques, func(u unique) bool { return u.key() == key })
	}
	for _, u := range d.now.uniques {
		if has(d.was, u.key()) {
			continue
		}
		text := fmt.Sprintf("wants %s of %s to be unique", columnList(u.columns), d.now.name)
		var old, conditions []string
		for i, c := range u.columns {
			if name := d.live(c); name != "" {
				old = append(old, quoteName(name)+" COLLATE "+quoteName(u.collations[i]))
				conditions = append(conditions, quoteName(name)+" IS NOT NULL")
			}
		}
		if len(old) < len(u.columns) {
			d.note(change{text: text}) // no row has a value there yet, or it is an expression
			if slices.Contains(u.columns, "") {
				d.r.ask(risk{kind: depends, rule: "migration-data-dependent", at: d.at, message: text}, "")
			}
			continue
		}
		d.note(change{text: text, retires: true})
		if u.where != "" {
			conditions = append(conditions, "("+u.where+")")
		}
		d.r.ask(risk{kind: depends, rule: "migration-data-dependent", at: d.at, message: text, mended: d.l.written},
			fmt.Sprintf("SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM %s WHERE %s GROUP BY %s HAVING count(*) > 1)",
				quoteName(d.l.origin.name), strings.Join(conditions, " AND "), strings.Join(old, ", ")))
	}
	for _, u := range d.was.uniques {
		gone := false
		for _, c := range u.columns {
			gone = gone || d.now.column(c) == nil
		}
		if !gone && !has(d.now, u.key()) {
			d.note(change{text: fmt.Sprintf("no longer wants %s of %s to be unique", columnList(u.columns), d.now.name), unclear: true})
		}
	}
}

// checks compares CHECK constraints. One that only allows more literals than before is wider.
func (d *difference) checks() {
	added, removed := without(d.now.checks, d.was.checks), without(d.was.checks, d.now.checks)
	if len(added) == 1 && len(removed) == 1 {
		text := fmt.Sprintf("changes CHECK (%s) of %s to (%s)", removed[0], d.now.name, added[0])
		switch wider(removed[0], added[0]) {
		case 1:
			d.note(change{text: text, expands: true})
			return
		case -1:
			d.note(change{text: text, retires: true})
		default:
			d.note(change{text: text, unclear: true})
		}
		d.checked(added[0], text)
		return
	}
	for _, c := range removed {
		d.note(change{text: fmt.Sprintf("drops CHECK (%s) of %s", c, d.now.name)})
	}
	for _, c := range added {
		text := fmt.Sprintf("adds CHECK (%s) to %s", c, d.now.name)
		concerns := false
		for _, p := range pieces(c) {
			concerns = concerns || p.kind == wordToken && d.live(c[p.from:p.to]) != ""
		}
		d.note(change{text: text, retires: concerns})
		if concerns {
			d.checked(c, text)
		}
	}
}

func (d *difference) checked(check, text string) { d.depends(text, "NOT ("+check+")", false) }

// wider says whether a condition b differs from a only by having more literals (1), fewer (-1) or otherwise (0).
func wider(a, b string) int {
	restA, setA := literals(a)
	restB, setB := literals(b)
	switch {
	case restA != restB:
	case len(without(setA, setB)) == 0:
		return 1
	case len(without(setB, setA)) == 0:
		return -1
	}
	return 0
}

// literals takes the elements of IN (…) lists out of a condition.
func literals(condition string) (rest string, set []string) {
	list := pieces(condition)
	var b strings.Builder
	for i := 0; i < len(list); i++ {
		text := condition[list[i].from:list[i].to]
		if list[i].is(condition, "in") && i+1 < len(list) && list[i+1].kind == openToken {
			j := i + 2
			var found []string
			for ; j < len(list) && (list[j].kind == quoteToken || list[j].kind == otherToken); j++ {
				if t := condition[list[j].from:list[j].to]; t != "," {
					found = append(found, t)
				}
			}
			if j < len(list) && list[j].kind == closeToken {
				set = append(set, found...)
				b.WriteString(" in ()")
				i = j
				continue
			}
		}
		b.WriteString(" " + text)
	}
	return b.String(), set
}

func (d *difference) foreignKeys() {
	key := func(k foreignKey) string { return lower(strings.Join(k.columns, ",") + ">" + k.table) }
	for _, k := range d.now.keys {
		if i := slices.IndexFunc(d.was.keys, func(o foreignKey) bool { return key(o) == key(k) }); i >= 0 {
			if o := d.was.keys[i]; o.onDelete != k.onDelete || o.onUpdate != k.onUpdate {
				d.note(change{text: fmt.Sprintf("makes rows of %s follow those of %s by ON DELETE %s, ON UPDATE %s", d.now.name, k.table, k.onDelete, k.onUpdate), unclear: true})
			}
			continue
		}
		text := fmt.Sprintf("wants %s of %s to refer to %s", columnList(k.columns), d.now.name, k.table)
		if len(k.columns) != 1 || d.live(k.columns[0]) == "" {
			d.note(change{text: text})
			continue
		}
		d.note(change{text: text, retires: true})
		parent := d.r.live[lower(k.table)]
		if parent == nil || len(parent.origin.columns) == 0 {
			d.r.ask(risk{kind: depends, rule: "migration-data-dependent", at: d.at, message: text}, "")
			continue
		}
		to := primaryKey(parent.origin)
		if len(k.parents) == 1 {
			to = k.parents[0]
		}
		child := "c." + quoteName(d.live(k.columns[0]))
		d.r.ask(risk{kind: depends, rule: "migration-data-dependent", at: d.at, message: text, mended: d.l.written},
			fmt.Sprintf("SELECT count(*) FROM %s AS c WHERE %s IS NOT NULL AND NOT EXISTS (SELECT 1 FROM %s AS p WHERE p.%s = %s)",
				quoteName(d.l.origin.name), child, quoteName(parent.origin.name), quoteName(to), child))
	}
}

func primaryKey(t *tableInfo) string {
	for _, c := range t.columns {
		if c.pk == 1 {
			return c.name
		}
	}
	return "rowid"
}

// without is the elements of a that b lacks.
func without(a, b []string) []string {
	var out []string
	for _, x := range a {
		if !slices.Contains(b, x) {
			out = append(out, x)
		}
	}
	return out
}

func columnList(columns []string) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		if names[i] = c; c == "" {
			names[i] = "an expression"
		}
	}
	return strings.Join(names, ", ")
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
