package cloudflare

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	const text = "s3cret-value"
	secret := Secret(text)
	type holder struct {
		Token  Secret
		Many   []Secret
		ByName map[string]Secret
		Inner  struct{ Token *Secret }
	}
	h := holder{Token: secret, Many: []Secret{secret}, ByName: map[string]Secret{"a": secret}}
	h.Inner.Token = &secret
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T|%v", "%10.3s"} {
		fmt.Fprintf(&out, verb+"\n", secret, secret)
		fmt.Fprintf(&out, verb+"\n", h, &h)
		fmt.Fprintf(&out, verb+"\n", &Client{Token: secret}, "")
	}
	fmt.Fprintln(&out, secret, h)
	for _, marshal := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal, func(v any) ([]byte, error) { return xml.Marshal(secret) }} {
		encoded, err := marshal(h)
		if err != nil {
			t.Error(err)
		}
		out.Write(encoded)
	}
	for _, handler := range []slog.Handler{
		slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil),
	} {
		slog.New(handler).Info("x", "token", secret, "holder", h, slog.Group("g", "token", secret))
	}
	for _, form := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text)} {
		if strings.Contains(out.String(), form) {
			t.Errorf("%q is in\n%s", form, out.String())
		}
	}
	if !strings.Contains(out.String(), masked) {
		t.Error("nothing was printed")
	}
}

// TestNothingLeaksASecret lets every kind of failure quote back what it was sent, and searches everything that comes out.
func TestNothingLeaksASecret(t *testing.T) {
	const jwt, value = Secret("eyJ-session-jwt-4711"), Secret("worker-secret-value-0815")
	plays := map[string]func(all string) answer{
		"refusal": func(all string) answer {
			return answer{status: 400, body: `{"success":false,"errors":[{"code":1,"message":` + all + `,"error_chain":[` + all + `]}]}`}
		},
		"string":       func(all string) answer { return answer{status: 400, body: `{"success":false,"errors":[` + all + `]}`} },
		"wrong shape":  func(all string) answer { return ok(all) },
		"wrong member": func(all string) answer { return ok(`{"jwt":` + all + `,"buckets":` + all + `}`) },
		"web page":     func(all string) answer { return answer{status: 502, body: "<html>" + all} },
		"cut":          func(all string) answer { return answer{status: 200, body: `{"success":true,"result":` + all} },
		"redirect": func(all string) answer {
			return answer{302, "", map[string]string{"Location": "https://example.com/?" + all}}
		},
		"item":     func(all string) answer { return ok(`[{"success":false,"error":` + all + `}]`) },
		"not HTTP": func(all string) answer { return answer{status: -1, body: all} },
	}
	ctx := context.Background()
	for name, play := range plays {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				all := r.Header.Get("Authorization")
				if body, _ := io.ReadAll(r.Body); strings.Contains(string(body), string(value)) {
					all += " " + string(value)
				}
				quoted, _ := json.Marshal(all)
				a := play(string(quoted))
				if a.status > 0 {
					a.write(rw)
				} else if conn, _, err := rw.(http.Hijacker).Hijack(); err == nil {
					io.WriteString(conn, a.body+"\r\n")
					conn.Close()
				}
			})
			w.Attempts = 1
			var out bytes.Buffer
			w.Log = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
			fails := 0
			for _, do := range []func() error{
				func() error { return read(w.Client) }, func() error { return set(w.Client) }, func() error { return add(w.Client) },
				func() error { return w.SecretsBulk(ctx, "helm", map[string]Secret{"A": value}, "B") },
				func() error { _, err := w.D1Exec(ctx, "db", "SELECT 1"); return err },
				func() error { s, err := w.AssetsSession(ctx, "helm", nil); fmt.Fprintf(&out, "%+v", s); return err },
				func() error {
					s, err := w.UploadAssets(ctx, jwt, "multipart/form-data", []byte("x"))
					fmt.Fprintf(&out, "%+v", s)
					return err
				},
				func() error { _, err := w.UploadAsset(ctx, jwt, "hash", "text/html", nil); return err },
			} {
				err := do()
				if err == nil {
					continue
				}
				fails++
				e := asError(t, err)
				text, _ := json.Marshal(e)
				fmt.Fprintf(&out, "%v %+v %#v %s %s %v", e, e, e, text, e.Hint(), errors.Unwrap(e))
			}
			if fails < 4 {
				t.Errorf("only %d calls failed", fails)
			}
			for _, c := range w.observed() {
				fmt.Fprintf(&out, "%+v", c)
			}
			fmt.Fprintf(&out, "%+v %#v", w.Client.ReadOnly(), []any{w.Client})
			for _, s := range []Secret{testToken, jwt, value} {
				if at := strings.Index(out.String(), string(s)); at >= 0 {
					t.Errorf("leaked: …%s…", out.String()[max(0, at-200):at+len(s)])
				}
			}
		})
	}
}

// The session token, not the API token, authenticates uploads; and nothing else ever carries it.
func TestUploadsUseTheSession(t *testing.T) {
	w := newWorld(t, script(ok(`{"jwt":"done"}`)))
	ctx := context.Background()
	if done, err := w.UploadAssets(ctx, "jwt-1", "multipart/form-data; boundary=b", []byte("form")); err != nil || string(done) != "done" {
		t.Errorf("got %q, %v", string(done), err)
	}
	if _, err := w.UploadAsset(ctx, "jwt-2", "0123", "text/css; charset=utf-8", []byte("body{}")); err != nil {
		t.Error(err)
	}
	if _, err := w.UploadAsset(ctx, "jwt-2", "0456", "application/null", nil); err != nil {
		t.Error(err)
	}
	if _, err := w.UploadAssets(ctx, "", "multipart/form-data", nil); !errors.Is(err, ErrArgument) {
		t.Errorf("without a session: %v", err)
	}
	for i, want := range []seen{
		{Path: "/accounts/" + testAccount + "/workers/assets/upload", Query: "base64=true", Body: "form", Header: http.Header{"Authorization": {"Bearer jwt-1"}, "Content-Type": {"multipart/form-data; boundary=b"}}},
		{Path: "/accounts/" + testAccount + "/workers/assets/upload/0123", Body: "body{}", Header: http.Header{"Authorization": {"Bearer jwt-2"}, "Content-Type": {"text/css; charset=utf-8"}}},
		{Path: "/accounts/" + testAccount + "/workers/assets/upload/0456", Header: http.Header{"Authorization": {"Bearer jwt-2"}, "Content-Type": {"application/null"}}},
	} {
		r := w.requests()[i]
		if r.Path != want.Path || r.Query != want.Query || r.Body != want.Body || r.Header.Get("Authorization") != want.Header.Get("Authorization") || r.Header.Get("Content-Type") != want.Header.Get("Content-Type") {
			t.Errorf("request %d: %+v", i, r)
		}
	}
}

// Masking a text does not hide what kind of error it was.
func TestMaskedErrorsKeepTheirKind(t *testing.T) {
	w := newWorld(t, nil)
	w.Attempts = 1
	w.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("proxy said %s: %w", r.Header.Get("Authorization"), context.DeadlineExceeded)
	})
	err := set(w.Client)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "proxy said Bearer ***") || asError(t, err).Outcome != Unknown {
		t.Errorf("got %v", err)
	}
	var leaf maskedError
	if !errors.As(err, &leaf) || strings.Contains(fmt.Sprintf("%#v %+v", leaf, err), string(testToken)) {
		t.Errorf("got %#v", err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, body := range []string{"", `{"success":true,"result":[]}`} {
		target := newWorld(t, func(http.ResponseWriter, *http.Request) {})
		w := newWorld(t, script(answer{307, body, map[string]string{"Location": target.BaseURL}}))
		err := read(w.Client)
		if (err == nil) != (body != "") || len(target.requests()) != 0 || len(w.requests()) != 1 {
			t.Errorf("%q: %v, %d requests elsewhere", body, err, len(target.requests()))
		}
	}
}

func TestMessagesAreMadeHarmless(t *testing.T) {
	w := newWorld(t, script(no(400, 1, "bell\a esc\x1b[31m \u009b c1 line\ntwo "+strings.Repeat("é", 3000))))
	e := asError(t, read(w.Client))
	if strings.ContainsAny(e.Message, "\a\x1b\u009b") || !strings.Contains(e.Message, "line\ntwo") || len(e.Message) > maxMessage+len("…") || !strings.HasSuffix(e.Message, "é…") {
		t.Errorf("got %q", e.Message)
	}
}
