package github

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	sdk "github.com/google/go-github/v62/github"
)

// request is one call whose answer is decoded into out; nil leaves it. Narrow types of our own are used where go-github's
// decode far more than is needed, or where it does not escape a name in a path. It returns the answer's status.
func (c *Client) request(ctx context.Context, cl call, query url.Values, in, out any) (resp *sdk.Response, err error) {
	err = c.do(ctx, cl, func(ctx context.Context, api *sdk.Client) error {
		address := strings.TrimPrefix(cl.path, "/")
		if len(query) > 0 {
			address += "?" + query.Encode()
		}
		req, err := api.NewRequest(cl.method, address, in)
		if err != nil {
			return err
		}
		resp, err = api.Do(ctx, req, out)
		return err
	})
	return resp, err
}

// pages reads a list to its end, a hundred at a time, and hands each page to take. It stops early when take says so.
// GitHub's word on which page comes next is believed only as long as the number grows.
func pages[T any](ctx context.Context, c *Client, path string, query url.Values, most int, take func(page T) (more bool, err error)) error {
	cl := call{method: http.MethodGet, path: path}
	all := url.Values{"per_page": {strconv.Itoa(pageSize)}}
	for key, values := range query {
		all[key] = values
	}
	for page, read := 1, 0; page != 0; read++ {
		if read == most {
			return &Error{Method: cl.method, Path: cl.path, Err: ErrPaging}
		}
		all.Set("page", strconv.Itoa(page))
		var list T
		resp, err := c.request(ctx, cl, all, nil, &list)
		if err != nil {
			return err
		}
		more, err := take(list)
		if err != nil {
			return typed(&Error{Method: cl.method, Path: cl.path, Err: err})
		}
		if !more {
			return nil
		}
		if resp.NextPage != 0 && resp.NextPage <= page {
			return &Error{Method: cl.method, Path: cl.path, Err: ErrPaging}
		}
		page = resp.NextPage
	}
	return nil
}
