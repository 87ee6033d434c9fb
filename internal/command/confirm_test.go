package command

// A yes counts from one account, after it was shown what to.

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

const confirmDigest = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"

func TestConfirmByReaction(t *testing.T) {
	for name, test := range map[string]struct {
		// each is called when the desk waits for the nth time, from 1 on
		meanwhile func(t *testing.T, w *office, answer int64, n int)
		yes       bool
		outcome   string
	}{
		"yes": {func(t *testing.T, w *office, answer int64, n int) {
			if n == 3 {
				_ = w.repo.ReactAs("bob", answer, "+1")
			}
		}, true, "done"},
		"nobody": {func(*testing.T, *office, int64, int) {}, false, "expired"},
		"somebody else": {func(t *testing.T, w *office, answer int64, n int) {
			_ = w.repo.ReactAs("alice", answer, "+1")
			_ = w.repo.ReactAs("mallory", answer, "+1")
		}, false, "expired"},
		"another reaction": {func(t *testing.T, w *office, answer int64, n int) {
			for _, c := range []string{"-1", "heart", "hooray", "rocket", "eyes"} {
				_ = w.repo.ReactAs("bob", answer, c)
			}
		}, false, "expired"},
		"too late": {func(t *testing.T, w *office, answer int64, n int) {
			if n == 1 {
				w.later(11 * time.Minute)
			}
		}, false, "expired"},
		"access removed": {func(t *testing.T, w *office, answer int64, n int) {
			_ = w.repo.SetPermission("bob", "read")
			_ = w.repo.ReactAs("bob", answer, "+1")
		}, false, "refused"},
		"the answer was edited": {func(t *testing.T, w *office, answer int64, n int) {
			c, err := w.client(t).Comment(t.Context(), answer)
			if err != nil {
				t.Error(err)
			}
			_ = w.repo.EditComment("alice", answer, strings.Replace(c.Body, "12 rows", "no rows", 1))
			_ = w.repo.ReactAs("bob", answer, "+1")
		}, false, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newOffice(t)
			k := w.desk(t, DeskOptions{})
			id, e := w.says(t, "bob", w.pull, "/rollback --restore-data")
			n, waited := 0, time.Duration(0)
			k.sleep = func(ctx context.Context, d time.Duration) error {
				n++
				w.later(d)
				waited += d
				test.meanwhile(t, w, w.answers(t, id)[0].ID, n)
				return ctx.Err()
			}
			var yes bool
			w.verb = func(ctx context.Context, d *Door, _ []string) (err error) {
				yes, err = d.confirm(ctx, "- 12 rows of `orders` are lost\n", confirmDigest)
				if yes {
					d.order.page = "It went back.\n"
				}
				return err
			}
			if o := w.do(t, k, e); o == nil {
				if !test.yes && test.outcome == "refused" {
					t.Fatal("not heard")
				}
			}
			body, outcome := w.answer(t, id)
			if yes != test.yes || outcome != test.outcome {
				t.Errorf("%v, %s\n%s", yes, outcome, body)
			}
			if name == "nobody" && (waited < 10*time.Minute-confirmPoll || waited > 10*time.Minute+confirmPoll) {
				t.Errorf("it waited for %s", waited)
			}
		})
	}
}

// A yes to one plan is none to the next, and one that was there before the plan is none.
func TestConfirmOtherDigest(t *testing.T) {
	w := newOffice(t)
	k := w.desk(t, DeskOptions{})
	id, e := w.says(t, "bob", w.pull, "/rollback --restore-data")
	w.verb = func(ctx context.Context, d *Door, _ []string) error {
		d.order.say(ctx, "Looking.")
		if err := d.order.answer.write(ctx, ""); err != nil {
			return err
		}
		if err := w.repo.ReactAs("bob", d.order.answer.at(), "+1"); err != nil {
			return err
		}
		w.later(5 * time.Second)
		for _, digest := range []string{confirmDigest, strings.Repeat("ab", 32)} {
			if yes, err := d.confirm(ctx, "- rows are lost\n", digest); yes || err != nil {
				t.Errorf("%s: %v, %v", digest, yes, err)
			}
		}
		return nil
	}
	w.do(t, k, e)
	if _, outcome := w.answer(t, id); outcome != "expired" {
		t.Error(outcome)
	}
}

func TestConfirmAtATerminal(t *testing.T) {
	for input, want := range map[string]bool{
		confirmDigest[:12] + "\n": true, confirmDigest + "\r\n": true, confirmDigest[:12]: true,
		"": false, "\n": false, "yes\n": false, confirmDigest[:11] + "\n": false, confirmDigest[:13] + "\n": false, strings.Repeat("0", 12) + "\n": false,
	} {
		var asked bytes.Buffer
		d := &Door{Asks: true, Stdin: strings.NewReader(input), Stderr: &asked}
		if yes, err := d.confirm(t.Context(), "", confirmDigest); yes != want || err != nil || !strings.Contains(asked.String(), confirmDigest[:12]) {
			t.Errorf("%q: %v, %v, %q", input, yes, err, asked.String())
		}
	}
	var usage *usageError
	if yes, err := (&Door{Stdin: strings.NewReader(confirmDigest + "\n")}).confirm(t.Context(), "", confirmDigest); yes || !errors.As(err, &usage) {
		t.Errorf("nobody there: %v, %v", yes, err)
	}
}
