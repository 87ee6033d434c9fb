package command

// The grammar of comments against what people, and their enemies, write.

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestOrderGrammar(t *testing.T) {
	sha := strings.Repeat("1f2e", 10)
	for body, want := range map[string]string{
		"/rollback":           "rollback",
		"/rollback swicked":   "rollback swicked",
		"/rollback to " + sha: "rollback to " + sha,
		"/rollback swicked to " + sha + " --restore-data": "rollback swicked to " + sha + " --restore-data",
		"/rollback --old-secrets swicked --restore-data":  "rollback swicked --restore-data --old-secrets",
		"/rollback to to":                           "rollback to to",
		"/rollback\tswicked   to\tv1.2.3+b_4:5  ":   "rollback swicked to v1.2.3+b_4:5",
		"/rollback swicked\nto x\n/hold":            "rollback swicked",
		"/rollback swicked\r\nthanks":               "rollback swicked",
		"/rollback swicked\rthanks":                 "rollback swicked",
		"/rollback\n" + strings.Repeat("x", 60<<10): "rollback",
		"/deploy":                "deploy",
		"/plan anna":             "plan anna",
		"/land":                  "land",
		"/land 1f2e1f2":          "land",
		"/rebase anna bert":      "rebase anna bert",
		"/hold":                  "hold --",
		"/hold stock is counted": "hold -- |stock is counted",
		"/hold --shop=anna Inventur läuft, 日本":              "hold -- anna |Inventur läuft, 日本",
		"/hold the page\u202eegap\u200b is\u00a0odd\x1b[1m": "hold -- |the pageegap is odd[1m",
		"/hold @everyone `x` <b> $(rm -rf /) ::error::":     "hold -- |@everyone `x` <b> $(rm -rf /) ::error::",
		"/hold swicked --force":                             "hold -- |swicked --force",
		"/release-hold anna":                                "release-hold anna",
		"/audit":                                            "audit",
		"/pause":                                            "land",
		"/resume":                                           "land",
		"/skip anna":                                        "land",
		"/help":                                             "help",
		"/help rollback":                                    "help rollback",
	} {
		o, err := ParseOrder(body)
		if err != nil {
			t.Errorf("%.60q: %v", body, err)
			continue
		}
		args := strings.Join(o.Args, " ")
		if o.Verb == "hold" && o.said.reason != "" { // one word of the command line
			args = strings.Join(o.Args[:len(o.Args)-1], " ") + " |" + o.Args[len(o.Args)-1]
		}
		if args != want {
			t.Errorf("%.60q: %q; want %q", body, args, want)
		}
	}
}

// What means to be an order is told what is wrong with it.
func TestOrderHelp(t *testing.T) {
	for body, want := range map[string]string{
		"/rolback":                      "rollback /rolback",
		"/Rollback":                     "rollback /Rollback",
		"/HELP":                         "help /HELP",
		"/depoly swicked":               "deploy /depoly",
		"/relase-hold":                  "release-hold /relase-hold",
		"/rollback to":                  "rollback to",
		"/rollback anna bert":           "rollback bert",
		"/rollback anna to x y":         "rollback y",
		"/rollback anna --force":        "rollback --force",
		"/rollback --restore-data=true": "rollback --restore-data=true",
		"/rollback anna --restore-data --restore-data": "rollback --restore-data",
		"/rollback ANNA":                           "rollback ANNA",
		"/rollback ../main":                        "rollback ../main",
		"/rollback main":                           "rollback main",
		"/rollback $(id)":                          "rollback $(id)",
		"/rollback anna;id":                        "rollback anna;id",
		"/rollback @octocat":                       "rollback @octocat",
		"/rollback <!--":                           "rollback <!--",
		"/rollback to " + strings.Repeat("a", 129): "rollback " + strings.Repeat("a", 129),
		"/deploy --all":                            "deploy --all",
		"/deploy anna now":                         "deploy now",
		"/land please":                             "land please",
		"/hold --for=2h":                           "hold --for=2h",
		"/hold --shop=x/y":                         "hold x/y",
		"/hold --shop=аnna why":                    "hold аnna", // a Cyrillic а
		"/audit all":                               "audit all",
		"/skip":                                    "skip /skip",
		"/rebase anna anna":                        "rebase anna",
		"/help me":                                 "help me",
	} {
		_, err := ParseOrder(body)
		var wrong *OrderError
		if !errors.As(err, &wrong) || wrong.Verb+" "+wrong.Word != want {
			t.Errorf("%.60q: %v; want %q", body, err, want)
		}
	}
}

// Talk is left alone, and so is what only looks like an order.
func TestOrderTalk(t *testing.T) {
	for _, body := range []string{
		"", "/", "//", "hello", "please /rollback", " /rollback", "\t/rollback", "\n/rollback", "\r\n/rollback", "> /rollback", "`/rollback`", "    /rollback",
		"```\n/rollback\n```", "- /rollback", "**/rollback**", "<!-- -->/rollback", "/usr/bin/rollback", "/rollback/swicked", "/rollback:swicked", "/rollback.",
		"/shrug", "/lgtm", "/assign me", "/test all", "/merge", "/tmp", "/me waves", "/or", "/retest", "/close",
		"／rollback", "\u2044rollback", "∕rollback", "\ufeff/rollback", "\u200b/rollback", "\u202e/rollback", "/\u200brollback", "/rоllback", // the last with a Cyrillic о
		"/rollback\u00a0swicked", "/rollback swicked\u200b", "/rollback swi\u00adcked", "/rollback ѕwicked", "/rollback \u202edekciws", "/rollback swicked\u2028to x",
		"/rollback swicked\x00", "/rollback \x1b[2J", "/rollback swicked\v", "/deploy\fanna", "/rollback \xff\xfe", "/ROLLBACK\u00a0",
		"/rollback " + strings.Repeat("a ", 500), strings.Repeat("/rollback", 7000), "/hold " + strings.Repeat("x", 1000),
	} {
		if o, err := ParseOrder(body); !errors.Is(err, ErrNoOrder) {
			t.Errorf("%.60q: %+v, %v", body, o.Args, err)
		}
	}
}

// checkOrder holds what is true of every order, whatever it was made of.
func checkOrder(t *testing.T, body string) {
	t.Helper()
	o, err := ParseOrder(body)
	var wrong *OrderError
	switch {
	case errors.Is(err, ErrNoOrder):
		return
	case errors.As(err, &wrong):
		if _, ok := orderVerbOf(wrong.Verb); !ok {
			t.Fatalf("%q: help for %q", body, wrong.Verb)
		}
		return
	case err != nil:
		t.Fatalf("%q: %v", body, err)
	}
	if !strings.HasPrefix(body, "/"+o.Verb) || len(o.Args) == 0 {
		t.Fatalf("%q became %q", body, o.Args)
	}
	if again, err := ParseOrder(strings.SplitN(strings.SplitN(body, "\n", 2)[0], "\r", 2)[0] + "\n/audit"); err != nil || fmt.Sprint(again) != fmt.Sprint(o) {
		t.Fatalf("%q: more than the first line counts: %+v, %v", body, again, err)
	}
	plain := false // after --, no word is a flag
	for i, arg := range o.Args[1:] {
		last := i == len(o.Args)-2
		switch {
		case arg == "--" && i == 0 && o.Verb == "hold":
			plain = true
		case strings.HasPrefix(arg, "-") && !plain && arg != "--restore-data" && arg != "--old-secrets":
			t.Fatalf("%q has the flag %q", body, arg)
		case plain && last:
			if len(arg) > maxSaidReason || !utf8.ValidString(arg) || strings.ContainsAny(arg, "\n\r\x00\x1b\u202e\u200b\u2066") {
				t.Fatalf("%q has the reason %q", body, arg)
			}
		case !anyWord.MatchString(arg):
			t.Fatalf("%q has the word %q", body, arg)
		}
	}
}

func TestOrderProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	words := []string{"/rollback", "/hold", "/deploy", "/land", "/rebase", "/skip", "/help", "/release-hold", "rollback", "swicked", "to", "--restore-data", "--shop=anna", "--", "-x", "--all",
		" ", "  ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u202e", "\u200b", "／", "`", "```", ">", "<!--", "-->", "@x", "$(x)", ";", "::error::", "1f2e1f2", "\x00", "\xff", "日本", strings.Repeat("a", 200)}
	for range 200_000 {
		var b strings.Builder
		if r.IntN(3) > 0 {
			b.WriteString(words[r.IntN(8)])
		}
		for range r.IntN(8) {
			if r.IntN(4) > 0 {
				b.WriteString(" ")
			}
			b.WriteString(words[r.IntN(len(words))])
		}
		checkOrder(t, b.String())
	}
}

func FuzzParseOrder(f *testing.F) {
	for _, s := range []string{"/rollback swicked to x --restore-data", "/hold --shop=a é\u202e", "/rolback", "/help x", "/land 1f2e1f2\r\n", "／rollback"} {
		f.Add(s)
	}
	f.Fuzz(checkOrder)
}
