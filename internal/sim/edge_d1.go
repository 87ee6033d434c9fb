package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/kvick/shopfleet/internal/d1"
)

// The protocol between workerd's D1 binding (cloudflare-internal:d1-api in the binary) and D1: POST /query and /execute
// with one {sql, params} or an array of them, answered by an object with success for each, or by one with error.

// sessionHeader carries the bookmark of a session (D1Database.withSession).
const sessionHeader = "X-Cf-D1-Session-Commit-Token"

func (g *gateway) serveD1(rw http.ResponseWriter, r *http.Request, b bindingEnd) {
	answer, bookmark, err := g.d1(r, b)
	if err != nil {
		answerJSON(rw, map[string]any{"success": false, "error": err.Error()})
		return
	}
	if bookmark != "" {
		rw.Header().Set(sessionHeader, bookmark)
	}
	answerJSON(rw, answer)
}

func (g *gateway) d1(r *http.Request, b bindingEnd) (answer []statementResult, bookmark string, err error) {
	db, err := g.e.w.storage.findDatabase(b.account, b.resource)
	if err != nil {
		return nil, "", err
	}
	queries, err := readQueries(r)
	if err != nil {
		return nil, "", err
	}
	results, err := db.Batch(r.Context(), queries)
	if err != nil {
		return nil, "", err
	}
	view := objectsOf
	if r.URL.Query().Get("resultsFormat") == "ROWS_AND_COLUMNS" {
		view = tableOf
	}
	answer = make([]statementResult, len(results))
	for i, result := range results {
		rows, err := view(result)
		if err != nil {
			return nil, "", err
		}
		answer[i] = statementResult{Results: rows, Success: true, Meta: db.metaView(result.Meta)}
	}
	if r.Header.Get(sessionHeader) != "" {
		// There is one copy of the data, so every bookmark that a session brings is satisfied already.
		bookmark, err = db.bookmark(r.Context(), nil)
	}
	return answer, bookmark, err
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

func answerJSON(rw http.ResponseWriter, v any) {
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(v) // the reader is workerd; when it is gone there is nobody to tell
}
