package command

// Workers that die at every point, and who finds what they left.

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvick/shopfleet/internal/github"
)

// recoverAll has several desks look at once, and carries what they get. It returns how many orders they got.
func (w *office) recoverAll(t *testing.T, desks ...*Desk) int {
	t.Helper()
	var mu sync.Mutex
	var got []*Order
	var group sync.WaitGroup
	for _, k := range desks {
		group.Go(func() {
			list, err := k.Recover(context.Background())
			if err != nil {
				t.Error(err)
			}
			for _, o := range list {
				if err := k.Carry(context.Background(), o); err != nil {
					t.Error(err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			got = append(got, list...)
		})
	}
	group.Wait()
	return len(got)
}

func (w *office) desks(t *testing.T, n int) []*Desk {
	t.Helper()
	var list []*Desk
	for range n {
		list = append(list, w.desk(t, DeskOptions{}))
	}
	return list
}

// claimed is an order whose worker died right after the claim.
func (w *office) claimed(t *testing.T, body string) int64 {
	t.Helper()
	id, e := w.says(t, "bob", w.pull, body)
	if o, err := w.desk(t, DeskOptions{}).Hear(t.Context(), e, "issue_comment"); err != nil || o == nil {
		t.Fatalf("not heard: %v", err)
	}
	return id
}

func TestDeskRecoversAfterTheClaim(t *testing.T) {
	w := newOffice(t)
	id := w.claimed(t, "/rollback")
	desks := w.desks(t, 4)
	w.later(9 * time.Minute)
	if n := w.recoverAll(t, desks...); n != 0 {
		t.Errorf("%d got it before its time", n)
	}
	w.later(2 * time.Minute)
	if n := w.recoverAll(t, desks...); n != 1 {
		t.Errorf("%d got it", n)
	}
	if got := fmt.Sprint(w.runs()); got != "[rollback swicked for bob]" {
		t.Errorf("ran %s", got)
	}
	if _, outcome := w.answer(t, id); outcome != "done" || w.reactions(t, id) != "eyes rocket" {
		t.Errorf("%s, %s", outcome, w.reactions(t, id))
	}
	w.later(time.Hour)
	if n := w.recoverAll(t, append(desks, w.desks(t, 2)...)...); n != 0 {
		t.Errorf("%d got it again", n)
	}
}

// Two workers die, a third reports. When that dies too, the next one reports.
func TestDeskRecoversTwice(t *testing.T) {
	for dead := range 2 {
		w := newOffice(t)
		id := w.claimed(t, "/rollback")
		w.later(11 * time.Minute)
		if list, err := w.desk(t, DeskOptions{}).Recover(t.Context()); len(list) != 1 || err != nil {
			t.Fatalf("%v, %v", list, err)
		} // which dies
		desks := w.desks(t, 3)
		w.later(9 * time.Minute)
		if n := w.recoverAll(t, desks...); n != 0 {
			t.Errorf("%d got it before its time", n)
		}
		w.later(2 * time.Minute)
		if dead == 1 {
			if list, err := w.desk(t, DeskOptions{}).Recover(t.Context()); len(list) != 1 || err != nil {
				t.Fatalf("%v, %v", list, err)
			}
			w.later(11 * time.Minute)
			desks = desks[:1]
		}
		w.recoverAll(t, desks...)
		body, outcome := w.answer(t, id)
		if outcome != "failed" || !strings.Contains(body, "did not finish") || len(w.runs()) != 0 || w.reactions(t, id) != "eyes rocket confused" {
			t.Errorf("%s, ran %v\n%s", w.reactions(t, id), w.runs(), body)
		}
		w.later(time.Hour)
		if n := w.recoverAll(t, w.desks(t, 2)...); n != 0 {
			t.Errorf("%d got it again", n)
		}
	}
}

// A worker that dies in the middle leaves an answer without outcome: the next one goes on in the same comment.
func TestDeskRecoversInTheMiddle(t *testing.T) {
	w := newOffice(t)
	id, e := w.says(t, "bob", w.pull, "/rollback")
	k := w.desk(t, DeskOptions{})
	o, err := k.Hear(t.Context(), e, "issue_comment")
	if err != nil || o == nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	w.verb = func(ctx context.Context, d *Door, _ []string) error {
		d.order.say(ctx, "Half of it is done.")
		if err := d.order.answer.write(ctx, ""); err != nil {
			t.Error(err)
		}
		stop() // SIGTERM
		<-ctx.Done()
		return &resultError{code: ExitFailed} // what went wrong is printed
	}
	if err := k.Carry(ctx, o); err != nil {
		t.Error(err)
	}
	if body, outcome := w.answer(t, id); outcome != "" || !strings.Contains(body, "was stopped") {
		t.Errorf("%s\n%s", outcome, body)
	}
	w.verb = nil
	w.later(11 * time.Minute)
	if n := w.recoverAll(t, w.desks(t, 3)...); n != 1 {
		t.Errorf("%d got it", n)
	}
	if body, outcome := w.answer(t, id); outcome != "done" || !strings.Contains(body, "It went back") {
		t.Errorf("%s\n%s", outcome, body)
	}
}

// A worker that is slow and says so keeps its order.
func TestDeskAliveKeepsItsOrder(t *testing.T) {
	w := newOffice(t)
	id, e := w.says(t, "bob", w.pull, "/rollback")
	k := w.desk(t, DeskOptions{})
	o, err := k.Hear(t.Context(), e, "issue_comment")
	if err != nil || o == nil {
		t.Fatal(err)
	}
	other := w.desk(t, DeskOptions{})
	w.verb = func(ctx context.Context, d *Door, _ []string) error {
		for range 4 {
			w.later(6 * time.Minute)
			deadline := time.Now().Add(10 * time.Second)
			for { // until the answer is written anew
				list := w.answers(t, id)
				if len(list) == 1 && !list[0].Updated.Before(w.clock()) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("nothing says that the worker lives")
				}
				time.Sleep(20 * time.Millisecond)
			}
			if n := w.recoverAll(t, other, k); n != 0 {
				t.Errorf("%d took it away", n)
			}
		}
		return nil
	}
	if err := k.Carry(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if len(w.runs()) != 1 {
		t.Errorf("ran %v", w.runs())
	}
}

func TestDeskRecoversWhatNobodyHeard(t *testing.T) {
	w := newOffice(t)
	fresh, _ := w.says(t, "bob", w.pull, "/rollback anna")
	stranger, _ := w.says(t, "mallory", w.pull, "/rollback anna")
	talk, _ := w.says(t, "bob", w.pull, "nice")
	if n := w.recoverAll(t, w.desks(t, 4)...); n != 1 {
		t.Errorf("%d got it", n)
	}
	if _, outcome := w.answer(t, fresh); outcome != "done" || w.reactions(t, stranger) != "-1" || w.reactions(t, talk) != "" {
		t.Errorf("%s, %q, %q", outcome, w.reactions(t, stranger), w.reactions(t, talk))
	}
	old, _ := w.says(t, "bob", w.pull, "/rollback")
	w.later(2 * time.Hour)
	if n := w.recoverAll(t, w.desks(t, 3)...); n != 1 {
		t.Errorf("%d got the old one", n)
	}
	if body, outcome := w.answer(t, old); outcome != "expired" || !strings.Contains(body, "2h") {
		t.Errorf("%s\n%s", outcome, body)
	}
	ancient, _ := w.says(t, "bob", w.pull, "/rollback")
	w.later(73 * time.Hour)
	if n := w.recoverAll(t, w.desks(t, 3)...); n != 0 || w.reactions(t, ancient) != "" {
		t.Errorf("%d got one of three days ago", n)
	}
	if len(w.runs()) != 1 {
		t.Errorf("ran %v", w.runs())
	}
}

// What cannot be done twice, or is too old for it, is reported; whose access is gone gets nothing done.
func TestDeskRecoversWithCare(t *testing.T) {
	w := newOffice(t)
	restore := w.claimed(t, "/rollback --restore-data")
	w.later(11 * time.Minute)
	if n := w.recoverAll(t, w.desks(t, 2)...); n != 1 {
		t.Errorf("%d got it", n)
	}
	if body, outcome := w.answer(t, restore); outcome != "failed" || !strings.Contains(body, "without a look") {
		t.Errorf("%s\n%s", outcome, body)
	}
	late := w.claimed(t, "/rollback")
	w.later(61 * time.Minute)
	w.recoverAll(t, w.desks(t, 2)...)
	if body, outcome := w.answer(t, late); outcome != "failed" || !strings.Contains(body, "1h1m0s ago") {
		t.Errorf("%s\n%s", outcome, body)
	}
	gone := w.claimed(t, "/rollback")
	if err := w.repo.SetPermission("bob", ""); err != nil {
		t.Fatal(err)
	}
	w.later(11 * time.Minute)
	w.recoverAll(t, w.desks(t, 2)...)
	if body, outcome := w.answer(t, gone); outcome != "refused" || !strings.Contains(body, "no write access") {
		t.Errorf("%s\n%s", outcome, body)
	}
	if len(w.runs()) != 0 {
		t.Errorf("ran %v", w.runs())
	}
}

// Anybody can write our hidden lines, and react as we do.
func TestDeskForgedClaims(t *testing.T) {
	w := newOffice(t)
	id := w.claimed(t, "/rollback")
	if _, err := w.repo.Comment("mallory", w.pull, fmt.Sprintf("%s\n<!-- shopfleet:outcome done -->\ndone", orderMarker(fmt.Sprint(id)))); err != nil {
		t.Fatal(err)
	}
	other, _ := w.says(t, "bob", w.pull, "/rollback anna")
	for _, content := range []string{"eyes", "rocket", "confused", "-1"} {
		for _, c := range []int64{id, other} {
			if err := w.repo.ReactAs("mallory", c, content); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.later(11 * time.Minute)
	if n := w.recoverAll(t, w.desks(t, 2)...); n != 2 {
		t.Errorf("%d got them", n)
	}
	for _, id := range []int64{id, other} {
		if _, outcome := w.answer(t, id); outcome != "done" {
			t.Errorf("%d: %s", id, outcome)
		}
	}
	// An outcome counts on the second line alone, whatever a page holds.
	for body, want := range map[string]string{
		"<!-- shopfleet:order 7 -->\n<!-- shopfleet:outcome done -->\nx":                          "7 done",
		"<!-- shopfleet:order 7 -->\r\n<!-- shopfleet:outcome failed -->\r\nx":                    "7 failed",
		"<!-- shopfleet:order 7 -->\n<!-- shopfleet:alive x -->\n<!-- shopfleet:outcome done -->": "7 ",
		"<!-- shopfleet:order 7 -->":                                 "7 ",
		"x\n<!-- shopfleet:order 7 -->":                              " ",
		" <!-- shopfleet:order 7 -->":                                " ",
		"<!-- shopfleet:order 7 --> <!-- shopfleet:order 8 -->":      " ",
		"<!-- shopfleet:order 7 -->\n<!-- shopfleet:outcome won -->": "7 ",
	} {
		if mark, outcome := readAnswer(body); mark+" "+outcome != want {
			t.Errorf("%q: %q %q", body, mark, outcome)
		}
	}
}

// Deliveries come late, twice and in any order while workers die: each order runs once, or it is reported.
func TestDeskStorm(t *testing.T) {
	w := newOffice(t)
	ids := map[int64]string{}
	var events []github.Event
	for i := range 12 {
		id, e := w.says(t, "bob", w.pull, fmt.Sprintf("/rollback anna to v%d", i))
		ids[id], events = fmt.Sprintf("rollback anna to v%d for bob", i), append(events, e)
	}
	desks := w.desks(t, 3)
	for round := range 5 {
		for i := range events {
			k, e := desks[(i+round)%3], events[(i*7+round)%len(events)]
			o, err := k.Hear(t.Context(), e, "issue_comment")
			if err != nil {
				t.Fatal(err)
			}
			if o != nil && (i+round)%3 != 0 { // a third of the workers die with the claim
				if err := k.Carry(t.Context(), o); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.later(11 * time.Minute)
		desks = w.desks(t, 3) // they begin anew
		for i, k := range desks {
			list, err := k.Recover(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for n, o := range list {
				if (n+i+round)%4 == 0 {
					continue
				}
				if err := k.Carry(t.Context(), o); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	runs := w.runs()
	for id, words := range ids {
		_, outcome := w.answer(t, id)
		n := 0
		for _, r := range runs {
			if r == words {
				n++
			}
		}
		if want := map[string]int{"done": 1, "failed": 0, "expired": 0}; n != want[outcome] || !slices.Contains([]string{"done", "failed", "expired"}, outcome) {
			t.Errorf("%s ran %d times, outcome %q", words, n, outcome)
		}
	}
}

// What strangers mistype is looked at once. It gets no answer, so that nothing on GitHub says that it was.
func TestDeskRecoverForgetsStrangers(t *testing.T) {
	w := newOffice(t)
	for range 5 {
		w.says(t, "mallory", w.pull, "/rolback")
	}
	k := w.desk(t, DeskOptions{})
	for range 2 {
		if n := w.recoverAll(t, k); n != 0 {
			t.Fatalf("recovered %d", n)
		}
	}
	w.ForgetRequests()
	w.recoverAll(t, k)
	for _, r := range w.Requests() {
		if !strings.HasSuffix(r.Path, "/issues/comments") {
			t.Errorf("asked again: %s %s", r.Method, r.Path)
		}
	}
}
