package d1

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// While a file is rehearsed, every statement is watched: SQLite tells its authorizer what a statement is going to touch,
// and the catalogue tells what became of the tables.

// touched is what SQLite says a statement touches.
type touched struct {
	alters, drops, indexes []string // tables
	dropViews              []string
	deletes                []string
	updates                map[string][]string
	inserts                []string
	creates                []string // "table x", "view x", …
	others                 []string // what else is done, in words
	reads                  []string // tables
	rows                   []string // tables whose rows are written, by triggers too
}

// once drops what SQLite told twice: a statement that it compiles in two ways.
func (t *touched) once() {
	for _, list := range []*[]string{&t.alters, &t.drops, &t.indexes, &t.dropViews, &t.deletes, &t.inserts, &t.creates, &t.others, &t.reads, &t.rows} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	for name, list := range t.updates {
		slices.Sort(list)
		t.updates[name] = slices.Compact(list)
	}
}

// statement runs one statement and follows what it does to the live tables.
func (r *rehearser) statement(f *fileRun, s Statement) error {
	at := site{file: f.Migration, line: s.Line, column: s.Column, sql: s.SQL}
	r.touched = touched{}
	r.db.watch = r.watch
	roots := map[*liveTable]int64{}
	err := r.db.step(s.SQL, func() error {
		r.db.watch = nil // what runs now compiles statements of our own
		for _, name := range r.touched.alters {
			if l := r.live[lower(name)]; l != nil {
				root, err := r.db.number("SELECT rootpage FROM sqlite_schema WHERE type = 'table' AND name = " + literal(l.now.name) + " COLLATE NOCASE")
				if err != nil {
					return err
				}
				roots[l] = root
			}
		}
		return nil
	})
	r.db.watch = nil
	if err != nil {
		if missesRows(s.SQL, err) {
			finding := at.finding("migration-unrehearsed", levelNotice, "what this statement does depends on rows that only the shop has")
			r.out.findings = append(r.out.findings, finding)
			return nil
		}
		return err
	}
	if list := pieces(s.SQL); len(list) > 0 && list[0].is(s.SQL, "explain") {
		return nil // nothing of what it is compiled for happens
	}
	r.touched.once()
	return r.follow(f, at, roots)
}

// missesRows says whether a statement may fail only because the copy lacks rows: it writes what it reads elsewhere, or
// what refers to others.
func missesRows(sql string, err error) bool {
	var fail *failure
	if !errors.As(err, &fail) || !errors.Is(fail.cause, sqlite3.CONSTRAINT) {
		return false
	}
	list := pieces(sql)
	return writesRows(sql, list) && (errors.Is(fail.cause, sqlite3.CONSTRAINT_FOREIGNKEY) || slices.ContainsFunc(list, func(p piece) bool { return p.is(sql, "select") }))
}

// writesRows says whether a statement is about rows and not about the schema.
func writesRows(sql string, list []piece) bool {
	for _, word := range []string{"insert", "replace", "update", "delete", "with"} {
		if len(list) > 0 && list[0].is(sql, word) {
			return true
		}
	}
	return false
}

// watch notes what SQLite says about a statement that is being compiled.
func (r *rehearser) watch(action sqlite3.AuthorizerActionCode, name, detail, via string) {
	t := &r.touched
	switch action {
	case sqlite3.AUTH_READ:
		if !internalName(name) {
			t.reads = append(t.reads, name)
		}
	case sqlite3.AUTH_DELETE, sqlite3.AUTH_INSERT, sqlite3.AUTH_UPDATE:
		if !internalName(name) {
			t.rows = append(t.rows, name)
		}
	}
	switch action {
	case sqlite3.AUTH_ALTER_TABLE:
		t.alters = append(t.alters, detail)
	case sqlite3.AUTH_DROP_TABLE, sqlite3.AUTH_DROP_VTABLE:
		t.drops = append(t.drops, name)
	case sqlite3.AUTH_DROP_VIEW:
		t.dropViews = append(t.dropViews, name)
	case sqlite3.AUTH_CREATE_INDEX, sqlite3.AUTH_DROP_INDEX:
		t.indexes = append(t.indexes, detail)
		if action == sqlite3.AUTH_CREATE_INDEX && !internalName(name) {
			t.creates = append(t.creates, "index "+name)
		}
		if action == sqlite3.AUTH_DROP_INDEX && !internalName(name) {
			t.others = append(t.others, "drops index "+name)
		}
	case sqlite3.AUTH_DROP_TRIGGER:
		t.others = append(t.others, "drops trigger "+name)
	case sqlite3.AUTH_CREATE_TABLE, sqlite3.AUTH_CREATE_VTABLE:
		if internalName(name) {
			return // ANALYZE makes some
		}
		t.creates = append(t.creates, "table "+name)
	case sqlite3.AUTH_CREATE_VIEW:
		t.creates = append(t.creates, "view "+name)
	case sqlite3.AUTH_CREATE_TRIGGER:
		t.creates = append(t.creates, "trigger "+name)
	case sqlite3.AUTH_DELETE:
		if !internalName(name) && via == "" {
			t.deletes = append(t.deletes, name)
		}
	case sqlite3.AUTH_INSERT:
		if !internalName(name) && via == "" {
			t.inserts = append(t.inserts, name)
		}
	case sqlite3.AUTH_UPDATE:
		if !internalName(name) && via == "" {
			if t.updates == nil {
				t.updates = map[string][]string{}
			}
			t.updates[name] = append(t.updates[name], detail)
		}
	}
}

// follow brings the live tables up to date with what a statement did.
func (r *rehearser) follow(f *fileRun, at site, roots map[*liveTable]int64) error {
	t := r.touched
	if len(t.alters)+len(t.drops)+len(t.dropViews) > 0 {
		r.last = at
	}
	r.selections(f, at)
	for _, name := range t.reads {
		f.reads[lower(name)] = true
	}
	if len(t.alters)+len(t.drops) == 0 {
		for _, name := range t.rows {
			f.rows[lower(name)] = true
			f.touchesLive = f.touchesLive || r.live[lower(name)] != nil
		}
	}
	for _, name := range append(append([]string(nil), t.alters...), t.drops...) {
		f.ddl[lower(name)] = true
	}
	for _, name := range t.alters {
		if l := r.live[lower(name)]; l != nil {
			f.touchesLive = true
			if err := r.altered(f, at, l, roots[l]); err != nil {
				return err
			}
		}
		r.made[lower(name)] = at
	}
	for _, what := range t.creates {
		kind, name, _ := strings.Cut(what, " ")
		switch kind {
		case "table":
			r.made[lower(name)] = at
			fallthrough
		case "view":
			f.created[lower(name)] = at
		case "trigger":
			c := change{at: at, text: "creates " + what}
			list := pieces(at.sql)
			// A trigger that refuses rows may refuse those of the running release.
			c.retires = r.triggersLive(name) && slices.ContainsFunc(list, func(p piece) bool { return p.is(at.sql, "raise") })
			f.changes = append(f.changes, c)
		default:
			if len(t.alters) == 0 && len(t.drops) == 0 && !slices.ContainsFunc(t.creates, func(w string) bool { return strings.HasPrefix(w, "table ") }) {
				f.changes = append(f.changes, change{at: at, text: "creates " + what})
			}
		}
	}
	for _, name := range t.indexes {
		l := r.live[lower(name)]
		if l == nil || len(t.alters) > 0 || len(t.drops) > 0 {
			continue
		}
		now, err := r.db.tables(l.now.name)
		if err != nil || len(now) == 0 {
			return err
		}
		f.touchesLive = true
		r.differ(f, at, l, now[0], false)
		l.now = now[0]
	}
	for _, name := range t.drops {
		key := lower(name)
		if l := r.live[key]; l != nil {
			f.touchesLive = true
			f.dropped[key] = dropped{l, at}
			delete(r.live, key)
		}
		delete(f.created, key)
	}
	for _, name := range t.dropViews {
		if r.views[lower(name)] != nil {
			f.views[lower(name)] = at
		}
		delete(f.created, lower(name))
	}
	if len(t.alters) == 0 && len(t.drops) == 0 {
		for _, what := range t.others {
			f.changes = append(f.changes, change{at: at, text: what})
		}
		r.written(f, at)
	}
	return nil
}

// triggersLive says whether a trigger that was just made belongs to a live table.
func (r *rehearser) triggersLive(name string) (live bool) {
	err := r.db.each("SELECT tbl_name FROM sqlite_schema WHERE type = 'trigger' AND name = "+quoteText(name)+" COLLATE NOCASE", func(row []any) error {
		live = r.live[lower(row[0].(string))] != nil
		return nil
	})
	return live || err != nil
}

// selections notes live tables of which a statement copies some rows only: whether all of them came along, made-up rows
// cannot tell.
func (r *rehearser) selections(f *fileRun, at site) {
	t := r.touched
	list := pieces(at.sql)
	copies := len(t.creates) > 0 || len(t.inserts) > 0
	if !copies || len(t.alters)+len(t.drops) > 0 {
		return
	}
	depth, from, selective := 0, -1, false
	for i, p := range list {
		switch {
		case p.kind == openToken:
			depth++
		case p.kind == closeToken:
			depth--
		case p.is(at.sql, "from") && depth == 0 && from < 0:
			from = i
		}
		for _, word := range []string{"where", "limit", "group", "having", "distinct", "join", "except", "intersect", "ignore"} {
			selective = selective || p.is(at.sql, word)
		}
	}
	if !selective {
		return
	}
	for _, name := range t.reads {
		l := r.live[lower(name)]
		if l == nil {
			continue
		}
		s := selection{at: at}
		// FROM table WHERE condition, and nothing else: then it can be asked for.
		if from >= 0 && from+3 < len(list) && strings.EqualFold(unquote(at.sql[list[from+1].from:list[from+1].to]), name) && list[from+2].is(at.sql, "where") {
			if where, plain := condition("delete "+at.sql[list[from].from:], pieces("delete "+at.sql[list[from].from:])); plain {
				s.where = where
			}
			for _, p := range list[from+2:] {
				if p.is(at.sql, "group") || p.is(at.sql, "having") || p.is(at.sql, "union") || p.is(at.sql, "except") || p.is(at.sql, "intersect") || p.is(at.sql, "on") {
					s.where = ""
				}
			}
			if len(t.reads) > 1 {
				s.where = ""
			}
		}
		f.selected[l] = s
	}
}

// altered follows ALTER TABLE: its new name is that of the table with the same pages.
func (r *rehearser) altered(f *fileRun, at site, l *liveTable, root int64) error {
	key := lower(l.now.name)
	name := ""
	if root > 0 {
		err := r.db.each(fmt.Sprintf("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage = %d", root), func(row []any) error {
			name = row[0].(string)
			return nil
		})
		if err != nil {
			return err
		}
	} else if now, err := r.db.tables(l.now.name); err != nil {
		return err
	} else if len(now) > 0 {
		name = l.now.name
	}
	if name == "" { // a virtual table under another name
		delete(r.live, key)
		f.dropped[key] = dropped{l, at}
		return nil
	}
	now, err := r.db.tables(name)
	if err != nil || len(now) == 0 {
		return err
	}
	if !strings.EqualFold(name, l.now.name) {
		delete(r.live, key)
		r.live[lower(name)] = l
		r.made[lower(name)] = at
		f.changes = append(f.changes, change{at: at, text: fmt.Sprintf("renames table %s to %s", l.now.name, name), expands: true, retires: true, renames: l})
		r.out.Dropped = append(r.out.Dropped, Dropped{Table: l.origin.name})
	}
	r.differ(f, at, l, now[0], true)
	l.now = now[0]
	return nil
}

// endOfFile settles what only the whole file tells: whether a table that was dropped came back.
func (r *rehearser) endOfFile() error {
	f := r.file
	for _, key := range sortedKeys(f.dropped) {
		d := f.dropped[key]
		l := d.table
		name := l.now.name
		now, err := r.db.tables(name)
		if err == nil && len(now) == 0 && f.starts[l] != "" {
			name = f.starts[l] // it was renamed out of the way first
			if now, err = r.db.tables(name); len(now) > 0 && !now[0].view && r.live[lower(name)] == nil {
				f.changes = slices.DeleteFunc(f.changes, func(c change) bool { return c.renames == l })
				r.out.Dropped = slices.DeleteFunc(r.out.Dropped, func(d Dropped) bool { return d.Table == l.origin.name && d.Column == "" })
			} else {
				now = nil
			}
		}
		if err != nil {
			return err
		}
		if len(now) == 0 || now[0].view {
			f.changes = append(f.changes, change{at: d.at, text: "drops table " + l.now.name, retires: true})
			r.out.Dropped = append(r.out.Dropped, Dropped{Table: l.origin.name})
			r.ask(risk{kind: destroys, rule: "migration-destructive", at: d.at, message: "drops table " + l.now.name, excused: f.directives.destructive != ""},
				"SELECT count(*) FROM "+quoteName(l.origin.name))
			continue
		}
		f.changes = append(f.changes, change{at: d.at, text: "rebuilds table " + now[0].name})
		r.ask(risk{kind: rewrites, rule: "migration-rewrite", at: d.at, message: "rebuilds table " + now[0].name}, "SELECT count(*) FROM "+quoteName(l.origin.name))
		r.differ(f, d.at, l, now[0], false)
		l.now = now[0]
		r.live[lower(name)] = l
		f.rebuilt[l] = d.at
		delete(f.created, lower(name))
		r.rebuilt(f, l)
	}
	for _, key := range sortedKeys(f.views) {
		if err := r.viewAfter(f, key); err != nil {
			return err
		}
	}
	if len(f.created) > 0 {
		err := r.db.each("SELECT type, name FROM sqlite_schema WHERE type IN ('table', 'view') ORDER BY rowid", func(row []any) error {
			name := row[1].(string)
			if at, ok := f.created[lower(name)]; ok && r.views[lower(name)] == nil && r.live[lower(name)] == nil {
				f.changes = append(f.changes, change{at: at, text: fmt.Sprintf("creates %s %s", row[0], name), expands: true})
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, key := range sortedKeys(r.live) {
		l := r.live[key]
		if l.now.module != "" {
			continue
		}
		state := liveState{table: l, name: l.now.name}
		for _, c := range sortedKeys(l.columns) {
			if now := l.now.column(c); now != nil && !now.generated {
				state.columns = append(state.columns, columnState{now.name, l.columns[c]})
			}
		}
		f.after = append(f.after, state)
	}
	sort.SliceStable(f.changes, func(i, j int) bool { return f.changes[i].at.line < f.changes[j].at.line })
	return nil
}

// rebuilt notes what a rebuild may leave behind that made-up rows do not show.
func (r *rehearser) rebuilt(f *fileRun, l *liveTable) {
	excused := f.directives.destructive != ""
	if s, ok := f.selected[l]; ok {
		question := ""
		if s.where != "" {
			question = fmt.Sprintf("SELECT count(*) FROM %s WHERE NOT coalesce((%s\n), 0)", quoteName(l.origin.name), s.where)
		}
		message := "rebuilds " + l.now.name + " from a selection of its rows"
		f.changes = append(f.changes, change{at: s.at, text: message, retires: true})
		r.ask(risk{kind: destroys, rule: "migration-destructive", at: s.at, message: message, excused: excused}, question)
	}
	var left []string
	for _, o := range r.Schema {
		if (o.Type == "index" || o.Type == "trigger") && o.SQL != "" && strings.EqualFold(o.Table, l.origin.name) {
			n, err := r.db.number("SELECT count(*) FROM sqlite_schema WHERE name = " + quoteText(o.Name) + " COLLATE NOCASE")
			if err == nil && n == 0 {
				left = append(left, o.Type+" "+o.Name)
			}
		}
	}
	if len(left) > 0 {
		message := "rebuilds " + l.now.name + " without its " + strings.Join(left, ", ")
		f.changes = append(f.changes, change{at: f.rebuilt[l], text: message})
		finding := f.rebuilt[l].finding("migration-rewrite", levelWarning, message)
		finding.Hint = "DROP TABLE takes them along: make them again, unless they are meant to go"
		r.out.findings = append(r.out.findings, finding)
	}
	if l.origin.module == "fts5" && ftsContent(l.origin.sql) == "own" {
		message := "makes full-text table " + l.now.name + " anew"
		f.changes = append(f.changes, change{at: f.rebuilt[l], text: message, retires: true})
		r.ask(risk{kind: destroys, rule: "migration-destructive", at: f.rebuilt[l], message: message, excused: excused}, "SELECT count(*) FROM "+quoteName(l.origin.name))
	}
}

// viewAfter compares a live view that was dropped with what stands under its name at the end of the file.
func (r *rehearser) viewAfter(f *fileRun, key string) error {
	view, at := r.views[key], f.views[key]
	now, err := r.db.tables(view.name)
	if err != nil {
		return err
	}
	if len(now) == 0 {
		f.changes = append(f.changes, change{at: at, text: "drops view " + view.name, retires: true})
		r.out.Dropped = append(r.out.Dropped, Dropped{Table: view.name})
		delete(r.views, key)
		return nil
	}
	c := change{at: at, text: "makes view " + view.name + " anew"}
	for _, col := range view.columns {
		if now[0].column(col.name) == nil {
			c.text += ", without " + col.name
			c.retires = true
		}
	}
	for _, col := range now[0].columns {
		if view.column(col.name) == nil {
			c.text += ", with " + col.name
			c.expands = true
		}
	}
	if normalise(now[0].sql) != normalise(view.sql) {
		f.changes = append(f.changes, c)
	}
	r.views[key] = now[0]
	delete(f.created, key)
	return nil
}

// written tells of rows that a statement writes by itself.
func (r *rehearser) written(f *fileRun, at site) {
	list := pieces(at.sql)
	if len(list) == 0 {
		return
	}
	for _, name := range r.touched.deletes {
		l := r.live[lower(name)]
		if l == nil || !list[0].is(at.sql, "delete") && !list[0].is(at.sql, "with") {
			continue
		}
		f.touchesLive = true
		where, plain := condition(at.sql, list)
		// Today's rows are not those that the statement meets where others came before it.
		plain = plain && (where == "" || !r.writtenBefore())
		l.written, f.deleted[l] = true, true
		if plain && where == "" {
			f.emptied[lower(name)] = at // whether the rows come back, the run with rows tells
			continue
		}
		message := "deletes rows of " + l.now.name
		if followers := r.followers(l); followers != "" {
			message += " and, by ON DELETE CASCADE, of " + followers
		}
		f.changes = append(f.changes, change{at: at, text: message, retires: true})
		r.ask(risk{kind: destroys, rule: "migration-destructive", at: at, message: message, excused: f.directives.destructive != ""},
			countWhere(l, where, plain))
	}
	for _, name := range sortedKeys(r.touched.updates) {
		l := r.live[lower(name)]
		if l == nil || !writesRows(at.sql, list) {
			continue
		}
		f.touchesLive = true
		before := r.writtenBefore()
		l.written = true
		var columns []string
		for _, c := range r.touched.updates[name] {
			if _, old := l.columns[lower(c)]; old {
				columns = append(columns, c)
			}
		}
		f.changes = append(f.changes, change{at: at, text: "updates rows of " + l.now.name})
		if cleared := setToNull(at.sql, list, columns); len(cleared) > 0 {
			r.cleared(f, at, l, cleared, before)
		} else if len(columns) > 0 {
			where, plain := condition(at.sql, list)
			plain = plain && list[0].is(at.sql, "update") && !before
			r.ask(risk{kind: overrules, rule: "migration-overwrites", at: at,
				message: fmt.Sprintf("overwrites %s of %s", strings.Join(columns, ", "), l.now.name)}, countWhere(l, where, plain))
		}
	}
	if len(r.touched.inserts) > 0 && len(r.touched.creates) == 0 && (list[0].is(at.sql, "insert") || list[0].is(at.sql, "replace")) {
		name := r.touched.inserts[0]
		if l := r.live[lower(name)]; l != nil {
			f.touchesLive = true
			f.changes = append(f.changes, change{at: at, text: "inserts into " + name})
			if list[0].is(at.sql, "replace") || len(list) > 2 && list[1].is(at.sql, "or") && list[2].is(at.sql, "replace") {
				f.deleted[l] = true
				r.ask(risk{kind: overrules, rule: "migration-overwrites", at: at, message: "replaces rows of " + name + " that have the same key"}, "")
			}
		}
	}
}

// writtenBefore says whether rows of a live table have been written by now.
func (r *rehearser) writtenBefore() bool {
	for _, l := range r.live {
		if l.written {
			return true
		}
	}
	return false
}

// followers are the live tables whose rows go with those of another.
func (r *rehearser) followers(l *liveTable) string {
	var names []string
	for _, key := range sortedKeys(r.live) {
		for _, k := range r.live[key].now.keys {
			if strings.EqualFold(k.table, l.now.name) && strings.EqualFold(k.onDelete, "cascade") {
				names = append(names, r.live[key].now.name)
			}
		}
	}
	return strings.Join(slices.Compact(names), ", ")
}

// cleared notes values that an UPDATE takes away.
func (r *rehearser) cleared(f *fileRun, at site, l *liveTable, columns []string, before bool) {
	list := pieces(at.sql)
	where, plain := condition(at.sql, list)
	plain = plain && list[0].is(at.sql, "update") && !before
	for _, c := range columns {
		message := fmt.Sprintf("takes the values of %s.%s away", l.now.name, c)
		f.changes = append(f.changes, change{at: at, text: message, retires: true})
		question := ""
		if plain {
			question = "SELECT count(" + quoteName(l.columns[lower(c)]) + ") FROM " + quoteName(l.origin.name)
			if where != "" {
				question += " WHERE " + where + "\n"
			}
		}
		r.ask(risk{kind: destroys, rule: "migration-destructive", at: at, message: message, excused: f.directives.destructive != ""}, question)
	}
}

// setToNull are those of the columns that an UPDATE sets to NULL itself.
func setToNull(sql string, list []piece, columns []string) (out []string) {
	for i := 1; i+1 < len(list); i++ {
		name := unquote(sql[list[i-1].from:list[i-1].to])
		if sql[list[i].from:list[i].to] != "=" || !list[i+1].is(sql, "null") || !named(name, columns) {
			continue
		}
		if i+2 == len(list) || sql[list[i+2].from:list[i+2].to] == "," || list[i+2].kind == semicolonToken || list[i+2].is(sql, "where") || list[i+2].is(sql, "from") || list[i+2].is(sql, "returning") {
			out = append(out, name)
		}
	}
	return out
}

// condition is the WHERE clause of DELETE or UPDATE. plain is false when the rows cannot be asked for with it alone.
func condition(sql string, list []piece) (where string, plain bool) {
	if list[0].is(sql, "with") {
		return "", false
	}
	depth, from, to := 0, -1, len(sql)
	for _, p := range list {
		switch {
		case p.kind == openToken:
			depth++
		case p.kind == closeToken:
			depth--
		case depth > 0:
		case p.is(sql, "where") && from < 0:
			from = p.to
		case p.is(sql, "from") && !list[0].is(sql, "delete"), p.is(sql, "order"), p.is(sql, "limit"):
			return "", false
		case p.is(sql, "returning"), p.kind == semicolonToken:
			to = min(to, p.from)
		}
	}
	if from < 0 {
		return "", true
	}
	return strings.TrimSpace(sql[from:to]), true
}

// countWhere asks how many live rows a condition is true of; "" when it cannot be asked.
func countWhere(l *liveTable, where string, plain bool) string {
	if !plain {
		return ""
	}
	sql := "SELECT count(*) FROM " + quoteName(l.origin.name)
	if where != "" {
		sql += " WHERE " + where + "\n" // a comment at its end must not swallow what follows
	}
	return sql
}
