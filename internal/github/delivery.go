package github

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	sdk "github.com/google/go-github/v62/github"
)

// Sent is an attempt at a delivery, as GitHub remembers it for three days.
type Sent struct {
	ID           int64
	GUID         string // the same for all attempts
	Event        string
	Action       string
	Status       string // GitHub's word: OK, or what went wrong
	OK           bool   // it was answered with a 2xx
	Redelivery   bool
	DeliveredAt  time.Time
	Installation int64
	Repository   int64
}

const maxDeliveryPages = 500 // 50,000 attempts

// Deliveries lists the attempts at deliveries to the App since a time, newest first. As the App itself (JWT). One request for
// each hundred. A delivery that failed and was sent again is there as often as it was tried, under one GUID.
func (c *Client) Deliveries(ctx context.Context, since time.Time) ([]Sent, error) {
	cl := call{method: http.MethodGet, path: "/app/hook/deliveries"}
	type wireSent struct {
		ID           int64      `json:"id"`
		GUID         string     `json:"guid"`
		Delivered    *time.Time `json:"delivered_at"`
		Redelivery   bool       `json:"redelivery"`
		Status       string     `json:"status"`
		Code         int        `json:"status_code"`
		Event        string     `json:"event"`
		Action       *string    `json:"action"`
		Installation *int64     `json:"installation_id"`
		Repository   *int64     `json:"repository_id"`
	}
	var all []Sent
	seen := map[int64]bool{}
	cursors := map[string]bool{}
	for cursor := ""; ; {
		if len(cursors) == maxDeliveryPages || cursors[cursor] {
			return nil, &Error{Method: cl.method, Path: cl.path, Err: ErrPaging}
		}
		cursors[cursor] = true
		query := url.Values{"per_page": {strconv.Itoa(pageSize)}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		var page []wireSent
		resp, err := c.asApp(ctx, cl, query, &page)
		if err != nil {
			return nil, err
		}
		for _, w := range page {
			if w.ID <= 0 || !guidRule.MatchString(w.GUID) || w.Delivered == nil {
				return nil, &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: a delivery has no id, no name or no time", ErrMalformed)}
			}
			if w.Delivered.Before(since) || seen[w.ID] {
				continue
			}
			seen[w.ID] = true
			s := Sent{ID: w.ID, GUID: w.GUID, Event: clean(w.Event), Status: clean(w.Status), OK: w.Status == "OK" || w.Code/100 == 2, Redelivery: w.Redelivery, DeliveredAt: *w.Delivered}
			if w.Action != nil {
				s.Action = clean(*w.Action)
			}
			if w.Installation != nil {
				s.Installation = *w.Installation
			}
			if w.Repository != nil {
				s.Repository = *w.Repository
			}
			all = append(all, s)
		}
		if cursor = resp.Cursor; cursor == "" || len(page) > 0 && page[len(page)-1].Delivered.Before(since) {
			return all, nil
		}
	}
}

// Redeliver asks GitHub for another attempt, which comes with the GUID of the first. One request, and another when its answer
// is lost: whoever takes deliveries tells by the GUID which ones it had.
func (c *Client) Redeliver(ctx context.Context, id int64) error {
	cl := call{method: http.MethodPost, path: fmt.Sprintf("/app/hook/deliveries/%d/attempts", id), repeat: true}
	_, err := c.asApp(ctx, cl, nil, nil)
	return missing(err, "the delivery %d", id)
}

// asApp sends a request that is the App's own, not an installation's.
func (c *Client) asApp(ctx context.Context, cl call, query url.Values, out any) (resp *sdk.Response, err error) {
	c.once.Do(c.setUp)
	if c.fault == nil && c.app == nil {
		return nil, &Error{Method: cl.method, Path: cl.path, Err: fmt.Errorf("%w: it needs an App and its key", ErrConfig)}
	}
	var api *sdk.Client
	if c.app != nil {
		api = c.app.api
	}
	err = c.doWith(ctx, cl, api, func(ctx context.Context, api *sdk.Client) error {
		address := cl.path[1:]
		if len(query) > 0 {
			address += "?" + query.Encode()
		}
		req, err := api.NewRequest(cl.method, address, nil)
		if err != nil {
			return err
		}
		if resp, err = api.Do(ctx, req, out); isAccepted(err) {
			err = nil // a 202 is what it is to answer
		}
		return err
	})
	return resp, err
}
