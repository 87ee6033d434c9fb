package cloudflare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"testing"
)

// paged plays a server that pages a list of n zones in one of the API's styles.
func paged(style string, n int) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		size, _ := strconv.Atoi(q.Get("per_page"))
		number, _ := strconv.Atoi(q.Get("page"))
		from := (number - 1) * size
		info := map[string]any{}
		switch style {
		case "total_count", "total_count, clamped":
			if style == "total_count, clamped" {
				size = min(size, 20) // the server gives less than was asked for, and does not say so
				from = (number - 1) * size
			}
			info = map[string]any{"page": number, "per_page": q.Get("per_page"), "total_count": n}
			delete(info, "per_page")
		case "total_pages":
			info = map[string]any{"page": number, "per_page": size, "total_pages": (n + size - 1) / size}
		case "per_page":
			size = min(size, 20) // less than was asked for, and says so
			from = (number - 1) * size
			info = map[string]any{"page": number, "per_page": size}
		case "cursor":
			from, _ = strconv.Atoi(q.Get("cursor"))
			if from+size < n {
				info = map[string]any{"cursor": strconv.Itoa(from + size)}
			}
		case "not paged":
			from, size = 0, n
		}
		items := []Zone{}
		for i := max(from, 0); i < min(from+size, n); i++ {
			items = append(items, Zone{ID: fmt.Sprint(i), Name: fmt.Sprintf("%d.example", i)})
		}
		answer := map[string]any{"success": true, "result": items}
		if len(info) > 0 {
			answer["result_info"] = info
		}
		json.NewEncoder(rw).Encode(answer)
	}
}

func TestPaging(t *testing.T) {
	for _, tc := range []struct {
		style    string
		items    int
		requests int
	}{
		{"total_count", 0, 1}, {"total_count", 49, 1}, {"total_count", 50, 1}, {"total_count", 51, 2}, {"total_count", 130, 3},
		{"total_count, clamped", 45, 3},
		{"total_pages", 50, 1}, {"total_pages", 130, 3},
		{"per_page", 45, 3}, {"per_page", 40, 3},
		{"no info", 0, 1}, {"no info", 49, 1}, {"no info", 50, 2}, {"no info", 130, 3},
		{"cursor", 0, 1}, {"cursor", 50, 2}, {"cursor", 51, 2}, {"cursor", 130, 3},
		{"not paged", 20, 1}, {"not paged", 50, 2}, {"not paged", 130, 2},
	} {
		t.Run(fmt.Sprint(tc), func(t *testing.T) {
			w := newWorld(t, paged(tc.style, tc.items))
			zones, err := w.Zones(context.Background(), "")
			if err != nil {
				t.Fatal(err)
			}
			if len(zones) != tc.items || len(w.requests()) != tc.requests {
				t.Errorf("%d items in %d requests, want %d in %d", len(zones), len(w.requests()), tc.items, tc.requests)
			}
			for i, z := range zones {
				if z.ID != fmt.Sprint(i) {
					t.Fatalf("item %d is %v", i, z)
				}
			}
			for _, r := range w.requests() {
				q, _ := url.ParseQuery(r.Query)
				if q.Get("account.id") != testAccount || q.Has("page") && q.Has("cursor") {
					t.Errorf("asked for %s", r.Query)
				}
			}
		})
	}
}

// The typed SDK calls page in the same way.
func TestPagingOfTypedCalls(t *testing.T) {
	ctx := context.Background()
	for name, tc := range map[string]struct {
		size int
		list func(*Client) (int, error)
	}{
		"Accounts":     {50, func(c *Client) (int, error) { l, err := c.Accounts(ctx); return len(l), err }},
		"DNSRecords":   {100, func(c *Client) (int, error) { l, err := c.DNSRecords(ctx, "zone", "x.example"); return len(l), err }},
		"KVNamespaces": {100, func(c *Client) (int, error) { l, err := c.KVNamespaces(ctx); return len(l), err }},
		"D1Databases":  {1000, func(c *Client) (int, error) { l, err := c.D1Databases(ctx, ""); return len(l), err }},
	} {
		for _, style := range []string{"total_count", "total_pages", "no info"} {
			w := newWorld(t, paged(style, tc.size+1))
			if n, err := tc.list(w.Client); err != nil || n != tc.size+1 || len(w.requests()) != 2 {
				t.Errorf("%s, %s: %d items in %d requests, %v", name, style, n, len(w.requests()), err)
			}
		}
	}
	w := newWorld(t, script(
		answer{status: 200, body: `{"success":true,"result":{"buckets":[{"name":"a"}]},"result_info":{"cursor":"c1","per_page":1000}}`},
		answer{status: 200, body: `{"success":true,"result":{"buckets":[{"name":"b"}]},"result_info":{"cursor":"","per_page":1000}}`},
	))
	buckets, err := w.R2Buckets(ctx, "")
	if err != nil || len(buckets) != 2 || w.requests()[1].Query != "cursor=c1&per_page=1000" {
		t.Errorf("R2Buckets: %v, %v, asked %s", buckets, err, w.requests()[1].Query)
	}
}

func TestPagingDoesNotLoop(t *testing.T) {
	fifty := func(info string) answer {
		items := make([]Zone, 50)
		text, _ := json.Marshal(items)
		return answer{status: 200, body: `{"success":true,"result":` + string(text) + `,"result_info":` + info + `}`}
	}
	n := 0
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		most    int
	}{
		"same cursor":     {script(fifty(`{"cursor":"a"}`)), 2},
		"cursor circle":   {script(fifty(`{"cursor":"a"}`), fifty(`{"cursor":"b"}`), fifty(`{"cursor":"a"}`)), 3},
		"same page":       {script(fifty(`{"total_count":1000}`)), 2},
		"endless numbers": {func(rw http.ResponseWriter, r *http.Request) { n++; paged("no info", 1<<30)(rw, r) }, maxPages},
		"endless cursors": {func(rw http.ResponseWriter, r *http.Request) { paged("cursor", 1<<30)(rw, r) }, maxPages},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.handler)
			_, err := w.Zones(context.Background(), "")
			if !errors.Is(err, ErrPaging) || asError(t, err).Op != "Zones" || len(w.requests()) != tc.most {
				t.Errorf("got %v after %d requests, want ErrPaging after %d", err, len(w.requests()), tc.most)
			}
		})
	}
}

// A page that cannot be read must not shorten the list.
func TestPagingFailsWhole(t *testing.T) {
	first := answer{status: 200, body: `{"success":true,"result":[{"id":"1"}],"result_info":{"cursor":"c"}}`}
	for name, second := range map[string]answer{
		"refused":     no(400, 1, "no"),
		"not a list":  ok(`{}`),
		"null":        ok(`null`),
		"odd paging":  {status: 200, body: `{"success":true,"result":[],"result_info":{"page":"one"}}`},
		"wrong items": ok(`[1]`),
	} {
		w := newWorld(t, script(first, second))
		if zones, err := w.Zones(context.Background(), ""); err == nil || zones != nil {
			t.Errorf("%s: got %v, %v", name, zones, err)
		}
	}
}
