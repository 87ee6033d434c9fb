package cloudflare

import (
	"context"
	"net/http"
	"testing"
)

func TestLoopbackOnlyPanics(t *testing.T) {
	reached := ""
	guard := LoopbackOnly(roundTripper(func(r *http.Request) (*http.Response, error) {
		reached = r.URL.Host
		return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
	}))
	for url, allowed := range map[string]bool{
		"http://127.0.0.1:8787/x": true, "http://127.8.9.1/": true, "http://[::1]:1/": true, "http://localhost:1/": true,
		"https://api.cloudflare.com/client/v4": false, "http://10.0.0.1/": false, "http://localhost.example.com/": false, "http://0.0.0.0/": false,
	} {
		req, err := http.NewRequestWithContext(context.Background(), "GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		reached = ""
		panicked := func() (p bool) {
			defer func() { p = recover() != nil }()
			guard.RoundTrip(req)
			return
		}()
		if panicked == allowed || (reached != "") != allowed {
			t.Errorf("%s: allowed %v, want %v", url, !panicked, allowed)
		}
	}
}
