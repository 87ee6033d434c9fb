package simtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/kvick/shopfleet/internal/sim/github"
)

// GitHub is a running world of GitHub.
type GitHub struct {
	*github.World
	// API is the base of the REST API, for GITHUB_API_URL.
	API string
	// Git is the host of clone URLs, for GITHUB_SERVER_URL.
	Git string
}

// NewGitHub opens a world with o and serves it on loopback until the test ends. Every request and answer of the API is held
// against GitHub's OpenAPI description; a violation is reported with t.Errorf and answered as if nothing had happened.
//
// Errors on purpose are let through: a request that the world refuses with 400 or 422 may break the description, since it
// may have been sent to see that; and what a fault rule made up is not checked.
func NewGitHub(t testing.TB, o github.Options) *GitHub {
	t.Helper()
	doc, err := gitHubDescription()
	if err != nil {
		t.Fatalf("reading GitHub's OpenAPI description: %v", err)
	}
	v := &gitHubValidator{t: t, routers: doc}
	wrap := o.Wrap
	o.Wrap = func(api http.Handler) http.Handler {
		v.next = api
		if wrap != nil {
			return wrap(v)
		}
		return v
	}
	w, err := github.New(o)
	if err != nil {
		t.Fatalf("opening the world of GitHub: %v", err)
	}
	v.world = w
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("closing the world of GitHub: %v", err)
		}
	})
	l, err := w.Start("")
	if err != nil {
		t.Fatalf("starting the world of GitHub: %v", err)
	}
	return &GitHub{World: w, API: l.API, Git: l.Git}
}

// Repository makes a repository with a first commit on main, or fails the test.
func (g *GitHub) Repository(t testing.TB, owner, name string) *github.Repository {
	t.Helper()
	r, err := g.World.Repository(owner, name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Commit("main", "first", map[string]string{"README.md": "# " + name + "\n"}); err != nil {
		t.Fatal(err)
	}
	return r
}

// multiSegment are path variables that may hold slashes; the router has to be told (wire.md §3).
var multiSegment = regexp.MustCompile(`\{(ref|basehead|path|branch)\}`)

// gitHubRouters find operations: first those whose variables are single segments, then those that have something after a
// variable of many (commits/{ref}/check-runs), then those that end in one (commits/{ref}).
type gitHubRouters []routers.Router

func (list gitHubRouters) FindRoute(r *http.Request) (route *routers.Route, params map[string]string, err error) {
	for _, router := range list {
		if route, params, err = router.FindRoute(r); err == nil {
			break
		}
	}
	return route, params, err
}

// gitHubDescription loads the document once per process.
var gitHubDescription = sync.OnceValues(func() (gitHubRouters, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join(root, "testdata", "contracts", "github", "openapi.trimmed.json"))
	if err != nil {
		return nil, err
	}
	doc.Servers = openapi3.Servers{{URL: "/"}}
	// Inlined there, an installation's account is a user and an enterprise at once (allOf); everywhere else it is either.
	list := doc.Paths.Value("/app/installations").Get.Responses.Status(http.StatusOK).Value.Content.Get("application/json").Schema
	list.Value.Items = doc.Components.Schemas["installation"]
	stages := [3]*openapi3.Paths{openapi3.NewPaths(), openapi3.NewPaths(), openapi3.NewPaths()}
	for path, item := range doc.Paths.Map() {
		stages[0].Set(path, item)
		many := multiSegment.ReplaceAllString(path, "{$1:.+}")
		switch {
		case many == path:
		case strings.HasSuffix(many, "}"):
			stages[2].Set(many, item)
		default:
			stages[1].Set(many, item)
		}
	}
	var found gitHubRouters
	for _, paths := range stages {
		staged := *doc
		staged.Paths = paths
		router, err := gorillamux.NewRouter(&staged)
		if err != nil {
			return nil, err
		}
		found = append(found, router)
	}
	return found, nil
})

// gitHubValidator stands before the world's API.
type gitHubValidator struct {
	t       testing.TB
	routers gitHubRouters
	world   *github.World
	next    http.Handler
}

func (v *gitHubValidator) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/graphql" { // not in the description
		v.next.ServeHTTP(rw, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := httptestRecorder(rw)
	defer func() {
		// A cut connection has no answer to check, but its request is checked all the same.
		if reason := recover(); reason != nil {
			v.check(r, body, nil)
			panic(reason)
		}
	}()
	v.next.ServeHTTP(answer, r)
	v.check(r, body, answer)
}

func (v *gitHubValidator) check(r *http.Request, body []byte, answer *recorder) {
	route, params, err := v.routers.FindRoute(r)
	if err != nil {
		if answer == nil || answer.status != http.StatusNotFound {
			v.t.Errorf("%s %s: no such operation in GitHub's OpenAPI description (%v)", r.Method, r.URL.RequestURI(), err)
		}
		return
	}
	op := route.Operation
	refused := answer != nil && (answer.status == http.StatusBadRequest || answer.status == http.StatusUnprocessableEntity || answer.status == http.StatusNotFound)
	if err := checkGitHubRequest(r.Clone(context.Background()), op, params, body); err != nil && !refused {
		v.t.Errorf("%s %s does not fit GitHub's OpenAPI description of %s:\n%s", r.Method, r.URL.RequestURI(), op.OperationID, brief(err))
	}
	if answer == nil {
		return
	}
	if err := checkGitHubAnswer(op, answer); err != nil && !v.faulted(answer.Header().Get("X-GitHub-Request-Id")) {
		v.t.Errorf("the world's answer to %s %s does not fit GitHub's OpenAPI description of %s:\n%s\n%s", r.Method, r.URL.RequestURI(), op.OperationID, brief(err), clip(answer.body))
	}
}

func checkGitHubRequest(r *http.Request, op *openapi3.Operation, params map[string]string, body []byte) error {
	var errs []error
	known := map[string]*openapi3.Parameter{}
	for _, p := range op.Parameters {
		if p.Value.In == "query" {
			known[p.Value.Name] = p.Value
		}
	}
	for name := range r.URL.Query() {
		if known[name] == nil {
			errs = append(errs, fmt.Errorf("query parameter %q is not described", name))
		}
	}
	in := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, QueryParams: r.URL.Query(),
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, MultiError: true},
	}
	for _, p := range known {
		if err := openapi3filter.ValidateParameter(context.Background(), in, p); err != nil {
			errs = append(errs, err)
		}
	}
	if op.RequestBody == nil {
		if len(bytes.TrimSpace(body)) > 0 {
			errs = append(errs, errors.New("a body is not described"))
		}
		return errors.Join(errs...)
	}
	media := op.RequestBody.Value.Content.Get("application/json")
	switch {
	case media == nil || media.Schema == nil:
		return errors.Join(errs...)
	case len(bytes.TrimSpace(body)) == 0:
		if op.RequestBody.Value.Required {
			errs = append(errs, errors.New("a body is required"))
		}
		return errors.Join(errs...)
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return errors.Join(append(errs, fmt.Errorf("request body: %w", err))...)
	}
	if fields, ok := value.(map[string]any); ok && len(media.Schema.Value.Properties) > 0 {
		for name := range fields { // GitHub ignores what it does not know; a client that sends it is wrong about something
			if media.Schema.Value.Properties[name] == nil {
				errs = append(errs, fmt.Errorf("request body: %q is not described", name))
			}
		}
	}
	return errors.Join(append(errs, media.Schema.Value.VisitJSON(value, openapi3.VisitAsRequest(), openapi3.MultiErrors()))...)
}

// undescribed are answers that every operation may give, though the description does not repeat them everywhere:
// authentication, permissions and limits (wire.md §1, §2e), and 404 for what the caller may not see.
var undescribed = map[int]bool{
	http.StatusBadRequest: true, http.StatusUnauthorized: true, http.StatusForbidden: true, http.StatusNotFound: true, http.StatusTooManyRequests: true,
	http.StatusUnprocessableEntity: true,
}

func checkGitHubAnswer(op *openapi3.Operation, a *recorder) error {
	spec := op.Responses.Status(a.status)
	if spec == nil || spec.Value == nil {
		if undescribed[a.status] {
			return basicError(a)
		}
		return fmt.Errorf("status %d is not described", a.status)
	}
	media := spec.Value.Content.Get("application/json")
	if media == nil || media.Schema == nil {
		if len(a.body) > 0 && a.status < 400 {
			return fmt.Errorf("status %d is described without a body", a.status)
		}
		return nil
	}
	if !strings.HasPrefix(a.Header().Get("Content-Type"), "application/json") {
		return fmt.Errorf("the answer is %q, not JSON", a.Header().Get("Content-Type"))
	}
	var value any
	if err := json.Unmarshal(a.body, &value); err != nil {
		return err
	}
	return media.Schema.Value.VisitJSON(value, openapi3.VisitAsResponse(), openapi3.MultiErrors())
}

// basicError checks the shape that all of GitHub's errors share.
func basicError(a *recorder) error {
	var e struct {
		Message string `json:"message"`
		Docs    string `json:"documentation_url"`
		Status  string `json:"status"`
	}
	if err := json.Unmarshal(a.body, &e); err != nil {
		return err
	}
	if e.Message == "" || e.Docs == "" || e.Status != fmt.Sprint(a.status) {
		return errors.New("the error lacks message, documentation_url or status")
	}
	return nil
}

func (v *gitHubValidator) faulted(id string) bool {
	for _, r := range v.world.Requests() {
		if r.ID == id {
			return r.Fault != 0
		}
	}
	return false
}
