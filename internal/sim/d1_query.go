package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"

	"github.com/kvick/shopfleet/internal/d1"
)

// POST …/query and …/raw (wire.md §7.2): one text of several statements, or a batch of texts; either way one transaction
// and one result per statement.

func queryDatabase(c *storageCall, db *database) (any, error) { return c.runQueries(db, objectsOf) }
func rawDatabase(c *storageCall, db *database) (any, error)   { return c.runQueries(db, tableOf) }

// statementResult is the result of one statement.
type statementResult struct {
	Results any       `json:"results"`
	Success bool      `json:"success"`
	Meta    *metaView `json:"meta,omitempty"`
	Error   string    `json:"error,omitempty"`
}

type metaView struct {
	ServedBy      string      `json:"served_by"`
	Region        string      `json:"served_by_region"`
	Primary       bool        `json:"served_by_primary"`
	Timings       timingsView `json:"timings"`
	Duration      float64     `json:"duration"`
	Changes       int64       `json:"changes"`
	LastRowID     int64       `json:"last_row_id"`
	ChangedDB     bool        `json:"changed_db"`
	SizeAfter     int64       `json:"size_after"`
	RowsRead      int64       `json:"rows_read"`
	RowsWritten   int64       `json:"rows_written"`
	TotalAttempts int         `json:"total_attempts,omitempty"`
}

type timingsView struct {
	SQL float64 `json:"sql_duration_ms"`
}

func (db *database) metaView(m d1.Meta) *metaView {
	ms := float64(m.Duration.Nanoseconds()) / 1e6
	return &metaView{
		ServedBy: "v3-prod", Region: db.region, Primary: true, Timings: timingsView{ms}, Duration: ms,
		Changes: m.Changes, LastRowID: m.LastRowID, ChangedDB: m.ChangedDB, SizeAfter: m.SizeAfter,
		RowsRead: m.RowsRead, RowsWritten: m.RowsWritten, TotalAttempts: 1,
	}
}

func (c *storageCall) runQueries(db *database, view func(d1.Result) (json.RawMessage, error)) (any, error) {
	queries, err := c.queries()
	if err != nil {
		return nil, err
	}
	results, err := db.Batch(c.ctx, queries)
	if err != nil {
		if db.s.itemFailures.Load() {
			return itemFailure(err)
		}
		return nil, d1Refusal(err)
	}
	list := make([]statementResult, len(results))
	for i, r := range results {
		rows, err := view(r)
		if err != nil {
			return nil, err
		}
		list[i] = statementResult{Results: rows, Success: true, Meta: db.metaView(r.Meta)}
	}
	return list, nil
}

// itemFailure reports a failure inside the result of a call that succeeds, as wrangler has to expect (wire.md §7.2).
func itemFailure(err error) (any, error) {
	refused, ok := d1Refusal(err).(*refusal)
	if !ok {
		return nil, err
	}
	return []statementResult{{Results: []any{}, Error: refused.Message}}, nil
}

// d1Refusal is how the API words what the engine refuses.
func d1Refusal(err error) error {
	var refused *d1.Error
	if errors.As(err, &refused) {
		return refuse(http.StatusBadRequest, 7500, "%s", refused.Message)
	}
	return err
}

// queries reads the body: {sql, params}, {batch: [{sql, params}, …]}, or the array alone.
func (c *storageCall) queries() ([]d1.Query, error) {
	type query struct {
		SQL    *string `json:"sql"`
		Params []any   `json:"params"`
	}
	var in struct {
		query
		Batch []query `json:"batch"`
	}
	malformed := func(why string) error {
		return refuse(http.StatusBadRequest, 7400, "The request is malformed: %s", why)
	}
	body := bytes.TrimSpace(c.body)
	var target any = &in
	if bytes.HasPrefix(body, []byte("[")) {
		target = &in.Batch
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(target); err != nil {
		return nil, malformed(err.Error())
	}
	list := in.Batch
	if in.SQL != nil {
		list = append(list, in.query)
	}
	if len(list) == 0 || in.SQL != nil && in.Batch != nil {
		return nil, malformed("Required properties: sql or batch")
	}
	queries := make([]d1.Query, len(list))
	for i, q := range list {
		if q.SQL == nil {
			return nil, malformed("Required property: sql")
		}
		queries[i].SQL = *q.SQL
		for _, p := range q.Params {
			value, err := d1Param(p)
			if err != nil {
				return nil, malformed(err.Error())
			}
			queries[i].Params = append(queries[i].Params, value)
		}
	}
	return queries, nil
}

// objectsOf writes rows as objects. Where columns share a name the last one wins, as in JavaScript.
func objectsOf(r d1.Result) (json.RawMessage, error) {
	var shown []int // columns in the order of the first with their name, each the last with it
	names := make([][]byte, len(r.Columns))
	for i, name := range r.Columns {
		var err error
		if names[i], err = json.Marshal(name); err != nil {
			return nil, err
		}
		if first := slices.IndexFunc(shown, func(j int) bool { return r.Columns[j] == name }); first >= 0 {
			shown[first] = i
			continue
		}
		shown = append(shown, i)
	}
	return writeRows(r.Rows, func(out *bytes.Buffer, row []any) error {
		out.WriteByte('{')
		for k, i := range shown {
			if k > 0 {
				out.WriteByte(',')
			}
			out.Write(names[i])
			out.WriteByte(':')
			if err := writeCell(out, row[i]); err != nil {
				return err
			}
		}
		return out.WriteByte('}')
	})
}

// tableOf writes columns and rows.
func tableOf(r d1.Result) (json.RawMessage, error) {
	rows, err := writeRows(r.Rows, func(out *bytes.Buffer, row []any) error {
		out.WriteByte('[')
		for i, v := range row {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := writeCell(out, v); err != nil {
				return err
			}
		}
		return out.WriteByte(']')
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"columns": append([]string{}, r.Columns...), "rows": rows})
}

func writeRows(rows [][]any, write func(*bytes.Buffer, []any) error) (json.RawMessage, error) {
	var out bytes.Buffer
	out.WriteByte('[')
	for i, row := range rows {
		if i > 0 {
			out.WriteByte(',')
		}
		if err := write(&out, row); err != nil {
			return nil, err
		}
	}
	out.WriteByte(']')
	return out.Bytes(), nil
}

// writeCell writes a value as D1 does, where it has been a JavaScript value: a number has 53 bits, a blob is an array of
// bytes, infinity is null.
func writeCell(out *bytes.Buffer, v any) error {
	switch x := v.(type) {
	case int64:
		if x > 1<<53 || x < -1<<53 {
			v = float64(x)
		}
	case float64:
		if math.IsInf(x, 0) {
			v = nil
		}
	case []byte:
		numbers := make([]int, len(x))
		for i, b := range x {
			numbers[i] = int(b)
		}
		v = numbers
	}
	text, err := json.Marshal(v)
	out.Write(text)
	return err
}
