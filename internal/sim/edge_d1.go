package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"

	"github.com/kvick/shopfleet/internal/d1"
)

// The protocol between workerd's D1 binding (cloudflare-internal:d1-api in the binary) and D1: POST /query and /execute
// with one {sql, params} or an array of them, answered by an object with success for each, or by one with error.

// bookmarkHeader carries the bookmark of a session (D1Database.withSession).
const bookmarkHeader = "X-Cf-D1-Session-Commit-Token"

func (g *gateway) serveD1(rw http.ResponseWriter, r *http.Request, b bindingEnd) {
	fail := func(err error) {
		answerJSON(rw, map[string]any{"success": false, "error": err.Error()})
	}
	db, err := g.e.w.storage.findDatabase(b.account, b.resource)
	if err != nil {
		fail(err)
		return
	}
	queries, err := readQueries(r)
	if err != nil {
		fail(err)
		return
	}
	results, err := db.Batch(r.Context(), queries)
	if err != nil {
		fail(err)
		return
	}
	if r.Header.Get(bookmarkHeader) != "" {
		// There is one copy of the data, so every bookmark is satisfied; it only has to sort after the session's earlier ones.
		rw.Header().Set(bookmarkHeader, fmt.Sprintf("%016x-%s", g.e.w.now().UnixMilli(), strings.Repeat("0", 8)))
	}
	table := r.URL.Query().Get("resultsFormat") == "ROWS_AND_COLUMNS"
	answers := make([]map[string]any, len(results))
	for i, result := range results {
		answers[i] = map[string]any{"success": true, "results": d1Rows(result, table), "meta": d1Meta(result.Meta)}
	}
	answerJSON(rw, answers)
}

func readQueries(r *http.Request) ([]d1.Query, error) {
	type query struct {
		SQL    string `json:"sql"`
		Params []any  `json:"params"`
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the query: %w", err)
	}
	list := make([]query, 1)
	var into any = &list[0]
	if bytes.HasPrefix(body, []byte("[")) {
		into = &list
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber() // a 64-bit integer is not a float
	if err := dec.Decode(into); err != nil {
		return nil, fmt.Errorf("reading the query: %w", err)
	}
	out := make([]d1.Query, len(list))
	for i, q := range list {
		out[i].SQL = q.SQL
		for _, p := range q.Params {
			value, err := d1Param(p)
			if err != nil {
				return nil, err
			}
			out[i].Params = append(out[i].Params, value)
		}
	}
	return out, nil
}

// d1Param turns a JSON value into a parameter: a whole number is an INTEGER, an array is a BLOB, byte by byte.
func d1Param(p any) (any, error) {
	switch p := p.(type) {
	case json.Number:
		if n, err := p.Int64(); err == nil {
			return n, nil
		}
		return p.Float64()
	case []any:
		blob := make([]byte, len(p))
		for i, x := range p {
			n, ok := x.(json.Number)
			v, err := n.Int64()
			if !ok || err != nil || v < 0 || v > 255 {
				return nil, fmt.Errorf("a parameter holds %v, expected bytes", x)
			}
			blob[i] = byte(v)
		}
		return blob, nil
	case nil, bool, string:
		return p, nil
	}
	return nil, fmt.Errorf("a parameter has the type %T", p)
}

// d1Rows is the result as the binding asked for it: a table of rows and columns, or an array of objects.
func d1Rows(r d1.Result, table bool) any {
	rows := make([][]any, len(r.Rows))
	for i, row := range r.Rows {
		rows[i] = make([]any, len(row))
		for j, v := range row {
			rows[i][j] = d1Cell(v)
		}
	}
	if table {
		return map[string]any{"columns": append([]string{}, r.Columns...), "rows": rows}
	}
	objects := make([]map[string]any, len(rows))
	for i, row := range rows {
		objects[i] = map[string]any{}
		for j, v := range row {
			objects[i][r.Columns[j]] = v
		}
	}
	return objects
}

// d1Cell is a value as JSON can carry it: a BLOB as an array of bytes; infinity, which JSON does not know, as null.
func d1Cell(v any) any {
	switch v := v.(type) {
	case []byte:
		bytes := make([]int, len(v))
		for i, b := range v {
			bytes[i] = int(b)
		}
		return bytes
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return nil
		}
	}
	return v
}

func d1Meta(m d1.Meta) map[string]any {
	ms := float64(m.Duration.Microseconds()) / 1000
	return map[string]any{
		"served_by": "sim", "served_by_primary": true, "total_attempts": 1,
		"timings": map[string]any{"sql_duration_ms": ms}, "duration": ms,
		"changes": m.Changes, "last_row_id": m.LastRowID, "changed_db": m.ChangedDB, "size_after": m.SizeAfter,
		"rows_read": m.RowsRead, "rows_written": m.RowsWritten,
	}
}

func answerJSON(rw http.ResponseWriter, v any) {
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(v) // the reader is workerd; when it is gone there is nobody to tell
}
