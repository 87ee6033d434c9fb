package d1

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// A schema without rows hides what only rows show: a table that is rebuilt without them, a column that cannot be added
// to a table that has some. So the files run once more on a copy in which every table has two made-up rows: one with NULL
// wherever that is allowed, one with a value everywhere.

// withRows runs the files on populated tables and notes what gets lost there and what fails there only.
func (r *rehearser) withRows(ctx context.Context) error {
	if !slices.ContainsFunc(r.runs, func(f *fileRun) bool { return f.touchesLive }) {
		return nil
	}
	r.file = nil
	// A statement that minds the row of NULLs may accept the other one; so the files get a second chance with that alone.
	// In the end checks are not checked: what gets lost is worth knowing even when made-up rows do not pass them.
	explained := map[*fileRun]bool{}
	for _, rows := range []madeUp{{nulls: true}, {}, {unchecked: true}} {
		failed, err := r.populatedRun(ctx, rows, explained)
		if err != nil {
			return err
		}
		if failed == nil {
			break
		}
	}
	for _, f := range r.runs {
		if f.passed && !f.counted {
			r.uncounted(f)
		}
	}
	return nil
}

// uncounted notes what may get lost in a file that no made-up rows came through.
func (r *rehearser) uncounted(f *fileRun) {
	excused := f.directives.destructive != ""
	for _, name := range sortedKeys(f.emptied) {
		for _, l := range r.tracked {
			if strings.EqualFold(l.now.name, name) {
				message := "deletes rows of " + l.now.name
				f.changes = append(f.changes, change{at: f.emptied[name], text: message, retires: true})
				r.ask(risk{kind: destroys, rule: "migration-destructive", at: f.emptied[name], message: message, excused: excused}, "SELECT count(*) FROM "+quoteName(l.origin.name))
			}
		}
	}
	for _, l := range r.tracked {
		if at, ok := f.rebuilt[l]; ok {
			r.ask(risk{kind: overrules, rule: "migration-overwrites", at: at, message: "whether all rows of " + l.now.name + " come along could not be shown"}, "SELECT count(*) FROM "+quoteName(l.origin.name))
		}
	}
}

// madeUp says what made-up rows are like.
type madeUp struct{ nulls, unchecked bool }

// populatedRun runs the files once. It returns the file that failed though it does not on empty tables.
func (r *rehearser) populatedRun(ctx context.Context, rows madeUp, explained map[*fileRun]bool) (failed *fileRun, err error) {
	db, err := Open("")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if err := db.populate(r.Schema, rows.nulls); err != nil {
		return nil, err
	}
	if rows.unchecked {
		if err := db.own("PRAGMA ignore_check_constraints=ON"); err != nil {
			return nil, err
		}
	}
	before := map[*liveTable]counted{}
	for _, l := range r.tracked {
		state := liveState{table: l, name: l.origin.name}
		for _, c := range l.origin.columns {
			if !c.generated {
				state.columns = append(state.columns, columnState{c.name, c.name})
			}
		}
		if before[l], err = db.count(state); err != nil {
			return nil, err
		}
	}
	for _, f := range r.runs {
		refused, err := r.transaction(ctx, db, f, func(_ *fileRun, s Statement) error {
			err := db.step(s.SQL, nil)
			if err != nil && refersToRows(s.SQL, err) {
				return nil
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if refused != nil {
			if !f.passed {
				return nil, nil // it fails without rows too, and that has been told
			}
			if !explained[f] && !rows.unchecked {
				explained[f] = true
				r.failsWithRows(f, refused)
			}
			return f, nil
		}
		f.counted = true
		for _, state := range f.after {
			now, err := db.count(state)
			if err != nil {
				return nil, err
			}
			r.lost(f, state, before[state.table], now)
			before[state.table] = now
		}
		if rows.nulls {
			// Rows with missing values came through, so the file deals with them.
			r.out.risks = slices.DeleteFunc(r.out.risks, func(x risk) bool { return x.nulls && x.at.file == f.Migration })
		}
	}
	return nil, nil
}

// refersToRows says whether a statement that writes rows failed because a row it refers to is not there: made-up rows
// are not those of the shop.
func refersToRows(sql string, err error) bool {
	var fail *failure
	if !errors.As(err, &fail) || !errors.Is(fail.cause, sqlite3.CONSTRAINT) {
		return false
	}
	list := pieces(sql)
	if len(list) > 0 && list[0].is(sql, "delete") {
		return false // others refer to its rows
	}
	return writesRows(sql, list) && (errors.Is(fail.cause, sqlite3.CONSTRAINT_FOREIGNKEY) || !slices.ContainsFunc(list, func(p piece) bool { return p.is(sql, "from") }))
}

// failsWithRows notes a refusal that only rows bring about, unless a comparison of the tables has told of it already.
func (r *rehearser) failsWithRows(f *fileRun, x *refusal) {
	message := x.finding().Message
	var fail *failure
	rule := "migration-data-dependent"
	if errors.As(x.err, &fail) {
		message = fail.message
		if strings.Contains(fail.code, "FOREIGNKEY") || errors.Is(fail.cause, sqlite3.CONSTRAINT_FOREIGNKEY) {
			rule = "migration-foreign-key"
		}
	}
	known := slices.ContainsFunc(r.out.risks, func(k risk) bool {
		return k.kind == depends && k.at.file == f.Migration
	})
	if known && rule == "migration-data-dependent" {
		return
	}
	// Some things no table with rows allows. Everything else depends on what the rows are, and these are made up.
	certain := strings.HasPrefix(message, "Cannot add ") || rule == "migration-foreign-key" && !f.bringsRows() ||
		strings.HasPrefix(message, "CHECK constraint failed") && isAlter(x.at.sql)
	if !certain {
		r.ask(risk{kind: depends, rule: rule, at: x.at, message: "fails on made-up rows (" + message + ")"}, "")
		return
	}
	question := ""
	for _, l := range r.tracked {
		if at, ok := f.rebuilt[l]; ok && at.file == f.Migration || mentions(x.at.sql, l.origin.name) || mentions(x.at.sql, l.now.name) || x.at.sql == "" {
			question = "SELECT count(*) FROM " + quoteName(l.origin.name)
			break
		}
	}
	r.ask(risk{kind: depends, rule: rule, at: x.at, message: "fails once there are rows (" + message + ")"}, question)
}

// bringsRows says whether a file inserts rows of its own, which may refer to rows that only the shop has.
func (f *fileRun) bringsRows() bool {
	return slices.ContainsFunc(f.statements, func(s Statement) bool {
		list := pieces(s.SQL)
		return len(list) > 0 && (list[0].is(s.SQL, "insert") || list[0].is(s.SQL, "replace")) &&
			!slices.ContainsFunc(list, func(p piece) bool { return p.is(s.SQL, "from") })
	})
}

func isAlter(sql string) bool {
	list := pieces(sql)
	return len(list) > 0 && list[0].is(sql, "alter")
}

func mentions(sql, name string) bool {
	for _, p := range pieces(sql) {
		if (p.kind == wordToken || p.kind == quoteToken) && strings.EqualFold(unquote(sql[p.from:p.to]), name) {
			return true
		}
	}
	return false
}

// counted is how many rows a table has, and the values of each column, as literals in order.
type counted struct {
	rows   int64
	values map[string][]string // by the column's name in the live database; NULL is left out
}

func (db *DB) count(state liveState) (c counted, err error) {
	c.values = map[string][]string{}
	if c.rows, err = db.number("SELECT count(*) FROM " + quoteName(state.name)); err != nil {
		return c, err
	}
	for _, column := range state.columns {
		values := []string{}
		err := db.each(fmt.Sprintf("SELECT quote(%s) FROM %s WHERE %[1]s NOT NULL ORDER BY 1", quoteName(column.name), quoteName(state.name)), func(row []any) error {
			text, _ := row[0].(string)
			values = append(values, text)
			return nil
		})
		if err != nil {
			return c, err
		}
		c.values[column.live] = values
	}
	return c, nil
}

// lost notes rows and values that a file does not carry over.
func (r *rehearser) lost(f *fileRun, state liveState, was, now counted) {
	l := state.table
	at, rebuilt := f.rebuilt[l]
	verb := "rebuilds " + state.name + " without all of its rows"
	if !rebuilt {
		var emptied bool
		if at, emptied = f.emptied[lower(state.name)]; emptied {
			verb = "deletes rows of " + state.name
		} else if f.deleted[l] {
			return // told where it stands
		} else {
			// Nobody deletes them, and they go all the same.
			at = site{file: f.Migration, line: 1, column: 1}
			if len(f.statements) > 0 {
				at.line, at.column = f.statements[0].Line, f.statements[0].Column
			}
			verb = "rows of " + state.name + " go, by a trigger or because those they refer to go (PRAGMA foreign_keys has no effect in D1)"
		}
	}
	add := func(message, question string) {
		if slices.ContainsFunc(r.out.risks, func(k risk) bool { return k.at == at && k.message == message }) {
			return // told by the run before
		}
		f.changes = append(f.changes, change{at: at, text: message, retires: true})
		r.ask(risk{kind: destroys, rule: "migration-destructive", at: at, message: message, excused: f.directives.destructive != ""}, question)
	}
	missing := 0
	for _, column := range sortedKeys(was.values) {
		if after, still := now.values[column]; still && !contains(after, was.values[column]) {
			missing++
		}
	}
	// As many rows as before are not the same rows: a file may bring its own.
	others := missing > 0 && missing == len(was.values)
	if now.rows < was.rows || others && was.rows > 0 && (rebuilt || f.deleted[l]) {
		if _, told := f.selected[l]; !told || !rebuilt {
			add(verb, "SELECT count(*) FROM "+quoteName(l.origin.name))
		}
		return
	}
	if !rebuilt {
		return // what an UPDATE does is told where it stands
	}
	for _, column := range sortedKeys(was.values) {
		after, still := now.values[column]
		switch {
		case !still:
		case len(after) < len(was.values[column]):
			add("does not carry over the values of "+state.name+"."+column,
				"SELECT count("+quoteName(column)+") FROM "+quoteName(l.origin.name))
		case !contains(after, was.values[column]):
			r.changed(at, state.name+"."+column, "SELECT count("+quoteName(column)+") FROM "+quoteName(l.origin.name))
		}
	}
}

// contains says whether all of some values are among others.
func contains(list, values []string) bool {
	for _, v := range values {
		if !slices.Contains(list, v) {
			return false
		}
	}
	return true
}

// changed notes values that a rebuild does not take over as they are: made anew, or another column's.
func (r *rehearser) changed(at site, column, question string) {
	x := risk{kind: overrules, rule: "migration-overwrites", at: at, message: "does not take over the values of " + column + " as they are"}
	if !slices.ContainsFunc(r.out.risks, func(k risk) bool { return k.at == at && k.message == x.message }) {
		r.ask(x, question)
	}
}

// populate builds a schema and puts rows into its tables, before triggers see them.
func (db *DB) populate(objects []Object, nulls bool) error {
	isTable := func(o Object) bool { return o.Type == "table" }
	if err := db.build(objects, isTable); err != nil {
		return err
	}
	tables, err := db.tables("")
	if err != nil {
		return err
	}
	if err := db.own("PRAGMA foreign_keys=OFF"); err != nil {
		return err
	}
	p := &population{db: db, tables: map[string]*tableInfo{}, rows: map[string][]map[string]any{}}
	for _, t := range tables {
		p.tables[lower(t.name)] = t
	}
	// Uniqueness that an index adds later is respected from the beginning.
	for _, o := range objects {
		if t := p.tables[lower(o.Table)]; o.Type == "index" && t != nil && strings.Contains(normalise(o.SQL), "create unique index") {
			t.uniques = append(t.uniques, unique{columns: indexedWords(o.SQL)})
		}
	}
	for _, t := range tables {
		p.fill(t, nulls)
	}
	if err := db.own("PRAGMA foreign_keys=ON"); err != nil {
		return err
	}
	for _, kind := range []string{"index", "view", "trigger"} {
		if err := db.build(objects, func(o Object) bool { return o.Type == kind }); err != nil {
			return err
		}
	}
	return nil
}

// indexedWords are the words of CREATE INDEX: its columns, and more that does no harm.
func indexedWords(sql string) []string {
	var out []string
	for _, p := range pieces(sql) {
		if p.kind == wordToken || p.kind == quoteToken {
			out = append(out, unquote(sql[p.from:p.to]))
		}
	}
	return out
}

// population makes up rows.
type population struct {
	db     *DB
	tables map[string]*tableInfo
	rows   map[string][]map[string]any // by table, in lower case; values by column, in lower case
}

// fill inserts two rows where it can, after those of the tables it refers to.
func (p *population) fill(t *tableInfo, nulls bool) {
	key := lower(t.name)
	if _, done := p.rows[key]; done || t.view || t.module != "" {
		return
	}
	p.rows[key] = nil // a table that refers back to this one finds nothing, and invents
	for _, k := range t.keys {
		if parent := p.tables[lower(k.table)]; parent != nil {
			p.fill(parent, nulls)
		}
	}
	for row := range 2 {
		if values, ok := p.insert(t, row, nulls && row == 0); ok {
			p.rows[key] = append(p.rows[key], values)
		}
	}
}

// maxTries bounds how often a row is tried with other values until its CHECK constraints accept it.
const maxTries = 300

func (p *population) insert(t *tableInfo, row int, nulls bool) (map[string]any, bool) {
	values := map[string]any{}
	var names []string
	for _, c := range t.columns {
		if c.generated {
			continue
		}
		values[lower(c.name)] = p.value(t, c, row, nulls)
		names = append(names, lower(c.name))
	}
	err := p.try(t, names, values)
	if err == nil {
		return values, true
	}
	// A CHECK: its own literals, and a few plain values, are the best guesses.
	tries := 0
	for _, check := range t.checks {
		for _, name := range names {
			if values[name] == nil || !mentions(check, name) {
				continue
			}
			for _, candidate := range candidates(check, row) {
				if tries++; tries > maxTries {
					return nil, false
				}
				was := values[name]
				values[name] = candidate
				next := p.try(t, names, values)
				if next == nil {
					return values, true
				}
				if next.Error() == err.Error() || !errors.Is(next, sqlite3.CONSTRAINT_CHECK) {
					values[name] = was
					continue
				}
				err = next // another constraint complains now: this one is content
				break
			}
		}
	}
	// The last resort keeps what it can: checks are for the shop's rows, not for these.
	if p.db.own("PRAGMA ignore_check_constraints=ON") != nil {
		return nil, false
	}
	err = p.try(t, names, values)
	if off := p.db.own("PRAGMA ignore_check_constraints=OFF"); err != nil || off != nil {
		return nil, false
	}
	return values, true
}

func candidates(check string, row int) []any {
	var out []any
	for _, p := range pieces(check) {
		switch text := check[p.from:p.to]; {
		case p.kind == quoteToken && text[0] == '\'':
			out = append(out, unquote(text))
		case p.kind == otherToken && text[0] >= '0' && text[0] <= '9':
			out = append(out, literalText(text), literalText(text+"+1"))
		}
	}
	out = append(out, int64(row), int64(row+1), "a", "aa.aa", "2026-01-01", "2026-01-01T00:00:00Z", "a@b.cd", "{}", "[]", 0.5, int64(-1))
	if row > 0 {
		slices.Reverse(out[:len(out)-11]) // another choice for another row
	}
	return out
}

// literalText is SQL that is put into the statement as it stands.
type literalText string

func (p *population) try(t *tableInfo, names []string, values map[string]any) error {
	var columns, list []string
	for _, name := range names {
		columns = append(columns, quoteName(name))
		if text, ok := values[name].(literalText); ok {
			list = append(list, string(text))
		} else {
			list = append(list, literal(values[name]))
		}
	}
	return p.db.own(fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", quoteName(t.name), strings.Join(columns, ", "), strings.Join(list, ", ")))
}

// value makes up a value: that of the row referred to; a different one for each row where it must be unique.
func (p *population) value(t *tableInfo, c column, row int, nulls bool) any {
	if nulls && !c.notNull && c.pk == 0 {
		return nil
	}
	isUnique := c.pk > 0
	for _, u := range t.uniques {
		isUnique = isUnique || slices.ContainsFunc(u.columns, func(name string) bool { return strings.EqualFold(name, c.name) })
	}
	for _, k := range t.keys {
		i := slices.IndexFunc(k.columns, func(name string) bool { return strings.EqualFold(name, c.name) })
		rows := p.rows[lower(k.table)]
		if i < 0 || len(rows) == 0 {
			continue
		}
		parent := p.tables[lower(k.table)]
		to := primaryKey(parent)
		if i < len(k.parents) {
			to = k.parents[i]
		}
		at := len(rows) - 1
		if isUnique && row < len(rows) {
			at = row
		}
		return rows[at][lower(to)]
	}
	// Every column has values of its own, so that a copy which mixes columns up shows; and keys are out of the way of rows
	// that a file brings.
	place := slices.IndexFunc(t.columns, func(o column) bool { return o.name == c.name })
	n := int64(10*place + row + 1)
	if isUnique {
		n = 9_000_001 + int64(row)
	}
	kind := strings.ToUpper(c.kind)
	switch {
	case strings.Contains(kind, "INT"):
		return n
	case strings.Contains(kind, "CHAR"), strings.Contains(kind, "CLOB"), strings.Contains(kind, "TEXT"):
		return fmt.Sprintf("%s value %d", c.name, n)
	case strings.Contains(kind, "BLOB"):
		return []byte{byte(n)}
	case strings.Contains(kind, "REAL"), strings.Contains(kind, "FLOA"), strings.Contains(kind, "DOUB"):
		return float64(n) + 0.5
	}
	return n
}
