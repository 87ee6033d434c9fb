package simtest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/sim"
)

type complaints struct {
	testing.TB
	list []string
}

func (c *complaints) Errorf(format string, args ...any) {
	c.list = append(c.list, fmt.Sprintf(format, args...))
}

// The simulator is held against the description as well as its clients.
func TestAnswersAreValidated(t *testing.T) {
	doc, err := description()
	if err != nil {
		t.Fatal(err)
	}
	world, err := sim.New(sim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer world.Close()
	const envelope = `{"success":true,"errors":[],"messages":[],"result":%s}`
	for answer, want := range map[string]string{
		`{"schedules":[{"cron":"0 13 * * *"}]}`: "",
		`{"schedules":"none"}`:                  "/result/schedules",
		`{}`:                                    `"schedules" is missing`,
		`null`:                                  "/result",
	} {
		seen := &complaints{TB: t}
		v := &validator{t: seen, doc: doc, world: world, next: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(rw, envelope, answer)
		})}
		req := httptest.NewRequest("GET", prefix+"/accounts/7f3a0c5e9b1d4826a0e4c2d8f6b19357/workers/scripts/helm/schedules", nil)
		v.ServeHTTP(httptest.NewRecorder(), req)
		got := strings.Join(seen.list, "\n")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("answer %s: complaint %q, want one about %q", answer, got, want)
		}
	}
}
