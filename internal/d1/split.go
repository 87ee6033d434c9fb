package d1

import (
	"fmt"
	"io"
	"iter"
	"strings"
)

// Statement is one statement of a text.
type Statement struct {
	// SQL is the text of the statement, byte for byte, from its first comment or token to its semicolon.
	SQL string
	// Offset is where SQL begins in the text, in bytes.
	Offset int
	// Line and Column are where the first token that is not a comment stands, 1-based, Column in bytes.
	Line, Column int
	// Complete says that SQL ends with a semicolon of its own. Without one, text that is put behind the statement
	// becomes part of it: wrangler's bookkeeping INSERT after a migration file does (wire.md §7.2).
	Complete bool
}

// UnfinishedError is a quote or, where that matters, a comment that never closes, or a NUL byte, where SQLite stops
// reading.
type UnfinishedError struct {
	// Token is what was opened: ', ", `, [ or /*; or "\x00".
	Token string
	// Offset is where it stands in the text, in bytes.
	Offset int
	// Line and Column are where it stands, 1-based, Column in bytes.
	Line, Column int
}

// Error says what is unfinished.
func (e *UnfinishedError) Error() string {
	if e.Token == "\x00" {
		return fmt.Sprintf("line %d: NUL byte in SQL", e.Line)
	}
	return fmt.Sprintf("line %d: %s never closes", e.Line, e.Token)
}

// Split cuts SQL text into statements exactly where SQLite's parser does: a semicolon ends a statement unless it stands
// in a quote ('…', "…", `…`, […]), a comment, a bound variable, the body of a trigger or the arguments of a virtual
// table. Whether the statements mean anything is not its concern.
//
// Text without a statement (blanks, a byte order mark, comments, lone semicolons) yields nothing, wherever it stands.
// When a quote never closes the error is an *UnfinishedError and the last statement is the broken one.
func Split(sql string) ([]Statement, error) {
	var list []Statement
	c := cursor{line: 1, column: 1}
	for len(sql) > 0 {
		s, n := scan(sql)
		if s.kind != emptyStatement {
			list = append(list, c.statement(sql, s))
		}
		if s.unfinished >= 0 {
			return list, c.unfinished(sql, s)
		}
		c.advance(sql[:n])
		sql = sql[n:]
	}
	return list, nil
}

// maxBuffered is how much of a stream is kept while waiting for the end of a statement. D1 takes 100,000 bytes; the
// slack is for comments before it.
const maxBuffered = 16 << 20

// ReadStatements yields the statements of a stream as Split would, without holding more than one statement in memory.
// It ends after the first error: one of r, an *UnfinishedError, or a statement of more than 16 MiB.
func ReadStatements(r io.Reader) iter.Seq2[Statement, error] {
	return func(yield func(Statement, error) bool) {
		c := cursor{line: 1, column: 1}
		var buffer []byte
		var eof bool
		for step := 64 << 10; ; {
			// A cut is final once its semicolon has been seen, since nothing behind it can move it.
			text := string(buffer)
			for len(text) > 0 {
				s, n := scan(text)
				if !eof && !s.terminated {
					break
				}
				if s.kind != emptyStatement && !yield(c.statement(text, s), nil) {
					return
				}
				if s.unfinished >= 0 {
					yield(Statement{}, c.unfinished(text, s))
					return
				}
				c.advance(text[:n])
				text = text[n:]
			}
			if eof {
				return
			}
			if len(text) > maxBuffered {
				yield(Statement{}, fmt.Errorf("line %d: statement is longer than %d bytes", c.line, maxBuffered))
				return
			}
			if len(text) >= step {
				step *= 2 // a long statement is scanned again only each time it doubles
			}
			buffer = append(make([]byte, 0, len(text)+step), text...)
			n, err := io.ReadFull(r, buffer[len(buffer):cap(buffer)])
			buffer = buffer[:len(buffer)+n]
			switch err {
			case nil:
			case io.EOF, io.ErrUnexpectedEOF:
				eof = true
			default:
				yield(Statement{}, fmt.Errorf("reading SQL: %w", err))
				return
			}
		}
	}
}

// cursor is a position in a text.
type cursor struct {
	offset, line, column int
}

func (c *cursor) advance(s string) {
	c.offset += len(s)
	if n := strings.Count(s, "\n"); n > 0 {
		c.line += n
		c.column = len(s) - strings.LastIndexByte(s, '\n')
		return
	}
	c.column += len(s)
}

// statement describes what scan found in text, which begins at c.
func (c cursor) statement(text string, s scanned) Statement {
	first := c
	first.advance(text[:s.token])
	return Statement{
		SQL: text[s.start:s.end], Offset: c.offset + s.start,
		Line: first.line, Column: first.column,
		Complete: s.terminated,
	}
}

func (c cursor) unfinished(text string, s scanned) error {
	c.advance(text[:s.unfinished])
	return &UnfinishedError{Token: text[s.unfinished : s.unfinished+1], Offset: c.offset, Line: c.line, Column: c.column}
}

// scanned is what scan found out about the first statement of a text.
type scanned struct {
	start, end int  // from the first to behind the last byte that is not blank
	token      int  // offset of the first token that is not a comment
	terminated bool // ends with its semicolon
	unfinished int  // offset of a quote that never closes or of a NUL; -1 when there is none
	kind       statementKind
}

// statementKind is as much of a statement's grammar as decides where it ends.
type statementKind int

const (
	emptyStatement    statementKind = iota // no token yet
	explainStatement                       // EXPLAIN [QUERY PLAN], and what follows decides
	createStatement                        // CREATE [TEMP], and what follows decides
	triggerStatement                       // CREATE TRIGGER: inner semicolons do not end it
	triggerSemicolon                       // the same, directly after a semicolon
	triggerEnd                             // the same, after "; END": the next semicolon ends it
	virtualStatement                       // CREATE VIRTUAL TABLE, before USING
	argumentStatement                      // the same, from USING on: semicolons in parentheses are arguments
	plainStatement
)

// scan finds the first statement of text, together with the blanks and comments before it, and how many bytes it takes.
// The grammar it follows is that of sqlite3RunParser: the parser, not the tokenizer, decides which semicolon is the last.
func scan(text string) (s scanned, n int) {
	s.start, s.unfinished = -1, -1
	depth := 0
	for n < len(text) {
		from := n
		t, end := nextToken(text[n:])
		n += end
		if t != blankToken {
			s.end = n
			if s.start < 0 {
				s.start = from
			}
		}
		switch t {
		case blankToken, commentToken:
			continue
		case unfinishedToken:
			s.unfinished = from
			// SQLite reads up to the end of the text or to a NUL, which it takes for one, and no further.
			if text[from] == 0 {
				s.end = from
				return s, from
			}
			if s.kind == emptyStatement {
				s.kind, s.token = plainStatement, from
			}
			return s, n
		case semicolonToken:
			switch {
			case s.kind == emptyStatement:
				s.terminated = true
				return s, n
			case s.kind == triggerStatement || s.kind == triggerSemicolon:
				s.kind = triggerSemicolon
			case s.kind == argumentStatement && depth > 0:
			default:
				s.terminated = true
				return s, n
			}
			continue
		}
		if s.kind == emptyStatement {
			s.token = from
		}
		switch t {
		case openToken:
			depth++
		case closeToken:
			depth--
		}
		s.kind = s.kind.after(t, text[from:n])
	}
	return s, n
}

// after is the kind of a statement once a token that is neither blank, comment nor semicolon follows.
func (k statementKind) after(t tokenKind, text string) statementKind {
	is := func(words ...string) bool {
		if t != wordToken {
			return false
		}
		for _, w := range words {
			if strings.EqualFold(text, w) {
				return true
			}
		}
		return false
	}
	switch k {
	case emptyStatement, explainStatement:
		switch {
		case is("create"):
			return createStatement
		case is("explain"):
			return explainStatement
		case k == explainStatement && is("query", "plan"):
			return explainStatement
		}
		return plainStatement
	case createStatement:
		switch {
		case is("temp", "temporary"):
			return createStatement
		case is("trigger"):
			return triggerStatement
		case is("virtual"):
			return virtualStatement
		}
		return plainStatement
	case virtualStatement:
		if is("using") {
			return argumentStatement
		}
	case triggerSemicolon:
		if is("end") {
			return triggerEnd
		}
		return triggerStatement
	case triggerEnd:
		return triggerStatement
	}
	return k
}
