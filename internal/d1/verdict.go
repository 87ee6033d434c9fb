package d1

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Questions are what only the live database knows: SELECTs of one number each, counts of rows. Findings takes the
// answers in this order.
func (r *Rehearsal) Questions() []string { return slices.Clone(r.questions) }

// Unknown is the answer to a question that nobody could answer.
const Unknown int64 = -1

// Findings are all that is to be said about the pending files. answers are those to Questions; nil, and Unknown for a
// single one, leave open what depends on them, which is then told as a warning. With allowDestructive nobody has to say
// in a file why data may go.
func (r *Rehearsal) Findings(answers []int64, allowDestructive bool) []Finding {
	out := slices.Clone(r.findings)
	for _, x := range r.risks {
		n := Unknown
		if x.question >= 0 && x.question < len(answers) {
			n = answers[x.question]
		}
		if f, ok := x.judge(n, allowDestructive); ok {
			out = append(out, f)
		}
	}
	sort.SliceStable(out, func(i, j int) bool {
		a, b := out[i], out[j]
		if a.File != b.File {
			return a.File < b.File
		}
		return a.Line < b.Line
	})
	return out
}

// judge is the finding that a risk comes to when n rows are concerned.
func (x risk) judge(n int64, allowDestructive bool) (Finding, bool) {
	f := x.at.finding(x.rule, levelError, x.message)
	how := func(format, unknown string) {
		if n == Unknown {
			f.Message += unknown
		} else {
			f.Message += fmt.Sprintf(format, amount(n))
		}
	}
	switch x.kind {
	case destroys:
		how(": %s would go", ", and what is in it would go")
		f.Hint = "say why in the file (-- shopfleet: destructive because …), or pass --allow-destructive"
		if x.excused || allowDestructive {
			f.Level, f.Hint = levelWarning, "a bookmark is taken first; shopfleet d1 restore is the way back"
		}
	case depends:
		if n == 0 {
			return f, false
		}
		how(": %s in the way", ": whether rows stand in the way is not known")
		f.Hint = "give the column a default, or mend the rows in a migration before this one"
		if x.mended && n > 0 {
			f.Level = levelWarning
			f.Message += " today, before the statements that come first"
			f.Hint = "make sure that those statements mend them: D1 refuses the file otherwise, and applies nothing of it"
		}
		if n == Unknown {
			f.Level = levelWarning
			f.Hint = "a shop whose rows do not fit refuses the file; shopfleet plan asks the live database"
		}
	case rewrites:
		f.Level = levelNotice
		how(": writes %s again", "")
		if n > manyRows {
			f.Level, f.Hint = levelWarning, "D1 allows a call 30 seconds, and the shop waits for it meanwhile: do it at a quiet hour, or in steps"
		}
	case overrules:
		if n == 0 {
			return f, false
		}
		f.Level = levelWarning
		how(" in %s", "")
	}
	return f, true
}

// manyRows is from where on writing a table again may take longer than the 30 seconds that D1 gives a call.
const manyRows = 200_000

// amount is a number of rows in words.
func amount(n int64) string {
	if n == 1 {
		return "1 row"
	}
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits + " rows"
}

// directives are what an author tells shopfleet in comments of a file:
//
//	-- shopfleet: destructive because nobody reads the table since June
//	-- shopfleet: breaking because the shops are closed on that night
type directives struct {
	destructive string // why data may be lost
	breaking    string // why the running release may break
}

func (r *rehearser) readDirectives(m *Migration) (d directives) {
	c := cursor{line: 1, column: 1}
	for sql := m.SQL; sql != ""; {
		kind, n := nextToken(sql)
		if text, ok := strings.CutPrefix(sql[:n], "--"); ok && kind == commentToken {
			if text, ok := strings.CutPrefix(strings.TrimSpace(text), "shopfleet:"); ok {
				word, why, _ := strings.Cut(strings.TrimSpace(text), " because ")
				why = strings.TrimSpace(why)
				switch word = strings.TrimSpace(word); {
				case word == "destructive" && why != "":
					d.destructive = why
				case word == "breaking" && why != "":
					d.breaking = why
				default:
					f := site{file: m, line: c.line, column: c.column}.finding("migration-directive", levelWarning, fmt.Sprintf("shopfleet does not understand %q", strings.TrimSpace(text)))
					f.Expected = "destructive because …, or breaking because …, with the reason"
					r.out.findings = append(r.out.findings, f)
				}
			}
		}
		c.advance(sql[:n])
		sql = sql[n:]
	}
	return d
}

// foreignKeys looks for references that point nowhere by now and did not before.
func (r *rehearser) foreignKeys(before, after *Schema) {
	broken := map[string]bool{}
	for _, b := range before.brokenKeys() {
		broken[lower(b.text)] = true
	}
	for _, b := range after.brokenKeys() {
		if broken[lower(b.text)] {
			continue
		}
		at, ok := r.made[lower(b.parent)]
		if own, made := r.made[lower(b.table)]; made {
			at, ok = own, true
		}
		if !ok && len(r.Pending) > 0 {
			at = site{file: &r.Pending[len(r.Pending)-1], line: 1, column: 1}
		}
		f := at.finding("migration-foreign-key", levelError, b.text)
		f.Hint = "every write to " + b.table + " would fail: point the reference at a table that stays"
		r.out.findings = append(r.out.findings, f)
	}
}

// brokenCode looks for views and triggers that worked before and refer to something that is gone now. SQLite lets a table
// go that they use, and complains when they are used.
func (r *rehearser) brokenCode(before, after *Schema) {
	was := map[string]bool{}
	for _, t := range before.tables {
		was[lower(t.name)] = t.broken != ""
	}
	add := func(message string) {
		f := r.last.finding("migration-breaks-schema", levelError, message)
		f.Expected = "views and triggers that refer to what is there"
		f.Hint = "drop them in the same file, or make them anew"
		r.out.findings = append(r.out.findings, f)
	}
	for _, t := range after.tables {
		if t.broken != "" && !was[lower(t.name)] {
			add("view " + t.name + " does not work any more: " + t.broken)
		}
	}
	now := r.brokenTriggers()
	for _, name := range sortedKeys(now) {
		if _, ok := r.triggersBefore[name]; !ok {
			add("nothing can be written to " + name + " any more, because of its triggers: " + now[name])
		}
	}
}

// brokenTriggers are the tables that cannot be written to because of their triggers, and why. Compiling a statement
// compiles its triggers.
func (r *rehearser) brokenTriggers() map[string]string {
	var tables []string
	err := r.db.each("SELECT DISTINCT tbl_name FROM sqlite_schema WHERE type = 'trigger'", func(row []any) error {
		tables = append(tables, row[0].(string))
		return nil
	})
	if err != nil {
		return nil
	}
	broken := map[string]string{}
	for _, name := range tables {
		info, err := r.db.tables(name)
		if err != nil || len(info) == 0 || info[0].view {
			continue
		}
		statements := []string{"DELETE FROM " + quoteName(name), "INSERT INTO " + quoteName(name) + " DEFAULT VALUES"}
		for _, c := range info[0].columns {
			if !c.generated {
				statements = append(statements, "UPDATE "+quoteName(name)+" SET "+quoteName(c.name)+" = NULL")
			}
		}
		for _, sql := range statements {
			if stmt, _, err := r.db.conn.Prepare(sql); err != nil {
				broken[name] = viewError(err)
			} else {
				stmt.Close()
			}
		}
	}
	return broken
}

type brokenKey struct{ table, parent, text string }

// brokenKeys are foreign keys whose parent does not exist or is not unique there.
func (s *Schema) brokenKeys() (out []brokenKey) {
	byName := map[string]*tableInfo{}
	for _, t := range s.tables {
		byName[lower(t.name)] = t
	}
	for _, t := range s.tables {
		for _, k := range t.keys {
			parent := byName[lower(k.table)]
			text := fmt.Sprintf("%s of %s refers to %s", columnList(k.columns), t.name, k.table)
			switch {
			case parent == nil || parent.view:
				out = append(out, brokenKey{t.name, k.table, text + ", which does not exist"})
			case !identifies(parent, k):
				out = append(out, brokenKey{t.name, k.table, text + " (" + columnList(k.parents) + "), which does not identify its rows"})
			}
		}
	}
	return out
}

// identifies says whether the parent columns of a foreign key are unique.
func identifies(parent *tableInfo, k foreignKey) bool {
	var pk []string
	for place := 1; ; place++ {
		i := slices.IndexFunc(parent.columns, func(c column) bool { return c.pk == place })
		if i < 0 {
			break
		}
		pk = append(pk, lower(parent.columns[i].name))
	}
	if len(k.parents) == 0 {
		return len(pk) == len(k.columns)
	}
	want := make([]string, len(k.parents))
	for i, c := range k.parents {
		want[i] = lower(c)
	}
	slices.Sort(want)
	slices.Sort(pk)
	if slices.Equal(want, pk) {
		return true
	}
	return slices.ContainsFunc(parent.uniques, func(u unique) bool {
		have := make([]string, len(u.columns))
		for i, c := range u.columns {
			have[i] = lower(c)
		}
		slices.Sort(have)
		return u.where == "" && slices.Equal(want, have)
	})
}

// deniedColumns looks for columns that would let one database hold several shops.
func (r *rehearser) deniedColumns(before, after *Schema) {
	for _, t := range after.tables {
		for _, c := range t.columns {
			if !slices.ContainsFunc(r.DenyColumns, func(d string) bool { return strings.EqualFold(d, c.name) }) {
				continue
			}
			at := r.made[lower(t.name)]
			if _, was := before.items[lower("column "+t.name+"."+c.name)]; was {
				at = site{} // whatever else a file does to the table
			}
			f := at.finding("denied-column", levelError, fmt.Sprintf("table %s has a column %s", t.name, c.name))
			f.Expected = "no column that tells shops apart: a database is one shop (migrations.deny_columns in fleet.yml)"
			f.Hint = "leave the column out"
			r.out.findings = append(r.out.findings, f)
		}
	}
}

// conclude decides when each file is applied.
func (r *rehearser) conclude() {
	r.out.commute = true
	for i, f := range r.runs {
		for _, other := range r.runs[i+1:] {
			r.out.commute = r.out.commute && !f.meets(other)
		}
	}
	for _, f := range r.runs {
		if !f.passed {
			return
		}
		sort.SliceStable(f.changes, func(i, j int) bool { return f.changes[i].at.line < f.changes[j].at.line })
		file := File{Name: f.Name, Phase: Expand, Reason: f.directives.destructive}
		var expands, retires, unclear []change
		for _, c := range f.changes {
			file.Changes = append(file.Changes, c.text)
			if c.expands {
				expands = append(expands, c)
			}
			if c.retires {
				retires = append(retires, c)
			}
			if c.unclear {
				unclear = append(unclear, c)
			}
		}
		switch {
		case !r.Running:
		case len(retires) > 0 && len(expands) > 0 && f.directives.breaking == "":
			r.mixed(f, expands, retires)
		case len(retires) > 0 && f.directives.breaking == "":
			file.Phase = Contract
		}
		if r.Running && f.directives.breaking == "" {
			for _, c := range retires {
				if len(expands) == 0 {
					n := c.at.finding("migration-incompatible", levelNotice, c.text+": the release that runs today may use it, so the file is applied after the next release has passed its gate")
					r.out.findings = append(r.out.findings, n)
				}
			}
			for _, c := range unclear {
				n := c.at.finding("migration-order-unclear", levelWarning, c.text+": whether the running release minds cannot be seen; the file is applied before the release")
				n.Hint = "make sure that both releases can live with it"
				r.out.findings = append(r.out.findings, n)
			}
		}
		r.out.Files = append(r.out.Files, file)
	}
}

// meets says whether one of two files writes rows of a table that the other one touches, so that their order matters.
func (f *fileRun) meets(other *fileRun) bool {
	touches := func(a, b *fileRun) bool {
		for name := range a.rows {
			if b.rows[name] || b.reads[name] || b.ddl[name] {
				return true
			}
		}
		return false
	}
	return touches(f, other) || touches(other, f)
}

// mixed refuses a file that would have to be applied both before and after the release, with the split to make.
func (r *rehearser) mixed(f *fileRun, expands, retires []change) {
	list := func(changes []change) string {
		var lines []string
		for _, c := range changes {
			lines = append(lines, fmt.Sprintf("line %d %s", c.at.line, c.text))
		}
		return strings.Join(lines, "; ")
	}
	finding := retires[0].at.finding("migration-mixed", levelError,
		fmt.Sprintf("%s gives the next release something and takes something from the running one, so it can go out neither before nor after the release", f.Name))
	finding.Expected = fmt.Sprintf("one file that expands (%s) and, behind it, one that contracts (%s)", list(expands), list(retires))
	finding.Hint = "split the file; a rename is a new column, a copy of the values, and a drop one release later. Or say that the shop may break for a moment: -- shopfleet: breaking because …"
	r.out.findings = append(r.out.findings, finding)
}

// Checksum identifies what a file does: comments, blanks and the final semicolon do not count, so that a comment may be
// mended in a file that has been applied. 32 hexadecimal digits.
func Checksum(sql string) string {
	list := pieces(sql)
	for len(list) > 0 && list[len(list)-1].kind == semicolonToken {
		list = list[:len(list)-1]
	}
	h := sha256.New()
	for _, p := range list {
		fmt.Fprintf(h, "%d %s\n", p.to-p.from, sql[p.from:p.to])
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Numbers looks at the numbers that files begin with: two files with one number, and a pending file whose number is
// lower than that of one which is applied already (it is applied all the same, but in another order than elsewhere).
// files are in order; applied are the names that the ledger has.
func Numbers(files []Migration, applied []string) []Finding {
	var out []Finding
	highest, name := int64(-1), ""
	for _, a := range applied {
		if n, ok := leadingNumber(a); ok && n > highest {
			highest, name = n, a
		}
	}
	byNumber := map[int64]string{}
	for i := range files {
		f := &files[i]
		n, ok := leadingNumber(f.Name)
		if !ok {
			continue
		}
		at := site{file: f}
		if first, twice := byNumber[n]; twice && slices.Contains(applied, first) && slices.Contains(applied, f.Name) {
			continue // history
		} else if twice {
			finding := at.finding("migration-number-twice", levelWarning, fmt.Sprintf("%s and %s have one number", first, f.Name))
			finding.Hint = "they are applied in the order of their names; give the one that is not applied anywhere a number of its own"
			out = append(out, finding)
		} else {
			byNumber[n] = f.Name
		}
		if n < highest && !slices.Contains(applied, f.Name) {
			finding := at.finding("migration-out-of-order", levelWarning, fmt.Sprintf("%s is pending, and %s is applied already", f.Name, name))
			finding.Hint = "it is applied now; where it must come first, give it a number behind " + name
			out = append(out, finding)
		}
	}
	return out
}

// leadingNumber is the number that a file's name begins with.
func leadingNumber(name string) (int64, bool) {
	base := name[strings.LastIndexByte(name, '/')+1:]
	end := strings.IndexFunc(base, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(base)
	}
	n, err := strconv.ParseInt(base[:end], 10, 64)
	return n, err == nil
}
