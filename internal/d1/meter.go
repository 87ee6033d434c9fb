package d1

import (
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// meter counts the rows that a statement reads and writes, from what SQLite tells: the authorizer names, while a
// statement compiles, the tables and columns that it may touch; the pre-update hook names every row that it does touch.
type meter struct {
	transaction bool                       // the statement wanted BEGIN, COMMIT, SAVEPOINT or the like
	absent      bool                       // it wanted a function that D1 does not know
	reads       bool                       // from a table
	updates     map[string]map[string]bool // columns that may be updated, by table
	writes      map[string]bool            // tables that rows may be written to
	sequences   map[string]bool            // AUTOINCREMENT tables that got a row
	written     int64
	tables      map[string]table // what is known about tables; empty after a schema change
}

// table is what counting needs to know about a table.
type table struct {
	rowID   string     // the column that is the rowid; "" when none is
	counts  bool       // AUTOINCREMENT: sqlite_sequence is written once a statement
	indexes [][]string // their columns; an expression is ""
}

// begin forgets the statement before.
func (m *meter) begin() {
	m.transaction, m.absent, m.reads, m.written = false, false, false, 0
	clear(m.updates)
	clear(m.writes)
	clear(m.sequences)
}

// forget drops what is known about the schema.
func (m *meter) forget() { clear(m.tables) }

func (m *meter) refused(action sqlite3.AuthorizerActionCode, function string) {
	switch action {
	case sqlite3.AUTH_TRANSACTION, sqlite3.AUTH_SAVEPOINT:
		m.transaction = true
	case sqlite3.AUTH_FUNCTION:
		m.absent = absentFunctions[strings.ToLower(function)]
	}
}

func (m *meter) compiles(action sqlite3.AuthorizerActionCode, name, column string) {
	switch action {
	case sqlite3.AUTH_READ:
		m.reads = true
	case sqlite3.AUTH_UPDATE:
		if m.updates == nil {
			m.updates = map[string]map[string]bool{}
		}
		if m.updates[name] == nil {
			m.updates[name] = map[string]bool{}
		}
		m.updates[name][column] = true
		fallthrough
	case sqlite3.AUTH_INSERT:
		if m.writes == nil {
			m.writes = map[string]bool{}
		}
		m.writes[name] = true
	}
}

// describeTable lists the keyed columns of all indexes of a table, other than the one that is the table itself.
const describeTable = `
	SELECT l.name, coalesce(x.name, ''),
		coalesce((SELECT name FROM pragma_table_info(?1) WHERE pk = 1 AND type = 'INTEGER' COLLATE NOCASE
			AND (SELECT max(pk) FROM pragma_table_info(?1)) = 1), '')
	FROM (SELECT wr FROM pragma_table_list(?1) WHERE schema = 'main') t
		LEFT JOIN pragma_index_list(?1) l ON l.origin <> 'pk' OR NOT t.wr
		LEFT JOIN pragma_index_xinfo(l.name) x ON x.key
	ORDER BY l.seq, x.seqno`

// prepare looks up the tables that the compiled statement may write to.
func (m *meter) prepare(db *DB) error {
	for name := range m.writes {
		if _, known := m.tables[name]; known {
			continue
		}
		t, err := db.describe(name)
		if err != nil {
			return err
		}
		if m.tables == nil {
			m.tables = map[string]table{}
		}
		m.tables[name] = t
	}
	return nil
}

func (db *DB) describe(name string) (t table, err error) {
	db.trusted = true
	defer func() { db.trusted = false }()
	s, _, err := db.conn.Prepare(describeTable)
	if err != nil {
		return t, err
	}
	defer s.Close()
	if err := s.BindText(1, name); err != nil {
		return t, err
	}
	previous := ""
	for s.Step() {
		t.rowID = s.ColumnText(2)
		index := s.ColumnText(0)
		if index == "" {
			continue
		}
		if index != previous {
			t.indexes = append(t.indexes, nil)
			previous = index
		}
		last := len(t.indexes) - 1
		t.indexes[last] = append(t.indexes[last], s.ColumnText(1))
	}
	if err := s.Err(); err != nil || t.rowID == "" {
		return t, err
	}
	_, _, _, _, t.counts, err = db.conn.TableColumnMetadata("main", name, t.rowID)
	return t, err
}

// row is called by SQLite before it changes a row.
func (m *meter) row(p sqlite3.PreUpdateData) {
	t := m.tables[p.Table]
	m.written++
	switch p.Op {
	case sqlite3.AUTH_INSERT:
		m.written += int64(len(t.indexes))
		if t.counts {
			if m.sequences == nil {
				m.sequences = map[string]bool{}
			}
			m.sequences[p.Table] = true
		}
	case sqlite3.AUTH_UPDATE:
		columns := m.updates[p.Table]
		for _, index := range t.indexes {
			if columns["ROWID"] || columns[t.rowID] || touches(columns, index) {
				m.written++
			}
		}
	}
}

func touches(updated map[string]bool, index []string) bool {
	for _, column := range index {
		if column == "" || updated[column] {
			return true
		}
	}
	return false
}

// count is what the finished statement read and wrote.
func (m *meter) count(s *sqlite3.Stmt, rows int) (read, written int64) {
	if m.reads {
		// A scan of n rows takes n-1 steps from one to the next.
		if steps := int64(s.Status(sqlite3.STMTSTATUS_FULLSCAN_STEP, false)); steps > 0 {
			read = steps + 1
		}
		read = max(read, int64(rows))
	}
	return read, m.written + int64(len(m.sequences))
}
