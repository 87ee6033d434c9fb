package github_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/github"
)

const comments = "/repos/acme/helm/issues/12/comments"

func commentText(id int, login, body string) string {
	return fmt.Sprintf(`{"id":%d,"user":{"login":%q},"body":%q,"html_url":"https://github.com/acme/helm/pull/12#issuecomment-%d"}`, id, login, body, id)
}

func TestPutComment(t *testing.T) {
	const marker = "<!-- shopfleet plan -->\n"
	ours := func(id int, body string) string { return commentText(id, "shopfleet[bot]", body) }
	hostile := commentText(1, "mallory", marker+"all is fine, merge it")
	viewer := says(200, `{"data":{"viewer":{"login":"shopfleet[bot]"}}}`)
	list := func(items ...string) answer { return says(200, "["+strings.Join(items, ",")+"]") }
	for _, test := range []struct {
		name   string
		routes map[string]answer
		create bool
		url    string // its end
		sent   []string
	}{
		{"made", map[string]answer{"GET " + comments: list(commentText(1, "eve", "hello")), "POST " + comments: says(201, ours(5, ""))}, true, "-5",
			[]string{"GET " + comments, "POST " + comments}},
		{"not wanted", map[string]answer{"GET " + comments: list(commentText(1, "eve", "hello"))}, false, "", []string{"GET " + comments}},
		{"updated", map[string]answer{"GET " + comments: list(ours(4, marker+"old")), "POST /graphql": viewer, "PATCH /repos/acme/helm/issues/comments/4": says(200, ours(4, ""))}, false, "-4",
			[]string{"GET " + comments, "POST /graphql", "PATCH /repos/acme/helm/issues/comments/4"}},
		{"equal", map[string]answer{"GET " + comments: list(ours(4, "<!-- shopfleet plan -->\r\nthe plan\r\n")), "POST /graphql": viewer}, true, "-4", []string{"GET " + comments, "POST /graphql"}},
		{"another's marker", map[string]answer{"GET " + comments: list(hostile), "POST /graphql": viewer, "POST " + comments: says(201, ours(5, ""))}, true, "-5",
			[]string{"GET " + comments, "POST /graphql", "POST " + comments}},
		{"another's marker before ours", map[string]answer{"GET " + comments: list(hostile, ours(4, marker+"old")), "POST /graphql": viewer, "PATCH /repos/acme/helm/issues/comments/4": says(200, ours(4, ""))}, true, "-4",
			[]string{"GET " + comments, "POST /graphql", "PATCH /repos/acme/helm/issues/comments/4"}},
		{"another's marker and none wanted", map[string]answer{"GET " + comments: list(hostile), "POST /graphql": viewer}, false, "", []string{"GET " + comments, "POST /graphql"}},
		{"the marker quoted in ours", map[string]answer{"GET " + comments: list(ours(3, "<!-- other -->\n"+marker)), "POST " + comments: says(201, ours(5, ""))}, true, "-5",
			[]string{"GET " + comments, "POST " + comments}},
		{"a lost answer", map[string]answer{"GET " + comments: inTurn(list(), list(hostile, ours(5, marker+"the plan"))), "POST " + comments: cutOff, "POST /graphql": viewer}, true, "-5",
			[]string{"GET " + comments, "POST " + comments, "GET " + comments, "POST /graphql"}},
		{"a lost request", map[string]answer{"GET " + comments: list(hostile), "POST " + comments: inTurn(cutOff, says(201, ours(5, ""))), "POST /graphql": viewer}, true, "-5",
			[]string{"GET " + comments, "POST /graphql", "POST " + comments, "GET " + comments, "POST " + comments}},
		{"an update without an answer", map[string]answer{"GET " + comments: list(ours(4, marker+"old")), "POST /graphql": viewer, "PATCH /repos/acme/helm/issues/comments/4": inTurn(cutOff, says(200, ours(4, "")))}, true, "-4",
			[]string{"GET " + comments, "POST /graphql", "PATCH /repos/acme/helm/issues/comments/4", "PATCH /repos/acme/helm/issues/comments/4"}},
		{"a user that is gone", map[string]answer{"GET " + comments: list(`{"id":1,"user":null,"body":"<!-- shopfleet plan -->"}`), "POST /graphql": viewer, "POST " + comments: says(201, ours(5, ""))}, true, "-5",
			[]string{"GET " + comments, "POST /graphql", "POST " + comments}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, test.routes)
			url, err := s.client(newClock()).PutComment(t.Context(), 12, "shopfleet plan", "the plan\n", test.create)
			if err != nil || !strings.HasSuffix(url, test.url) || (url == "") != (test.url == "") {
				t.Errorf("got %q, %v; want …%s", url, err, test.url)
			}
			wantSent(t, s, test.sent...)
			for _, r := range s.got {
				if body, ok := r.body["body"]; ok && body != marker+"the plan\n" {
					t.Errorf("%s sent %q", r, body)
				}
			}
		})
	}
}

func TestPutCommentAsApp(t *testing.T) {
	_, secret := newKey(t)
	s := serve(t, map[string]answer{
		"GET /app":         says(200, `{"id":1,"slug":"shopfleet"}`),
		"POST " + mintPath: minted("ghs_x", newClock().Now().Add(time.Hour)),
		"GET " + comments:  says(200, "["+commentText(1, "shopfleet", "<!-- m -->")+","+commentText(2, "shopfleet[bot]", "<!-- m -->")+"]"),
		"PATCH /repos/acme/helm/issues/comments/2": says(200, commentText(2, "shopfleet[bot]", "")),
	})
	c := s.client(newClock())
	c.Token, c.App, c.Permissions = "", &github.App{ID: "1", Key: secret, Installation: 77}, map[string]string{"pull_requests": "write"}
	for range 2 {
		if url, err := c.PutComment(t.Context(), 12, "<!-- m -->", "x", true); err != nil || !strings.HasSuffix(url, "-2") {
			t.Errorf("got %q, %v", url, err)
		}
	}
	if n := strings.Count(strings.Join(s.sent(), "\n"), "GET /app"); n != 1 {
		t.Errorf("asked %d times who it is", n)
	}
}

// Without knowing who we are nothing is written: a comment of someone else could be overwritten.
func TestPutCommentUnknownSelf(t *testing.T) {
	for _, viewer := range []answer{says(200, `{"errors":[{"message":"Something went wrong"}]}`), says(401, `{"message":"Bad credentials"}`), says(200, `[]`)} {
		s := serve(t, map[string]answer{"GET " + comments: says(200, "["+commentText(1, "mallory", "<!-- m -->")+"]"), "POST /graphql": viewer})
		if url, err := s.client(newClock()).PutComment(t.Context(), 12, "m", "x", true); err == nil {
			t.Errorf("got %q", url)
		}
	}
}

func TestPutCommentPages(t *testing.T) {
	var s *server
	s = serve(t, map[string]answer{"GET " + comments: func(w http.ResponseWriter, r request, n int) {
		w.Header().Set("Link", fmt.Sprintf(`<%s%s?page=%d>; rel="next"`, s.URL, comments, n+1))
		says(200, "[]")(w, r, n)
	}})
	_, err := s.client(newClock()).PutComment(t.Context(), 12, "m", "x", true)
	if !errors.Is(err, github.ErrPaging) || len(s.sent()) != 50 {
		t.Errorf("got %v after %d requests", err, len(s.sent()))
	}
	for _, marker := range []string{"", "a --> b", "a\nb", "-", "<script>", "a--b"} {
		if _, err := s.client(newClock()).PutComment(t.Context(), 12, marker, "x", true); !errors.Is(err, github.ErrArgument) {
			t.Errorf("the marker %q: %v", marker, err)
		}
	}
}

func TestPutCommentLong(t *testing.T) {
	s := serve(t, map[string]answer{"GET " + comments: says(200, "[]"), "POST " + comments: says(201, commentText(5, "x", ""))})
	body := "# Plan\n```\n" + strings.Repeat("äöü a line of the plan\n", 9000) + "```\n"
	if _, err := s.client(newClock()).PutComment(t.Context(), 12, "m", body, true); err != nil {
		t.Fatal(err)
	}
	sent, _ := s.last().body["body"].(string)
	if len(sent) > 65536 || len(sent) < 65000 || !strings.HasPrefix(sent, "<!-- m -->\n# Plan\n") || strings.Count(sent, "```") != 2 {
		t.Errorf("sent %d bytes: %.40q … %q", len(sent), sent, sent[max(0, len(sent)-200):])
	}
}

// GitHub Enterprise Server has its API below a path, and GraphQL beside it.
func TestEnterpriseServer(t *testing.T) {
	s := serve(t, map[string]answer{
		"GET /api/v3" + comments:                          says(200, "["+commentText(4, "me", "<!-- m -->\nold")+"]"),
		"POST /api/graphql":                               says(200, `{"data":{"viewer":{"login":"me"}}}`),
		"PATCH /api/v3/repos/acme/helm/issues/comments/4": says(403, `{"message":"no"}`),
	})
	c := s.client(newClock())
	c.BaseURL += "/api/v3"
	_, err := c.PutComment(t.Context(), 12, "m", "new", true)
	if err == nil || err.Error() != "GitHub: PATCH /repos/acme/helm/issues/comments/4: 403 no" {
		t.Errorf("got %v", err)
	}
}
