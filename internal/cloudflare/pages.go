package cloudflare

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"

	sdk "github.com/cloudflare/cloudflare-go"
)

// maxPages bounds every list: 1,000 pages are more than any account's limits allow, so more means a server that loops.
const maxPages = 1000

// page asks for one page of a list. Size 0 leaves page and per_page out.
type page struct {
	number, size int
	cursor       string
}

// query adds the page to the other parameters of a list. A cursor replaces the page number.
func (p page) query(base url.Values) url.Values {
	q := url.Values{}
	for k, v := range base {
		q[k] = v
	}
	if p.size > 0 {
		q.Set("per_page", strconv.Itoa(p.size))
	}
	switch {
	case p.cursor != "":
		q.Set("cursor", p.cursor)
	case p.number > 0:
		q.Set("page", strconv.Itoa(p.number))
	}
	return q
}

// collect reads a list to its end, whichever way the API pages it (wire.md §1). After a page it goes on with the cursor
// when the answer has one (P2); else it is done when it has as many as the totals say (P1), when the page is empty (P4),
// or when there are no totals and the page is shorter than was asked for (P3). A list without page numbers and cursor is
// one page (P5). fetch must ask for the page it is given.
func collect[T any](ctx context.Context, op string, first page, fetch func(context.Context, page) ([]T, sdk.ResultInfo, error)) ([]T, error) {
	all := []T{}
	cursors := map[string]bool{}
	var before []byte
	for p, n := first, 1; n <= maxPages; n++ {
		items, info, err := fetch(ctx, p)
		if err != nil {
			return nil, err
		}
		if info.Cursor != "" {
			if cursors[info.Cursor] {
				return nil, endless(op, "page %d leads back to an earlier one", n)
			}
			cursors[info.Cursor] = true
			all = append(all, items...)
			p = page{size: p.size, cursor: info.Cursor}
			continue
		}
		totals := info.Total > 0 || info.TotalPages > 0
		text, err := json.Marshal(items)
		if err == nil && len(items) > 0 && bytes.Equal(text, before) {
			if !totals {
				return all, nil // not a paged list after all: it answers every page number alike
			}
			return nil, endless(op, "page %d is the one before it again", n)
		}
		before = text
		all = append(all, items...)
		switch {
		case len(items) == 0, p.number == 0, p.cursor != "",
			info.Total > 0 && len(all) >= info.Total,
			info.Total == 0 && info.TotalPages > 0 && p.number >= info.TotalPages,
			!totals && len(items) < orDefault(info.PerPage, p.size):
			return all, nil
		}
		p.number++
	}
	return nil, endless(op, "more than %d pages", maxPages)
}

func endless(op, format string, args ...any) *Error {
	row := endpoints[op]
	cl := &call{op: op, endpoint: row, subpath: row.path}
	return cl.fail(&Error{Outcome: Refused, Err: fmt.Errorf("%w: "+format, append([]any{ErrPaging}, args...)...)})
}

// list collects a list whose result is a plain array.
func list[T any](ctx context.Context, c *Client, r request, first page) ([]T, error) {
	return collect(ctx, r.op, first, func(ctx context.Context, p page) ([]T, sdk.ResultInfo, error) {
		var items []T
		paged := r
		paged.query = p.query(r.query)
		info, err := c.rawPage(ctx, paged, &items)
		return items, info, err
	})
}
