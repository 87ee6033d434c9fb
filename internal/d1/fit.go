package d1

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Fit is how well code that was written for one schema gets on with another one.
type Fit struct {
	// Lacks is what makes a statement fail, or write something else, that was fine before; one line each, sorted. The
	// statements are taken to name their columns, and the tables of those where several tables are joined: any new column
	// could break the others.
	Lacks []string
	// While is what does so only while a table has rows, which a schema does not tell.
	While []Occupied
}

// Occupied is something that matters only while a table has rows.
type Occupied struct{ Table, Text string }

// FitFiles compares the schema that files make of an empty database, which the code of their commit was written for, with
// a live one. leaveOut are tables that no file makes. Files that D1 would refuse on their own are an ErrRefused.
//
// It is careful: what it cannot prove harmless is lacking. Names and constraints are compared; and rows that the old schema
// takes are written to a copy of the new one, in which its triggers run.
func FitFiles(ctx context.Context, files []Migration, live []Object, leaveOut ...string) (Fit, error) {
	was, err := Open("")
	if err != nil {
		return Fit{}, err
	}
	defer was.Close()
	for _, f := range files {
		if err := was.shape(ctx, f); err != nil {
			var refused *failure
			if errors.As(err, &refused) {
				return Fit{}, fmt.Errorf("%w: %w", ErrRefused, err)
			}
			return Fit{}, err
		}
	}
	old, err := was.Objects(ctx)
	if err != nil {
		return Fit{}, err
	}
	return fitObjects(ctx, old, live, leaveOut)
}

func fitObjects(ctx context.Context, old, live []Object, leaveOut []string) (Fit, error) {
	var f fitting
	var err error
	if f.was, err = SchemaOf(ctx, old, leaveOut...); err != nil {
		return Fit{}, err
	}
	if f.now, err = SchemaOf(ctx, live, leaveOut...); err != nil {
		return Fit{}, err
	}
	if f.was.Fingerprint() == f.now.Fingerprint() {
		return Fit{}, nil
	}
	f.live = live
	f.compare(old, live)
	if err := f.probe(ctx, old, live); err != nil {
		return Fit{}, err
	}
	slices.Sort(f.out.Lacks)
	f.out.Lacks = slices.Compact(f.out.Lacks)
	sort.Slice(f.out.While, func(i, j int) bool {
		return f.out.While[i].Table+"\x00"+f.out.While[i].Text < f.out.While[j].Table+"\x00"+f.out.While[j].Text
	})
	f.out.While = slices.Compact(f.out.While)
	return f.out, nil
}

// fitting is one comparison.
type fitting struct {
	was, now *Schema
	live     []Object
	out      Fit
}

func (f *fitting) lack(format string, args ...any) {
	f.out.Lacks = append(f.out.Lacks, fmt.Sprintf(format, args...))
}

func (s *Schema) table(name string) *tableInfo {
	for _, t := range s.tables {
		if strings.EqualFold(t.name, name) {
			return t
		}
	}
	return nil
}

func (f *fitting) compare(old, live []Object) {
	for _, t := range f.was.tables {
		n := f.now.table(t.name)
		switch {
		case n == nil:
			f.lack("%s %s is gone", kindOf(t), t.name)
		case t.view != n.view:
			f.lack("%s is a %s now", t.name, kindOf(n))
		case t.view:
			f.view(t, n)
		case t.module != "" || n.module != "":
			if normalise(t.sql) != normalise(n.sql) {
				f.lack("virtual table %s is another one", t.name)
			}
		default:
			f.table(t, n)
		}
	}
	f.triggers(old, live)
	for _, n := range f.now.tables {
		if f.was.table(n.name) == nil {
			for _, k := range n.keys {
				f.child(n, k)
			}
		}
	}
}

func kindOf(t *tableInfo) string {
	if t.view {
		return "view"
	}
	return "table"
}

func (f *fitting) view(t, n *tableInfo) {
	if n.broken != "" && t.broken == "" {
		f.lack("view %s does not work: %s", t.name, n.broken)
		return
	}
	for _, c := range t.columns {
		if n.column(c.name) == nil {
			f.lack("column %s of view %s is gone", c.name, t.name)
		}
	}
}

// table compares a table with what it is now.
func (f *fitting) table(t, n *tableInfo) {
	_, suffix := definitions(t.sql)
	if _, now := definitions(n.sql); suffix != now || t.rowid != n.rowid {
		f.lack("table %s is made another way (%s)", t.name, orNone(now))
	}
	for _, c := range t.columns {
		now := n.column(c.name)
		if now == nil {
			f.lack("column %s.%s is gone", t.name, c.name)
			continue
		}
		f.column(t, c, *now)
	}
	for _, c := range n.columns {
		// NULL is no value that a NOT NULL column takes, also as a default.
		if t.column(c.name) == nil && !c.generated && c.notNull && (!c.hasDefault || strings.EqualFold(strings.Trim(c.def, "() "), "null")) {
			f.lack("column %s.%s is new, must have a value and has no default", t.name, c.name)
		}
	}
	f.uniques(t, n)
	for _, check := range n.checks {
		// One that is about new columns alone sees their defaults, which the probe tries.
		if !slices.Contains(t.checks, check) && slices.ContainsFunc(t.columns, func(c column) bool { return mentions(check, c.name) }) {
			f.lack("table %s has a new check: %s", t.name, check)
		}
	}
	for _, k := range n.keys {
		if !slices.ContainsFunc(t.keys, func(o foreignKey) bool { return sameKey(o, k) }) {
			f.key(t, n, k)
		}
	}
	collations := collationsOf(n)
	for name, was := range collationsOf(t) {
		if c := n.column(name); c != nil && collations[name] != was {
			f.lack("column %s.%s is compared another way (%s)", t.name, c.name, orNone(collations[name]))
		}
	}
}

func (f *fitting) column(t *tableInfo, was, now column) {
	label := "column " + t.name + "." + was.name
	switch {
	case was.generated != now.generated:
		f.lack("%s is computed in one of the two and not in the other", label)
	case !was.notNull && now.notNull && now.pk == 0:
		f.lack("%s must have a value now", label)
	case !strings.EqualFold(was.kind, now.kind):
		f.lack("%s is %s now, and was %s", label, orNone(now.kind), orNone(was.kind))
	case was.pk != now.pk:
		f.lack("the primary key of %s is another one", t.name)
	case was.hasDefault != now.hasDefault || normalise(was.def) != normalise(now.def):
		if !was.hasDefault && !was.notNull && was.pk == 0 || was.hasDefault {
			f.lack("%s has another default (%s)", label, orNone(now.def))
		}
	}
}

// uniques compares what must be unique. One that went makes ON CONFLICT fail, one that came refuses rows.
func (f *fitting) uniques(t, n *tableInfo) {
	has := func(list []unique, u unique) bool {
		return slices.ContainsFunc(list, func(o unique) bool { return o.key() == u.key() })
	}
	for _, u := range t.uniques {
		if !has(n.uniques, u) {
			f.lack("(%s) of %s is not unique any more", strings.Join(u.columns, ", "), t.name)
		}
	}
	for _, u := range n.uniques {
		// Rows of the old code leave a new column without a default NULL, and NULLs are different from each other.
		harmless := slices.ContainsFunc(u.columns, func(name string) bool {
			c := n.column(name)
			return c != nil && t.column(name) == nil && !c.hasDefault && !c.notNull && !c.generated
		})
		if !has(t.uniques, u) && !harmless {
			f.lack("(%s) of %s must be unique now", strings.Join(u.columns, ", "), t.name)
		}
	}
}

func sameKey(a, b foreignKey) bool {
	return lower(strings.Join(a.columns, ",")) == lower(strings.Join(b.columns, ",")) && lower(strings.Join(a.parents, ",")) == lower(strings.Join(b.parents, ",")) &&
		strings.EqualFold(a.table, b.table) && a.onDelete == b.onDelete && a.onUpdate == b.onUpdate
}

// key is a foreign key that a table has now and had not.
func (f *fitting) key(t, n *tableInfo, k foreignKey) {
	fresh := slices.ContainsFunc(k.columns, func(name string) bool {
		c := n.column(name)
		return c != nil && t.column(name) == nil && !c.hasDefault && !c.notNull && !c.generated
	})
	if !fresh {
		f.lack("%s of %s must refer to a row of %s now", columnList(k.columns), t.name, k.table)
		return
	}
	f.child(n, k) // rows of the new code refer to others
}

// child is a reference that only the new code makes: the old one does not know that it stands in the way of what it
// deletes or renumbers.
func (f *fitting) child(n *tableInfo, k foreignKey) {
	if f.was.table(k.table) == nil || n.view {
		return
	}
	if f.yields(n, k) {
		return
	}
	f.out.While = append(f.out.While, Occupied{n.name, fmt.Sprintf("rows of %s refer to %s, so that what they refer to cannot be deleted there", n.name, k.table)})
}

// yields says whether rows of a new table follow what happens to those they refer to, whatever stands in them: they go, or
// lose the reference, and neither a constraint, a trigger nor another reference has anything against it.
func (f *fitting) yields(n *tableInfo, k foreignKey) bool {
	nulls := k.onDelete == "SET NULL" || k.onUpdate == "SET NULL"
	for _, action := range []string{k.onDelete, k.onUpdate} {
		if action != "CASCADE" && action != "SET NULL" {
			return false
		}
	}
	for _, name := range k.columns {
		c := n.column(name)
		if c == nil || nulls && (c.notNull || c.pk > 0) || slices.ContainsFunc(n.checks, func(check string) bool { return mentions(check, name) }) {
			return false
		}
	}
	refers := func(o *tableInfo) bool {
		return slices.ContainsFunc(o.keys, func(k foreignKey) bool { return strings.EqualFold(k.table, n.name) })
	}
	return !slices.ContainsFunc(f.now.tables, refers) &&
		!slices.ContainsFunc(f.live, func(o Object) bool { return o.Type == "trigger" && strings.EqualFold(o.Table, n.name) })
}

// triggers compares those of the tables that the old code knows.
func (f *fitting) triggers(old, live []Object) {
	find := func(list []Object, name string) *Object {
		for i, o := range list {
			if o.Type == "trigger" && strings.EqualFold(o.Name, name) {
				return &list[i]
			}
		}
		return nil
	}
	for _, o := range old {
		if o.Type != "trigger" || f.was.table(o.Table) == nil || f.now.table(o.Table) == nil {
			continue
		}
		if n := find(live, o.Name); n == nil {
			f.lack("trigger %s of %s is gone", o.Name, o.Table)
		} else if normalise(n.SQL) != normalise(o.SQL) {
			f.lack("trigger %s of %s is another one", o.Name, o.Table)
		}
	}
	for _, n := range live {
		if n.Type == "trigger" && f.was.table(n.Table) != nil && find(old, n.Name) == nil {
			f.lack("trigger %s is new and runs when %s is written", n.Name, n.Table)
		}
	}
}

// collationsOf are the collations of columns, by name in lower case, where a table names them.
func collationsOf(t *tableInfo) map[string]string {
	out := map[string]string{}
	parts, _ := definitions(t.sql)
	for i, p := range parts {
		if isConstraint(p) || i >= len(t.columns) {
			continue
		}
		out[lower(t.columns[i].name)] = ""
		words := strings.Fields(normalise(p))
		for j, w := range words {
			if w == "collate" && j+1 < len(words) {
				out[lower(t.columns[i].name)] = words[j+1]
			}
		}
	}
	return out
}

// probe writes to a copy of the live schema what the old one takes: rows of its own columns, and changes and deletions of
// them.
func (f *fitting) probe(ctx context.Context, old, live []Object) error {
	was, err := Open("")
	if err != nil {
		return err
	}
	defer was.Close()
	now, err := Open("")
	if err != nil {
		return err
	}
	defer now.Close()
	p := &population{db: was, tables: map[string]*tableInfo{}, rows: map[string][]map[string]any{}}
	err = was.exclusive(ctx, func() error {
		if err := was.build(old, func(o Object) bool { return o.Type == "table" || o.Type == "index" }); err != nil {
			return err
		}
		if err := was.own("PRAGMA foreign_keys=OFF"); err != nil {
			return err
		}
		for _, t := range f.was.tables {
			p.tables[lower(t.name)] = t
		}
		for _, t := range f.was.tables {
			p.fill(t, false)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("making up rows: %w", err)
	}
	before, err := Open("")
	if err != nil {
		return err
	}
	defer before.Close()
	for db, objects := range map[*DB][]Object{before: old, now: live} {
		err := db.exclusive(ctx, func() error {
			if err := db.build(objects, func(Object) bool { return true }); err != nil {
				return err
			}
			// Rows are inserted in any order, and those referred to may be missing: references are compared, not tried.
			return db.own("PRAGMA foreign_keys=OFF")
		})
		if err != nil {
			return fmt.Errorf("building a copy of the schema: %w", err)
		}
	}
	// What the old schema refuses, such as a made-up value that no check takes, the old code does not do.
	fine := func(sql string) bool {
		return before.exclusive(ctx, func() error { return before.step(sql, nil) }) == nil
	}
	return now.exclusive(ctx, func() error {
		for _, t := range f.was.tables {
			n := f.now.table(t.name)
			if n == nil || t.module != "" || n.view != t.view || !sharesColumns(t, n) {
				continue
			}
			for _, sql := range f.statements(t, p) {
				if err := ctx.Err(); err != nil {
					return err
				}
				if !fine(sql) {
					continue
				}
				if err := now.step(sql, nil); err != nil {
					f.lack("%s on %s, which was fine, is refused: %s", verbOf(sql), t.name, viewError(err))
				}
			}
		}
		return nil
	})
}

// sharesColumns says whether all columns of a table are there still: without one, that is told already.
func sharesColumns(t, n *tableInfo) bool {
	return !slices.ContainsFunc(t.columns, func(c column) bool {
		now := n.column(c.name)
		return now == nil || now.generated != c.generated
	})
}

func verbOf(sql string) string {
	verb, _, _ := strings.Cut(sql, " ")
	if verb == "INSERT" || verb == "UPDATE" {
		return "an " + verb
	}
	return "a " + verb
}

// statements are those that the probe tries on a table or view.
func (f *fitting) statements(t *tableInfo, p *population) []string {
	var names, writable []string
	for _, c := range t.columns {
		names = append(names, quoteName(c.name))
		if !c.generated {
			writable = append(writable, c.name)
		}
	}
	table := quoteName(t.name)
	out := []string{"SELECT " + strings.Join(names, ", ") + " FROM " + table}
	if t.view {
		return out
	}
	for _, row := range p.rows[lower(t.name)] {
		var columns, values []string
		for _, name := range writable {
			columns = append(columns, quoteName(name))
			if text, ok := row[lower(name)].(literalText); ok {
				values = append(values, string(text))
			} else {
				values = append(values, literal(row[lower(name)]))
			}
		}
		out = append(out, fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", table, strings.Join(columns, ", "), strings.Join(values, ", ")))
	}
	for _, name := range writable {
		out = append(out, fmt.Sprintf("UPDATE %s SET %s = %s", table, quoteName(name), quoteName(name)))
	}
	return append(out, "DELETE FROM "+table)
}
