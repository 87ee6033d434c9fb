package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/d1"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// Certainty says how good a number is.
type Certainty string

// The certainties of a number of rows.
const (
	Exact   Certainty = "exact"    // as exact as the application leaves the column to its default
	AtLeast Certainty = "at least" // there may be more
	AtMost  Certainty = "at most"  // rows that only changed may be among them
	Unknown Certainty = "unknown"  // nothing in the table tells; the number is 0
)

// Loss is what a restore takes from one table. D1 cannot show the past, so it is computed from the present: from the
// columns that note by default when a row was made. Rows that were deleted or changed since come back as they were, and
// nothing in the database tells how many those are.
type Loss struct {
	Table string `json:"table"`
	Rows  int64  `json:"rows"` // there now
	// Made is how many of them were made since, and Known how good that number is.
	Made  int64     `json:"made"`
	Known Certainty `json:"known"`
	// Changed counts rows that were there then and have been written since, where a column tells.
	Changed int64 `json:"changed,omitempty"`
	// By is what tells: a column, or columns that refer to rows whose age is known.
	By string `json:"by,omitempty"`

	// old counts the rows that were made up to the time until which losses are counted; 0 without such a time.
	old int64
}

// UndoneMigration is a file that a restore takes out of the ledger again, with everything it changed.
type UndoneMigration struct {
	Name      string `json:"name"`
	AppliedAt string `json:"applied_at"` // as the ledger has it: UTC, to the second
	// Sure is false when the file was applied in the very second of the target, so that the ledger does not tell.
	Sure bool `json:"sure"`
}

// clock is a column whose default is the time, with the SQL that asks it.
type clock struct {
	column string
	later  string // the row's time is after the target
	young  string // the row's time is after the end of what is counted; "" when all is
	odd    string // the row's time is none: later says nothing about it
	coarse bool   // the column cannot tell rows around the target apart
}

// catalogueColumns lists all columns and references of all tables in one read. Virtual tables and what they keep are
// left out: their content is other tables'. What Cloudflare keeps for itself (_cf_) may not be looked at.
const catalogueColumns = `SELECT t.name AS tbl, 'column' AS kind, c.name AS name, coalesce(c.dflt_value, '') AS detail, c."notnull" AS required, c.pk AS n, '' AS other
FROM (SELECT m.name FROM sqlite_master AS m JOIN pragma_table_list AS l ON l.schema = 'main' AND l.name = m.name AND l.type = 'table'
  WHERE m.type = 'table' AND m.name NOT GLOB 'sqlite_*' AND lower(m.name) NOT GLOB '_cf_*') AS t CROSS JOIN pragma_table_xinfo(t.name) AS c
UNION ALL
SELECT t.name, 'reference', f."from", f."table", f.id, f.seq, coalesce(f."to", '')
FROM (SELECT m.name FROM sqlite_master AS m WHERE m.type = 'table' AND m.sql NOT LIKE 'CREATE VIRTUAL%'
  AND m.name NOT GLOB 'sqlite_*' AND lower(m.name) NOT GLOB '_cf_*') AS t CROSS JOIN pragma_foreign_key_list(t.name) AS f`

// table is what the catalogue says of one.
type table struct {
	name     string
	columns  []string
	defaults map[string]string // column → expression
	required map[string]bool   // NOT NULL
	key      []string          // primary key
	refs     []reference
	clocks   []clock
}

// reference is a foreign key of one column.
type reference struct {
	id            int
	column        string
	parent, other string // the table and its column; "" is the primary key
	composite     bool
}

func readTables(ctx context.Context, cf *cloudflare.Client, db wrangler.D1Database) ([]*table, error) {
	rows, err := cf.D1Read(ctx, db.DatabaseID, catalogueColumns)
	if err != nil {
		return nil, fmt.Errorf("reading the tables of %s: %w", db.DatabaseName, err)
	}
	var list []struct {
		Tbl, Kind, Name, Detail, Other string
		Required, N                    int
	}
	if err := rows.Decode(&list); err != nil {
		return nil, fmt.Errorf("reading the tables of %s: %w", db.DatabaseName, err)
	}
	byName := map[string]*table{}
	for _, r := range list {
		t := byName[r.Tbl]
		if t == nil {
			t = &table{name: r.Tbl, defaults: map[string]string{}, required: map[string]bool{}}
			byName[r.Tbl] = t
		}
		if r.Kind == "column" {
			t.columns = append(t.columns, r.Name)
			t.required[r.Name] = r.Required != 0 || r.N > 0
			if r.Detail != "" {
				t.defaults[r.Name] = r.Detail
			}
			if r.N > 0 {
				t.key = append(t.key, r.Name)
			}
			continue
		}
		if i := slices.IndexFunc(t.refs, func(x reference) bool { return x.id == r.Required }); i >= 0 {
			t.refs[i].composite = true
			continue
		}
		t.refs = append(t.refs, reference{id: r.Required, column: r.Name, parent: r.Detail, other: r.Other})
	}
	var out []*table
	for _, name := range sortedNames(byName) {
		out = append(out, byName[name])
	}
	return out, nil
}

func sortedNames(m map[string]*table) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// The words that a default may consist of when it is taken for a clock, beside strings, numbers and arithmetic. Others
// could depend on more than the time. "localtime" and "utc" depend on where SQLite runs.
var (
	clockWords = strings.Fields("strftime datetime date julianday unixepoch current_timestamp current_date cast as integer int bigint real text numeric round")
	clockToken = regexp.MustCompile(`^(?:'(?:[^']|'')*'|[A-Za-z_][A-Za-z_0-9]*|[0-9]+(?:\.[0-9]+)?|\|\||[-+*/(),]|\s+)`)
)

// atTime rewrites a default expression that reads the clock into one of a given time, a string literal; ok is false for
// every other expression.
func atTime(expression, literal string) (sql string, ok bool) {
	var tokens []string
	for rest := expression; rest != ""; {
		t := clockToken.FindString(rest)
		if t == "" {
			return "", false
		}
		rest = rest[len(t):]
		if strings.TrimSpace(t) != "" {
			tokens = append(tokens, t)
		}
	}
	is := func(i int, text string) bool { return i < len(tokens) && tokens[i] == text }
	for i, t := range tokens {
		lower := strings.ToLower(t)
		switch {
		case lower == "'now'" && i > 0 && calls(tokens[:i]): // elsewhere it is three letters of text
			tokens[i], ok = literal, true
		case lower == "'localtime'" || lower == "'utc'":
			return "", false
		case t[0] == '\'' || !(t[0] == '_' || t[0] >= 'A' && t[0] <= 'z'):
		case !slices.Contains(clockWords, lower):
			return "", false
		case lower == "current_timestamp":
			tokens[i], ok = "datetime("+literal+")", true
		case lower == "current_date":
			tokens[i], ok = "date("+literal+")", true
		case slices.Contains([]string{"datetime", "date", "julianday", "unixepoch"}, lower) && is(i+1, "(") && is(i+2, ")"):
			tokens[i+1], ok = "("+literal, true
		case lower == "strftime" && is(i+1, "(") && is(i+3, ")") && i+2 < len(tokens) && tokens[i+2][0] == '\'':
			tokens[i+2], ok = tokens[i+2]+", "+literal, true
		}
	}
	return strings.Join(tokens, " "), ok
}

// calls reports whether a function of time is among the words.
func calls(tokens []string) bool {
	return slices.ContainsFunc(tokens, func(t string) bool {
		return slices.Contains([]string{"strftime", "datetime", "date", "julianday", "unixepoch"}, strings.ToLower(t))
	})
}

// clocks evaluates default expressions at a moment. It does so on a SQLite of its own, so that what is asked of the
// shop's database holds plain values only.
type clocks struct {
	db    *d1.DB
	at    time.Time
	until time.Time // rows after it are not counted; zero counts all
}

func sqlTime(t time.Time) string { return quoteText(t.UTC().Format("2006-01-02 15:04:05.000")) }

// value is what an expression gives at a time, and that as a julian day (NaN when it is none).
func (c *clocks) value(ctx context.Context, expression string, at time.Time) (value any, day float64, ok bool) {
	sql, ok := atTime(expression, sqlTime(at))
	if !ok {
		return nil, 0, false
	}
	results, err := c.db.Query(ctx, "SELECT v, julianday(v) FROM (SELECT ("+sql+") AS v)")
	if err != nil || len(results) != 1 || len(results[0].Rows) != 1 {
		return nil, 0, false // not SQL on its own after all: no clock
	}
	row := results[0].Rows[0]
	day, isDay := row[1].(float64)
	if !isDay {
		day = math.NaN()
	}
	return row[0], day, true
}

// number reads a value as a number, as CAST does.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case string:
		n, err := strconv.ParseFloat(v, 64)
		return n, err == nil
	}
	return 0, false
}

// julianDay is a time as SQLite's julianday counts it.
func julianDay(t time.Time) float64 { return 2440587.5 + float64(t.UnixMilli())/86_400_000 }

// ticks are the steps in which a column may count, beside milliseconds.
var ticks = []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour, 31 * 24 * time.Hour, 366 * 24 * time.Hour}

const (
	halfMillisecond = 0.5 / 86_400_000 // in days: julian days are floats, times are whole milliseconds
	farAhead        = 10 * 366         // days; a row beyond is no row of this clock
	farBack         = 25 * 366         // days
)

func literal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// read says how a column with this default is asked; ok is false when the default is no clock.
func (c *clocks) read(ctx context.Context, column, expression string) (clock, bool) {
	_, day, ok := c.value(ctx, expression, c.at)
	if !ok {
		return clock{}, false
	}
	name := quoteName(column)
	out := clock{column: column}
	text := false
	// What was made after a time has at least the next value that the default gives. The application may write finer
	// values than the default does, so the present one tells nothing.
	condition := func(at time.Time) (sql string, coarse, ok bool) {
		v, _, _ := c.value(ctx, expression, at)
		next, nextDay, ok := c.value(ctx, expression, at.Add(time.Millisecond))
		coarse = v == next
		for _, step := range ticks {
			if v == next {
				next, nextDay, ok = c.value(ctx, expression, at.Add(step))
			}
		}
		if text {
			return "julianday(" + name + ") > " + literal(nextDay-halfMillisecond), coarse, ok && !math.IsNaN(nextDay)
		}
		n, isNumber := number(next)
		return "CAST(" + name + " AS REAL) >= " + literal(n), coarse, ok && isNumber
	}
	v, _, _ := c.value(ctx, expression, c.at)
	if _, text = v.(string); text && !math.IsNaN(day) {
		if math.Abs(day-julianDay(c.at)) > 2 {
			return clock{}, false // a part of a time, such as the hour
		}
		out.odd = fmt.Sprintf("coalesce(julianday(%s) NOT BETWEEN %s AND %s, 1)", name, literal(day-farBack), literal(day+farAhead))
	} else {
		text = false
		// A number is a clock when it grows evenly.
		var n [3]float64
		for i := range n {
			v, _, known := c.value(ctx, expression, c.at.Add(-time.Duration(i)*1000*24*time.Hour))
			at, isNumber := number(v)
			if n[i] = at; !known || !isNumber {
				return clock{}, false
			}
		}
		grows := n[0] - n[1]
		if grows <= 0 || math.Abs(grows-(n[1]-n[2])) > grows/100 {
			return clock{}, false
		}
		out.odd = fmt.Sprintf("coalesce(CAST(%s AS REAL) NOT BETWEEN %s AND %s, 1)", name, literal(n[0]-grows/1000*farBack), literal(n[0]+grows/1000*farAhead))
	}
	if out.later, out.coarse, ok = condition(c.at); !ok {
		return clock{}, false
	}
	if !c.until.IsZero() {
		if out.young, _, ok = condition(c.until); !ok {
			return clock{}, false
		}
		out.later = "(" + out.later + " AND NOT " + out.young + ")"
	}
	return out, true
}

// touches tells a column that notes the last change of a row from one that notes its making. The default of both is now.
var touches = regexp.MustCompile(`(?i)updat|modif|chang|touch|last|seen|edit|sync`)

// question is how the loss of one table is asked.
type question struct {
	loss    Loss
	made    string // condition; "" when nothing tells
	changed string // condition of rows that changed; "" when nothing tells
	odd     string
	old     string
}

// lossOf decides what to ask about a table. above are the tables on the way here through references.
func lossOf(tables map[string]*table, t *table, above ...string) question {
	q := question{loss: Loss{Table: t.name, Known: Unknown}}
	i := slices.IndexFunc(t.clocks, func(c clock) bool { return !touches.MatchString(c.column) })
	switch {
	case i >= 0:
		q.loss.Known, q.loss.By = Exact, t.clocks[i].column
	case len(t.clocks) > 0:
		i, q.loss.Known, q.loss.By = 0, AtMost, t.clocks[0].column
	default:
		return lossByParents(tables, t, q, above)
	}
	made := t.clocks[i]
	q.made, q.odd = made.later, made.odd
	if made.young != "" {
		q.old = "NOT " + made.young
	}
	if made.coarse {
		q.loss.Known = lessSure(q.loss.Known)
	}
	var others []string
	for j, c := range t.clocks {
		if j != i {
			others = append(others, c.later)
		}
	}
	if len(others) > 0 {
		q.changed = "NOT (" + q.made + ") AND (" + strings.Join(others, " OR ") + ")"
	}
	return q
}

// lossByParents asks through references that every row has: a row cannot be older than what it refers to.
func lossByParents(tables map[string]*table, t *table, q question, above []string) question {
	if len(above) >= 3 || slices.Contains(above, t.name) {
		return q
	}
	var made, by []string
	for _, ref := range t.refs {
		parent := tables[strings.ToLower(ref.parent)]
		if ref.composite || parent == nil || !t.required[ref.column] {
			continue
		}
		if ref.other == "" {
			if len(parent.key) != 1 {
				continue
			}
			ref.other = parent.key[0]
		}
		up := lossOf(tables, parent, append(slices.Clone(above), t.name)...)
		if up.made == "" || up.loss.Known == AtMost || up.loss.Known == Unknown {
			continue
		}
		made = append(made, fmt.Sprintf("%s IN (SELECT %s FROM %s WHERE %s)", quoteName(ref.column), quoteName(ref.other), quoteName(parent.name), up.made))
		by = append(by, ref.column)
	}
	if len(made) > 0 {
		q.made, q.loss.By, q.loss.Known = strings.Join(made, " OR "), strings.Join(by, ", "), AtLeast
	}
	return q
}

// lessSure is a certainty when some rows cannot be told apart.
func lessSure(c Certainty) Certainty {
	if c == Exact || c == AtLeast {
		return AtLeast
	}
	return Unknown
}

// sql is one column of a SELECT: rows, made, changed, odd and old as a JSON array.
func (q question) sql() string {
	count := func(condition string) string {
		if condition == "" {
			return "0"
		}
		return "count(*) FILTER (WHERE " + condition + ")"
	}
	return fmt.Sprintf("(SELECT json_array(count(*), %s, %s, %s, %s) FROM %s)", count(q.made), count(q.changed), count(q.odd), count(q.old), quoteName(q.loss.Table))
}

// D1 allows 100 columns in a result and 100,000 bytes of SQL (feasibility.md §5).
const (
	maxLossColumns = 90
	maxLossBytes   = 80_000
)

// losses computes what going back to the state of a time takes away. Rows made after until are not counted; the zero time
// counts all. The database is read only: its catalogue once, and all its tables in as few calls as D1's limits allow.
func losses(ctx context.Context, cf *cloudflare.Client, db wrangler.D1Database, at, until time.Time) (out []Loss, undone []UndoneMigration, err error) {
	tables, err := readTables(ctx, cf, db)
	if err != nil {
		return nil, nil, err
	}
	scratch, err := d1.Open("")
	if err != nil {
		return nil, nil, fmt.Errorf("opening a database in memory: %w", err)
	}
	defer scratch.Close()
	c := &clocks{db: scratch, at: at, until: until}
	byName := map[string]*table{}
	var ledger string
	for _, t := range tables {
		byName[strings.ToLower(t.name)] = t
		for _, column := range t.columns {
			if found, ok := c.read(ctx, column, t.defaults[column]); ok {
				t.clocks = append(t.clocks, found)
			}
		}
	}
	var questions []question
	for _, t := range tables {
		switch {
		case strings.EqualFold(t.name, db.MigrationsTable) && slices.Contains(t.columns, "name") && slices.Contains(t.columns, "applied_at"):
			ledger = undoneQuery(t.name, at)
		case t.name == ChecksumTable, t.name == fleet.IdentityTable:
		default:
			questions = append(questions, lossOf(byName, t))
		}
	}
	asked := []string{}
	for _, q := range questions {
		asked = append(asked, q.sql())
	}
	if ledger != "" {
		asked = append(asked, ledger)
	}
	answers, err := answer(ctx, cf, db, asked)
	if err != nil {
		return nil, nil, err
	}
	for i, q := range questions {
		var n [5]int64
		if err := json.Unmarshal([]byte(answers[i]), &n); err != nil {
			return nil, nil, fmt.Errorf("reading the rows of %s: %w", q.loss.Table, err)
		}
		q.loss.Rows, q.loss.Made, q.loss.Changed, q.loss.old = n[0], n[1], n[2], n[4]
		if n[3] > 0 {
			q.loss.Known = lessSure(q.loss.Known)
		}
		if q.loss.Rows == 0 {
			q.loss.Known = Exact // nothing is there to be lost
		}
		if q.loss.Known == Unknown {
			q.loss.Made = 0
		}
		out = append(out, q.loss)
	}
	if ledger != "" {
		var list [][3]any
		if err := json.Unmarshal([]byte(answers[len(questions)]), &list); err != nil {
			return nil, nil, fmt.Errorf("reading the migration ledger of %s: %w", db.DatabaseName, err)
		}
		for _, r := range list {
			undone = append(undone, UndoneMigration{Name: fmt.Sprint(r[0]), AppliedAt: fmt.Sprint(r[1]), Sure: r[2] == float64(1)})
		}
	}
	return out, undone, nil
}

// undoneQuery asks for the migrations that were applied after a time. The ledger counts in seconds: at any but the last
// millisecond of one, those of that very second may or may not be undone.
func undoneQuery(ledger string, at time.Time) string {
	sure, perhaps := julianDay(at)+halfMillisecond, julianDay(at)+halfMillisecond
	if !at.Equal(endOfSecond(at)) {
		perhaps = julianDay(at.Truncate(time.Second)) - halfMillisecond
	}
	return fmt.Sprintf("(SELECT json_group_array(json_array(name, applied_at, julianday(applied_at) > %s)) FROM (SELECT name, applied_at FROM %s WHERE julianday(applied_at) > %s ORDER BY rowid))",
		literal(sure), quoteName(ledger), literal(perhaps))
}

// answer evaluates scalar subqueries in as few calls as D1's limits allow.
func answer(ctx context.Context, cf *cloudflare.Client, db wrangler.D1Database, asked []string) ([]string, error) {
	var answers []string
	for len(asked) > 0 {
		var sql strings.Builder
		n := 0
		for n < len(asked) && n < maxLossColumns && (n == 0 || sql.Len()+len(asked[n]) < maxLossBytes) {
			fmt.Fprintf(&sql, "%s %s AS a%d", map[bool]string{true: "SELECT", false: ","}[n == 0], asked[n], n)
			n++
		}
		rows, err := cf.D1Read(ctx, db.DatabaseID, sql.String())
		if err != nil {
			return nil, fmt.Errorf("counting the rows of %s: %w", db.DatabaseName, err)
		}
		var list []map[string]string
		if err := rows.Decode(&list); err != nil || len(list) != 1 {
			return nil, fmt.Errorf("counting the rows of %s: an answer of %d rows: %w", db.DatabaseName, len(list), errors.Join(err, cloudflare.ErrMalformed))
		}
		for i := range n {
			answers = append(answers, list[0][fmt.Sprintf("a%d", i)])
		}
		asked = asked[n:]
	}
	return answers, nil
}
