package sim_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
)

// toEdge carries https requests for shops to the edge, and everything else where it points.
type toEdge struct{ edge *url.URL }

func (e toEdge) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return http.DefaultTransport.RoundTrip(r)
	}
	out := r.Clone(r.Context())
	out.Host = r.URL.Host
	out.URL.Scheme, out.URL.Host = e.edge.Scheme, e.edge.Host
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err == nil {
		resp.Request = r
	}
	return resp, err
}

func (h *helm) newBrowser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	edge, err := url.Parse(h.w.Edge)
	if err != nil {
		h.t.Fatal(err)
	}
	return &http.Client{Transport: toEdge{edge}, Jar: jar}
}

// page is what a browser shows.
type page struct {
	status int
	url    *url.URL
	body   string
	header http.Header
}

func (h *helm) show(resp *http.Response, err error) page {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return page{resp.StatusCode, resp.Request.URL, string(body), resp.Header}
}

func (h *helm) get(path string) page {
	h.t.Helper()
	return h.show(h.browser.Get("https://" + helmHost + path))
}

// post sends a form with the token that the last page of this browser carries.
func (h *helm) post(path string, fields ...string) page {
	h.t.Helper()
	form := url.Values{"form_token": {h.token()}}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return h.show(h.browser.PostForm("https://"+helmHost+path, form))
}

var tokenField = regexp.MustCompile(`name="form_token" value="([^"]+)"`)

func (h *helm) token() string {
	h.t.Helper()
	m := tokenField.FindStringSubmatch(h.get("/").body)
	if m == nil {
		h.t.Fatal("the dashboard has no form with a token")
	}
	return m[1]
}
