package github

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// object is a JSON object.
type object = map[string]any

// answer is what a handler says.
type answer struct {
	status int
	body   any // nil for none
	header map[string]string
}

func ok(body any) (answer, error)      { return answer{status: http.StatusOK, body: body}, nil }
func created(body any) (answer, error) { return answer{status: http.StatusCreated, body: body}, nil }
func noContent() (answer, error)       { return answer{status: http.StatusNoContent}, nil }

// refusal is an answer that says no: basic-error, or validation-error when there are problems (wire.md §1).
type refusal struct {
	status   int
	message  string
	problems []any
	docs     string
	header   map[string]string
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s", r.status, r.message) }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status: status, message: fmt.Sprintf(format, args...), docs: "https://docs.github.com/rest"}
}

func notFound() *refusal { return refuse(http.StatusNotFound, "Not Found") }

// invalid is a 422 about one field. code is missing, missing_field, invalid, already_exists, unprocessable or custom;
// only custom carries a message.
func invalid(resource, field, code, message string) *refusal {
	r := refuse(http.StatusUnprocessableEntity, "Validation Failed")
	problem := object{"resource": resource, "code": code}
	if field != "" {
		problem["field"] = field
	}
	if message != "" {
		problem["message"] = message
	}
	r.problems = []any{problem}
	return r
}

// invalidSimply is the 422 of operations that name their problems as plain text (validation-error-simple).
func invalidSimply(message string) *refusal {
	r := refuse(http.StatusUnprocessableEntity, "Validation Failed")
	r.problems = []any{message}
	return r
}

func (r *refusal) body() object {
	b := object{"message": r.message, "documentation_url": r.docs, "status": strconv.Itoa(r.status)}
	if r.problems != nil {
		b["errors"] = r.problems
	}
	return b
}

// decode reads the JSON body into v. An empty body is an empty object.
func (c *call) decode(v any) error {
	if len(bytes.TrimSpace(c.body)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(c.body))
	err := d.Decode(v)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("more than one value")
		}
	}
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong) && wrong.Field == "":
		return refuse(http.StatusBadRequest, "Body should be a JSON object")
	case errors.As(err, &wrong):
		return refuse(http.StatusUnprocessableEntity, "Invalid request.\n\nFor 'properties/%s', %s is not a %s.", strings.ReplaceAll(wrong.Field, ".", "/"), wrong.Value, wrong.Type)
	}
	return refuse(http.StatusBadRequest, "Problems parsing JSON")
}

// missing is the 422 about a body without a required field.
func missing(names ...string) *refusal {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = strconv.Quote(n)
	}
	return refuse(http.StatusUnprocessableEntity, "Invalid request.\n\n%s weren't supplied.", strings.Join(quoted, ", "))
}

func (c *call) query(name string) string { return c.r.URL.Query().Get(name) }

// window is the part of n things that the request asked for by per_page and page.
func (c *call) window(n int) (from, to, page, perPage int) {
	perPage, page = 30, 1
	if v, err := strconv.Atoi(c.query("per_page")); err == nil && v > 0 {
		perPage = min(v, 100)
	}
	if v, err := strconv.Atoi(c.query("page")); err == nil && v > 0 {
		page = min(v, 1<<20)
	}
	from = min((page-1)*perPage, n)
	return from, min(from+perPage, n), page, perPage
}

// links is the Link header of page out of n things, "" when all fit on one.
func (c *call) links(n, page, perPage int) string {
	last := max((n+perPage-1)/perPage, 1)
	at := func(p int, rel string) string {
		q := c.r.URL.Query()
		q.Set("page", strconv.Itoa(p))
		return "<" + c.w.apiURL + c.r.URL.EscapedPath() + "?" + q.Encode() + `>; rel="` + rel + `"`
	}
	var out []string
	if page > 1 {
		out = append(out, at(page-1, "prev"))
	}
	if page < last {
		out = append(out, at(page+1, "next"), at(last, "last"))
	}
	if page > 1 {
		out = append(out, at(1, "first"))
	}
	return strings.Join(out, ", ")
}

// paged answers with a page of a list; wrap puts it into an object when the operation wants one.
func paged[T any](c *call, list []T, render func(T) any, wrap func(page []any) any) (answer, error) {
	from, to, page, perPage := c.window(len(list))
	out := []any{}
	for _, item := range list[from:to] {
		out = append(out, render(item))
	}
	a := answer{status: http.StatusOK, body: out}
	if wrap != nil {
		a.body = wrap(out)
	}
	if link := c.links(len(list), page, perPage); link != "" {
		a.header = map[string]string{"Link": link}
	}
	return a, nil
}

// total is the wrap of lists with a total_count.
func total(n int, key string) func([]any) any {
	return func(page []any) any { return object{"total_count": n, key: page} }
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// maybeStamp is null for the zero time.
func maybeStamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return stamp(t)
}

// maybe is null for "".
func maybe(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// escapePath escapes a name with slashes for a URL, segment by segment.
func escapePath(s string) string {
	parts := strings.Split(s, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}
