package cloudflare

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	sdk "github.com/cloudflare/cloudflare-go"
)

// D1Database is a database of the account.
type D1Database struct {
	ID            string    `json:"uuid"`
	Name          string    `json:"name"`
	CreatedAt     time.Time `json:"created_at"`
	Version       string    `json:"version"`           // production; alpha ones have no time travel
	FileSize      int64     `json:"file_size"`         // bytes; 0 in lists
	Tables        int       `json:"num_tables"`        // 0 in lists
	Region        string    `json:"running_in_region"` // such as WNAM; "" in lists
	CreatedRegion string    `json:"created_in_region"` // only when it was just created
	Jurisdiction  string    `json:"jurisdiction"`      // eu or fedramp; "" means none
	LocationHint  string    `json:"-"`                 // for CreateD1 only: where the primary should be, such as wnam
}

// D1Databases lists the account's databases with this name; "" means all of them.
func (c *Client) D1Databases(ctx context.Context, name string) ([]D1Database, error) {
	query := url.Values{}
	if name != "" {
		query.Set("name", name)
	}
	return list[D1Database](ctx, c, request{op: "D1Databases", query: query}, page{number: 1, size: 1000})
}

// D1Database finds a database by id or name (wire.md §7.1); ErrNotFound when there is none.
func (c *Client) D1Database(ctx context.Context, idOrName string) (D1Database, error) {
	var db D1Database
	err := c.raw(ctx, request{op: "D1Database", args: []string{idOrName}}, need(&db, "uuid"))
	return db, err
}

// CreateD1 makes a database of this Name, LocationHint and Jurisdiction; ErrConflict when the name is taken.
func (c *Client) CreateD1(ctx context.Context, db D1Database) (D1Database, error) {
	body := struct {
		Name         string `json:"name"`
		Hint         string `json:"primary_location_hint,omitempty"`
		Jurisdiction string `json:"jurisdiction,omitempty"`
	}{db.Name, db.LocationHint, db.Jurisdiction}
	var made D1Database
	err := c.raw(ctx, request{op: "CreateD1", body: body}, need(&made, "uuid"))
	return made, err
}

// DeleteD1 deletes a database with everything in it, its history included.
func (c *Client) DeleteD1(ctx context.Context, id string) error {
	return c.do(ctx, request{op: "DeleteD1", args: []string{id}}, func(ctx context.Context, api *sdk.API, _ string) error {
		return api.DeleteD1Database(ctx, c.account(), id)
	})
}

// D1Result is what one statement gave.
type D1Result struct {
	Rows json.RawMessage // an array of objects, column name to value
	Meta D1Meta
}

// Decode unmarshals the rows into v, a pointer to a slice of structs or maps.
func (r D1Result) Decode(v any) error { return json.Unmarshal(r.Rows, v) }

// D1Meta is what D1 reports about one statement.
type D1Meta struct {
	Changes      int64
	LastRowID    int64
	RowsRead     int64 // billed
	RowsWritten  int64 // billed
	Duration     time.Duration
	ChangedDB    bool
	SizeAfter    int64 // bytes
	ServedBy     string
	ServedRegion string // such as WNAM
	Primary      bool   // answered by the primary, not a replica
}

func (m *D1Meta) UnmarshalJSON(text []byte) error {
	// Every number is documented as a float, durations as milliseconds.
	var w struct {
		Changes        float64 `json:"changes"`
		LastRowID      float64 `json:"last_row_id"`
		RowsRead       float64 `json:"rows_read"`
		RowsWritten    float64 `json:"rows_written"`
		Duration       float64 `json:"duration"`
		ChangedDB      bool    `json:"changed_db"`
		SizeAfter      float64 `json:"size_after"`
		ServedBy       string  `json:"served_by"`
		ServedByRegion string  `json:"served_by_region"`
		Primary        bool    `json:"served_by_primary"`
	}
	err := json.Unmarshal(text, &w)
	*m = D1Meta{int64(w.Changes), int64(w.LastRowID), int64(w.RowsRead), int64(w.RowsWritten),
		time.Duration(w.Duration * float64(time.Millisecond)), w.ChangedDB, int64(w.SizeAfter), w.ServedBy, w.ServedByRegion, w.Primary}
	return err
}

// D1Exec runs SQL, several statements if need be, with the values of its ? parameters; D1 runs the statements of one call
// as one transaction (wire.md §7.2). A statement that reports a failure inside a successful answer fails the call, with
// its number in Error.Statement, where wrangler goes on and exits 0 (wire.md §13.2); the outcome counts as Unknown then,
// since the statements before it report success.
func (c *Client) D1Exec(ctx context.Context, database, sql string, params ...any) ([]D1Result, error) {
	return c.query(ctx, request{op: "D1Exec", args: []string{database}}, Unknown, sql, params)
}

// D1Read runs one SELECT, or one PRAGMA that only looks, and refuses any other SQL with ErrReadOnly before sending it.
// So that this can be told without D1's parser, SQL with $name, @name, :name or # outside quotes is refused as well.
func (c *Client) D1Read(ctx context.Context, database, sql string, params ...any) (D1Result, error) {
	r := request{op: "D1Read", args: []string{database}}
	if err := onlyReads(sql); err != nil {
		return D1Result{}, c.refuse(r, err)
	}
	results, err := c.query(ctx, r, Refused, sql, params)
	if err != nil {
		return D1Result{}, err
	}
	return results[0], nil
}

// query returns the results of the statements; outcome is that of an answer in which one of them failed.
func (c *Client) query(ctx context.Context, r request, outcome Outcome, sql string, params []any) ([]D1Result, error) {
	if !utf8.ValidString(sql) {
		return nil, c.refuse(r, fmt.Errorf("%w: the SQL is not valid UTF-8, and JSON would change it silently", ErrArgument))
	}
	r.body = struct {
		SQL    string `json:"sql"`
		Params []any  `json:"params,omitempty"`
	}{sql, params}
	var items []struct {
		Success bool            `json:"success"`
		Error   string          `json:"error"`
		Results json.RawMessage `json:"results"`
		Meta    D1Meta          `json:"meta"`
	}
	var results []D1Result
	err := c.raw(ctx, r, func(text []byte) error {
		if err := json.Unmarshal(text, &items); err != nil {
			return err
		}
		if len(items) == 0 {
			return fmt.Errorf("the result holds no statement")
		}
		for i, item := range items {
			if !item.Success {
				return &Error{Statement: i + 1, Message: orDefault(item.Error, "D1 reports a failure, and not why"), Outcome: outcome, envelope: true}
			}
			if len(item.Results) == 0 || string(item.Results) == "null" {
				item.Results = json.RawMessage("[]")
			}
			results = append(results, D1Result{Rows: item.Results, Meta: item.Meta})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// D1Bookmark returns the bookmark of the database's state at a time; the zero time means now.
func (c *Client) D1Bookmark(ctx context.Context, database string, at time.Time) (string, error) {
	query := url.Values{}
	if !at.IsZero() {
		query.Set("timestamp", at.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	var result struct{ Bookmark string }
	err := c.raw(ctx, request{op: "D1Bookmark", args: []string{database}, query: query}, need(&result, "bookmark"))
	return result.Bookmark, err
}

// D1Restored is the outcome of a restore: Previous leads back to the state before it.
type D1Restored struct {
	Bookmark string `json:"bookmark"`
	Previous string `json:"previous_bookmark"`
}

// D1Restore puts the whole database back to a bookmark, in place. What was written since is gone, until Previous is restored.
func (c *Client) D1Restore(ctx context.Context, database, bookmark string) (D1Restored, error) {
	r := request{op: "D1Restore", args: []string{database}, query: url.Values{"bookmark": {bookmark}}}
	if bookmark == "" {
		return D1Restored{}, c.refuse(r, fmt.Errorf("%w: no bookmark is given", ErrArgument))
	}
	var restored D1Restored
	err := c.raw(ctx, r, need(&restored, "bookmark", "previous_bookmark"))
	return restored, err
}

// pragmas are those that look and take at most the name of a table or index; with "=" or another argument others would write.
var pragmas = []string{"table_list", "table_info", "table_xinfo", "index_list", "index_info", "index_xinfo", "foreign_key_list", "foreign_key_check", "quick_check"}

// onlyReads accepts one SELECT or one of pragmas. It reads tokens as SQLite does where that matters: quotes, comments, and
// what ends a statement. SQLite's $name, @name, :name and #name can swallow a parenthesis with a quote in it ("$a(')"), which
// would shift what counts as quoted, so they are refused, as is a NUL anywhere, at which SQLite stops reading.
func onlyReads(sql string) error {
	if strings.IndexByte(sql, 0) >= 0 {
		return fmt.Errorf("%w: a NUL hides what follows it", ErrReadOnly)
	}
	var tokens []string
	ended := false
	for rest := sql; rest != ""; {
		n := 1
		switch ch := rest[0]; {
		case strings.IndexByte(" \t\n\f\r", ch) >= 0:
			rest = rest[1:]
			continue
		case strings.HasPrefix(rest, "--"):
			_, rest, _ = strings.Cut(rest, "\n")
			continue
		case strings.HasPrefix(rest, "/*") && len(rest) > 2: // at the very end it is an operator
			_, rest, _ = strings.Cut(rest[2:], "*/")
			continue
		case ch == ';':
			rest, ended = rest[1:], true
			continue
		case strings.IndexByte("$@#:", ch) >= 0:
			return fmt.Errorf("%w: %q cannot be judged", ErrReadOnly, ch)
		case strings.IndexByte("'\"`[", ch) >= 0:
			end := ch
			if ch == '[' {
				end = ']'
			}
			i := strings.IndexByte(rest[1:], end)
			if i < 0 {
				return fmt.Errorf("%w: a quote is not closed", ErrReadOnly)
			}
			n = i + 2 // a doubled quote reads as two quoted pieces in a row, which is as good
		case wordByte(ch):
			for n < len(rest) && wordByte(rest[n]) {
				n++
			}
		}
		if ended {
			return fmt.Errorf("%w: more than one SQL statement", ErrReadOnly)
		}
		tokens = append(tokens, strings.ToLower(rest[:n]))
		rest = rest[n:]
	}
	switch {
	case len(tokens) == 0:
		return fmt.Errorf("%w: no SQL statement", ErrReadOnly)
	case tokens[0] == "select":
		return nil
	case tokens[0] == "pragma" && len(tokens) > 1 && slices.Contains(pragmas, tokens[1]):
		if len(tokens) == 2 || len(tokens) == 5 && tokens[2] == "(" && tokens[4] == ")" {
			return nil
		}
	}
	return fmt.Errorf("%w: only one SELECT, or PRAGMA %s, may run here", ErrReadOnly, strings.Join(pragmas, ", "))
}

func wordByte(ch byte) bool {
	return ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9' || ch == '_' || ch >= 0x80
}
