package simtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/kvick/shopfleet/internal/sim"
)

const prefix = "/client/v4"

// document is the OpenAPI description with its routes.
type document struct {
	*openapi3.T
	router routers.Router
}

// description loads the document once per process; it is large.
var description = sync.OnceValues(func() (*document, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join(root, "testdata", "contracts", "cloudflare", "openapi.trimmed.json"))
	if err != nil {
		return nil, err
	}
	doc.Servers = openapi3.Servers{{URL: prefix}}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, err
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		return nil, err
	}
	return &document{doc, router}, nil
})

// moduleRoot is the nearest directory upwards that has a go.mod; tests run in their package's directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod in this directory or above")
		}
		dir = parent
	}
}

// validator stands before the simulator's API.
type validator struct {
	t     testing.TB
	doc   *document
	world *sim.World
	next  http.Handler
}

func (v *validator) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	path, api := strings.CutPrefix(r.URL.EscapedPath(), prefix)
	if !api { // presigned URLs, websockets, control endpoints
		v.next.ServeHTTP(rw, r)
		return
	}
	if undocumented(r.Method, path) {
		v.next.ServeHTTP(rw, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	route, params, err := v.doc.router.FindRoute(r)
	if err != nil {
		v.t.Errorf("%s %s: no such operation in the OpenAPI description (%v)", r.Method, path, err)
		v.next.ServeHTTP(rw, r)
		return
	}
	input := &openapi3filter.RequestValidationInput{
		Request: request(r, path, body), PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, MultiError: true},
	}
	if err := v.checkRequest(input, path, body); err != nil {
		v.t.Errorf("%s %s does not fit the OpenAPI description of %s:\n%v", r.Method, r.URL.RequestURI(), route.Operation.OperationID, brief(err))
	}
	answer := httptestRecorder(rw)
	v.next.ServeHTTP(answer, r)
	if err := v.checkAnswer(input, path, answer); err != nil && !v.faulted(answer.Header().Get("cf-ray")) {
		v.t.Errorf("the simulator's answer to %s %s does not fit the OpenAPI description of %s:\n%v\n%s", r.Method, r.URL.RequestURI(), route.Operation.OperationID, brief(err), clip(answer.body))
	}
}

// request is a copy of r that the validator may consume, with the differences of allowed.go taken away.
func request(r *http.Request, path string, body []byte) *http.Request {
	c := r.Clone(r.Context())
	c.Body = io.NopCloser(bytes.NewReader(body))
	if jsonAsText(r.Method, path) && json.Valid(body) {
		c.Header.Set("Content-Type", "application/json")
	}
	q := c.URL.Query()
	for _, name := range undocumentedQuery(r.Method, path) {
		q.Del(name)
	}
	c.URL.RawQuery = q.Encode()
	return c
}

func (v *validator) checkRequest(in *openapi3filter.RequestValidationInput, path string, body []byte) error {
	op := in.Route.Operation
	if op.RequestBody == nil || op.RequestBody.Value == nil || anyBody(in.Request.Method, path) {
		in.Options.ExcludeRequestBody = true
		return openapi3filter.ValidateRequest(in.Request.Context(), in)
	}
	kind, params, _ := mime.ParseMediaType(in.Request.Header.Get("Content-Type"))
	if kind == "multipart/form-data" {
		in.Options.ExcludeRequestBody = true
		err := openapi3filter.ValidateRequest(in.Request.Context(), in)
		return errors.Join(err, checkForm(op, body, params["boundary"]))
	}
	if op.RequestBody.Value.Content.Get(kind) == nil || !strings.HasSuffix(kind, "json") {
		return openapi3filter.ValidateRequest(in.Request.Context(), in)
	}
	// JSON is validated by hand so that the known mismatches can be taken out first.
	in.Options.ExcludeRequestBody = true
	err := openapi3filter.ValidateRequest(in.Request.Context(), in)
	var value any
	if jerr := json.Unmarshal(body, &value); jerr != nil {
		return errors.Join(err, fmt.Errorf("request body: %w", jerr))
	}
	schema := op.RequestBody.Value.Content.Get(kind).Schema
	return errors.Join(err, schema.Value.VisitJSON(mendRequest(in.Request.Method, path, value), openapi3.VisitAsRequest(), openapi3.MultiErrors()))
}

// checkForm validates the metadata (or settings) part of a multipart upload. The other parts are named after modules and
// hashes, which the description cannot express.
func checkForm(op *openapi3.Operation, body []byte, boundary string) error {
	media := op.RequestBody.Value.Content.Get("multipart/form-data")
	if media == nil {
		return errors.New("the operation does not take multipart/form-data")
	}
	parts := map[string][]byte{}
	form := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := form.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("multipart form: %w", err)
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return fmt.Errorf("multipart form: %w", err)
		}
		parts[part.FormName()] = content
	}
	for _, name := range []string{"metadata", "settings"} {
		schema := media.Schema.Value.Properties[name]
		if schema == nil {
			continue
		}
		raw, ok := parts[name]
		if !ok {
			return fmt.Errorf("the form has no %s part", name)
		}
		var value any
		if err := json.Unmarshal(raw, &value); err != nil {
			return fmt.Errorf("%s part: %w", name, err)
		}
		return schema.Value.VisitJSON(mendMetadata(value), openapi3.VisitAsRequest(), openapi3.MultiErrors())
	}
	return nil
}

func (v *validator) checkAnswer(in *openapi3filter.RequestValidationInput, path string, a *recorder) error {
	status := a.status
	if !strings.HasPrefix(a.Header().Get("Content-Type"), "application/json") {
		return nil // code, values and files are not described as JSON
	}
	if status == http.StatusCreated || status == http.StatusAccepted {
		status = http.StatusOK // the description knows only 200
	}
	if unanswered(in.Request.Method, path, status) {
		return nil
	}
	spec := in.Route.Operation.Responses.Status(status)
	if spec == nil || spec.Value == nil {
		return fmt.Errorf("status %d is not described", a.status)
	}
	media := spec.Value.Content.Get("application/json")
	if media == nil || media.Schema == nil {
		return nil
	}
	var value any
	if err := json.Unmarshal(a.body, &value); err != nil {
		return err
	}
	return media.Schema.Value.VisitJSON(mendAnswer(value), openapi3.VisitAsResponse(), openapi3.MultiErrors())
}

// faulted tells whether a fault rule answered the call: such answers are wrong on purpose.
func (v *validator) faulted(ray string) bool {
	for _, r := range v.world.Requests() {
		if r.Ray == ray {
			return r.Fault != 0
		}
	}
	return false
}

// recorder keeps what is sent.
type recorder struct {
	http.ResponseWriter
	status int
	body   []byte
}

func httptestRecorder(rw http.ResponseWriter) *recorder {
	return &recorder{ResponseWriter: rw, status: http.StatusOK}
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.body = append(r.body, b...)
	return r.ResponseWriter.Write(b)
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func reader(b []byte) io.Reader {
	if b == nil {
		return nil
	}
	return bytes.NewReader(b)
}

// brief shortens the validator's errors: they quote whole schemas.
func brief(err error) string {
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "Schema:") {
			break
		}
		lines = append(lines, line)
	}
	return clip([]byte(strings.Join(lines, "\n")))
}

func clip(b []byte) string {
	const most = 2000
	if len(b) > most {
		return string(b[:most]) + "…"
	}
	return string(b)
}
