package cloudflare

import (
	"fmt"
	"net"
	"net/http"
)

// LoopbackOnly lets requests through to loopback addresses and panics on any other. Tests, benchmarks and the demo put it
// under their clients: reaching the real network from there is a mistake in our code, never a condition to handle.
// A nil rt means http.DefaultTransport.
func LoopbackOnly(rt http.RoundTripper) http.RoundTripper {
	if rt == nil {
		rt = http.DefaultTransport
	}
	return loopbackOnly{rt}
}

type loopbackOnly struct{ next http.RoundTripper }

func (l loopbackOnly) RoundTrip(req *http.Request) (*http.Response, error) {
	if !isLoopback(req.URL.Hostname()) {
		panic(fmt.Sprintf("cloudflare: %s %s would leave this machine", req.Method, req.URL.Host))
	}
	return l.next.RoundTrip(req)
}

// isLoopback judges the name alone: a name other than localhost may resolve to anything.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
