package sim

import "testing"

func TestRouting(t *testing.T) {
	a := &account{Subdomain: "kvick", Scripts: map[string]*script{}, Zones: []*zone{{Name: "kvick.bike", Routes: []*route{
		{Pattern: "*.kvick.bike/*", Script: "other"},
		{Pattern: "shop.kvick.bike/api/*", Script: "api"},
		{Pattern: "shop.kvick.bike/off/*"},
		{Pattern: "https://one.kvick.bike/a*z", Script: "api"},
		{Pattern: "*kvick.bike/bare", Script: "api"},
	}}}, Domains: []*domain{{Hostname: "custom.kvick.bike", Service: "shop", Enabled: true}, {Hostname: "dark.kvick.bike", Service: "shop"}}}
	for _, name := range []string{"shop", "other", "api"} {
		v := &version{ID: "11111111-2222-4333-8444-" + name}
		a.Scripts[name] = &script{Name: name, Versions: []*version{v}, Deployments: []*deployment{{Versions: []share{{v.ID, 100}}}}, WorkersDev: name == "shop", Previews: name == "shop"}
	}
	w := &World{accounts: map[string]*account{"a": a}}
	w.released()
	p := w.served()
	tests := []struct{ host, path, want string }{
		{"custom.kvick.bike", "/", "shop"},
		{"CUSTOM.kvick.bike:8080", "/api/x", "shop"}, // a custom domain has every path
		{"dark.kvick.bike", "/", "other"},            // not enabled: the wildcard route gets it
		{"shop.kvick.bike", "/api/x", "api"},
		{"shop.kvick.bike", "/", "other"},
		{"shop.kvick.bike", "/off/x", ""},
		{"one.kvick.bike", "/abcz", "api"},
		{"one.kvick.bike", "/abc", "other"},
		{"kvick.bike", "/bare", "api"},
		{"kvick.bike", "/", ""},
		{"evil-kvick.bike.example", "/", ""},
		{"shop.kvick.workers.dev", "/x", "shop"},
		{"other.kvick.workers.dev", "/x", ""},
		{"11111111-shop.kvick.workers.dev", "/", "shop"},
	}
	for _, tt := range tests {
		got := ""
		s, v := p.route(tt.host, tt.path)
		if s != nil {
			got = s.Name
		}
		if got != tt.want {
			t.Errorf("%s%s goes to %q, want %q", tt.host, tt.path, got, tt.want)
		}
		if isPreview := v != nil; isPreview != (tt.host == "11111111-shop.kvick.workers.dev") {
			t.Errorf("%s: preview %v", tt.host, v)
		}
	}
	if w.served() != p {
		t.Error("the picture was taken again without a change")
	}
	first := p.Scripts[0].Versions[0]
	a.Domains[1].Enabled = true
	w.released()
	if s, _ := w.served().route("dark.kvick.bike", "/"); s == nil || s.Name != "shop" {
		t.Error("a change is not served")
	}
	if w.served().Scripts[0].Versions[0] != first {
		t.Error("a version got another address though it did not change")
	}
}
