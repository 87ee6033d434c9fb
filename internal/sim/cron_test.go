package sim

import "testing"

func TestCheckCron(t *testing.T) {
	good := []string{
		"* * * * *", "*/5 * * * *", "0 13 * * *", "0 14 * * mon", "0 15 1 * *", "0 0 L * *", "0 0 LW * *", "0 0 15W * *", "0 0 * * 6L",
		"0 0 * * FRI#2", "1,2,30-40/5 0-23 1-31 JAN-DEC SUN-SAT", "59 23 31 12 7", "0 12 * * MON,WED,fri",
	}
	for _, text := range good {
		if err := checkCron(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	bad := []string{
		"", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 0 *", "* * * 13 *", "* * * * 0", "* * * * 8",
		"*/0 * * * *", "*/x * * * *", "5-1 * * * *", "1- * * * *", "a * * * *", "* * * FOO *", "* * * * MON#6", "L * * * *", "* * * * mond", ", * * * *",
		"* * * * *#1", "-1 * * * *",
	}
	for _, text := range bad {
		if err := checkCron(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func FuzzCheckCron(f *testing.F) {
	for _, seed := range []string{"*/5 * * * *", "0 0 LW * *", "1-2/3 * * JAN FRI#2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		err := checkCron(text)
		if again := checkCron(" " + text + "\t"); (err == nil) != (again == nil) {
			t.Errorf("white space around %q decides whether it is a cron expression", text)
		}
	})
}
