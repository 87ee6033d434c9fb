package secrets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/wrangler"
)

func newIdentity(t testing.TB) (identity, recipient string) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id.String(), id.Recipient().String()
}

func TestParse(t *testing.T) {
	tests := []struct {
		name, src string
		want      map[string]string
		wrong     string // in the error, where there is one
	}{
		{"nothing", "", map[string]string{}, ""},
		{"lines", "# of swicked\nA=1\n\n export B = two words  # note\nC='x # y'\nD=\"a\\nb\"\r\nE=`it's \"so\"`\n", map[string]string{"A": "1", "B": "two words", "C": "x # y", "D": "a\nb", "E": `it's "so"`}, ""},
		{"a key of several lines", "KEY='-----BEGIN KEY-----\nMIIE==\n-----END KEY-----'\nB=2", map[string]string{"KEY": "-----BEGIN KEY-----\nMIIE==\n-----END KEY-----", "B": "2"}, ""},
		{"dollars that name nothing", "A=pa$$9\nB='$'\nC=US$,\n", map[string]string{"A": "pa$$9", "B": "$", "C": "US$,"}, ""},
		{"dollars in an object", `{"A": "pa$word", "B": "${X}"}`, map[string]string{"A": "pa$word", "B": "${X}"}, ""},
		{"equals signs", "A=b64==\n", map[string]string{"A": "b64=="}, ""},
		{"apostrophe in the middle", "A=it's\n", map[string]string{"A": "it's"}, ""},
		{"byte order mark", "\ufeffA=1\n", map[string]string{"A": "1"}, ""},
		{"object", ` {"A": "1", "B": "x\ny"} `, map[string]string{"A": "1", "B": "x\ny"}, ""},
		{"empty object", `{}`, map[string]string{}, ""},

		{"hash in a bare value", "A=1\nB=pa#ss\n", nil, "line 2: wrangler would cut this value off"},
		{"quotes without an end", "A='x\nB=2\n", nil, "line 1: the quotes of this value do not end"},
		{"something behind quotes", "A='x'y\n", nil, "line 1: there is something behind"},
		{"escaped quote", `A="x\"y"`, nil, "line 1: programs disagree"},
		{"backslash in double quotes", `A="x\ty"`, nil, "line 1: programs disagree"},
		{"key without quotes", "KEY=-----BEGIN KEY-----\nMIIE\n", nil, "line 2: this is not NAME=value"},
		{"a variable", "A=pa$word\n", nil, "line 1: wrangler would put a variable in place of the $"},
		{"a variable in quotes", "A='x'\nB='${HOME}'\n", nil, "line 2: wrangler would put a variable"},
		{"an escaped variable", "A='\\$HOME'\n", nil, "line 1: wrangler would put a variable"},
		{"no name", "=x\n", nil, "line 1: this is not NAME=value"},
		{"bad name", "1A=x\n", nil, "line 1: this is not NAME=value"},
		{"empty", "A=1\nB=\nC=2\n", nil, "line 2: a secret is empty"},
		{"empty in quotes", "A=''\n", nil, "line 1: a secret is empty"},
		{"twice", "A=1\nA=2\n", nil, "line 2: a secret is named twice"},
		{"not text", "A=\xff\n", nil, "it is not UTF-8"},
		{"too large", "A=" + strings.Repeat("x", MaxSize), nil, "larger than"},
		{"object twice", "{\"A\": \"1\",\n\"A\": \"2\"}", nil, "line 2: a secret is named twice"},
		{"object of numbers", `{"A": 1}`, nil, "not a flat JSON object"},
		{"object of objects", `{"A": {"B": "c"}}`, nil, "not a flat JSON object"},
		{"object with an empty value", `{"A": ""}`, nil, "a secret is empty"},
		{"object with a bad name", `{"A B": "x"}`, nil, "no name of a secret"},
		{"object and more", `{"A": "x"} {"B": "y"}`, nil, "not a flat JSON object"},
		{"half an object", `{"A": "x"`, nil, "not a flat JSON object"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse([]byte(test.src))
			if test.wrong != "" {
				var parse *ParseError
				if !errors.As(err, &parse) || !strings.Contains(err.Error(), test.wrong) || parse.Hint() == "" {
					t.Fatalf("got %v, %v; want an error about %q with a hint", got, err, test.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if plain := reveal(got); !maps.Equal(plain, test.want) {
				t.Errorf("got %q; want %q", plain, test.want)
			}
		})
	}
}

func reveal(b Bundle) map[string]string {
	out := map[string]string{}
	for n, v := range b {
		out[n] = string(v)
	}
	return out
}

func TestTextIsReadBack(t *testing.T) {
	for _, v := range []string{
		"plain", "two words", "it's", `"`, `it's "so"`, "a\nb", "a\rb", "a\r\nb", `back\slash`, `ends in \`, `it's \`, "$HOME", "it's $HOME", "`", "'\"`", " spaces ",
		"-----BEGIN KEY-----\nMIIE\n-----END KEY-----\n", "ü", "\u2028", "\x00", "#", "=", "\t",
	} {
		b := Bundle{"A": wrangler.Secret(v), "Z": "z"}
		got, err := Parse(Text(b))
		if err != nil {
			t.Errorf("%q: %v", v, err)
			continue
		}
		if !maps.Equal(reveal(got), reveal(b)) {
			t.Errorf("%q came back as %q", v, reveal(got)["A"])
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, src := range []string{"A=1\n", "A='x'\nB=\"y\\n\"\n", `{"A":"x"}`, "export A=`b`#c", "A='\\'", "A=\"\n\"", "\ufeff{", "A='b'\nC='d'"} {
		f.Add([]byte(src))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		b, err := Parse(src)
		if err != nil {
			return
		}
		again, err := Parse(Text(b))
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if !maps.Equal(reveal(again), reveal(b)) {
			t.Fatalf("%q became %q", reveal(b), reveal(again))
		}
	})
}

func FuzzOpen(f *testing.F) {
	identity, recipient := newIdentity(f)
	sealed, err := Seal(Bundle{"A": "x"}, []string{recipient})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:len(sealed)/2])
	f.Add([]byte("age-encryption.org/v1\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		b, err := Open(src, identity)
		var parse *ParseError
		if err != nil && !errors.As(err, &parse) && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrOtherKey) {
			t.Fatalf("an error of no known kind: %v", err)
		}
		if (b == nil) == (err == nil) {
			t.Fatalf("got %v and %v", b.Names(), err)
		}
	})
}

func TestSealAndOpen(t *testing.T) {
	identity, recipient := newIdentity(t)
	second, secondRecipient := newIdentity(t)
	other, _ := newIdentity(t)
	b := Bundle{"STRIPE_KEY": "sk_live_x", "PEM": "a\nb\n", "ODD": "it's \"so\" $X `y`"}
	sealed, err := Seal(b, []string{recipient, secondRecipient})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(sealed, []byte("-----BEGIN AGE ENCRYPTED FILE-----\n")) {
		t.Errorf("it is not armored: %.40q", sealed)
	}
	for _, v := range b {
		if bytes.Contains(sealed, []byte(v)) {
			t.Error("a value can be read in it")
		}
	}
	// The library is what the age command is made of.
	id, _ := age.ParseX25519Identity(identity)
	if r, err := age.Decrypt(armor.NewReader(bytes.NewReader(sealed)), id); err != nil {
		t.Errorf("age does not open it: %v", err)
	} else if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Errorf("age does not read it: %v", err)
	}
	for _, key := range []string{identity, second, "# created: 2026-11-02\n# public key: " + recipient + "\n" + identity + "\n", other + "\n" + second} {
		got, err := Open(sealed, key)
		if err != nil || !maps.Equal(reveal(got), reveal(b)) {
			t.Errorf("got %v, %v", got.Names(), err)
		}
	}
	var binary bytes.Buffer
	to, _ := age.ParseX25519Recipient(recipient)
	w, err := age.Encrypt(&binary, to)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "A=1\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := Open(binary.Bytes(), identity); err != nil || got["A"] != "1" {
		t.Errorf("not armored: %v, %v", got.Names(), err)
	}

	flipped := bytes.Clone(binary.Bytes())
	flipped[len(flipped)-1] ^= 1
	for _, test := range []struct {
		name     string
		sealed   []byte
		identity string
		want     error
	}{
		{"no identity", sealed, "", ErrNoIdentity},
		{"only comments", sealed, "# nothing\n", ErrNoIdentity},
		{"no identity at all", sealed, "s3cr3t", ErrBadIdentity},
		{"a recipient in its place", sealed, recipient, ErrBadIdentity},
		{"somebody else's", sealed, other, ErrOtherKey},
		{"cut off", sealed[:len(sealed)-100], identity, ErrCorrupt},
		{"changed", flipped, identity, ErrCorrupt},
		{"plain text", []byte("A=1\n"), identity, ErrCorrupt},
		{"nothing", nil, identity, ErrCorrupt},
		{"too large", make([]byte, MaxSize+1), identity, ErrCorrupt},
	} {
		if b, err := Open(test.sealed, test.identity); !errors.Is(err, test.want) || b != nil {
			t.Errorf("%s: got %v; want %v", test.name, err, test.want)
		} else if strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: the error quotes the identity", test.name)
		}
	}
	if _, err := Seal(b, nil); !errors.Is(err, ErrNoRecipient) {
		t.Errorf("without recipients: %v", err)
	}
	if _, err := Seal(b, []string{"age1" + strings.Repeat("q", 58)}); err == nil {
		t.Error("a recipient with a wrong checksum was taken")
	}
	if Recipient(identity) != recipient || Recipient("x") != "" {
		t.Error("the recipient of an identity is wrong")
	}
}

func TestFingerprint(t *testing.T) {
	a, _ := newIdentity(t)
	b, _ := newIdentity(t)
	f := Fingerprint(a, "swicked", "KEY", "v")
	if len(f) != 16 || f != Fingerprint("# key\n"+a+"\n"+b, "swicked", "KEY", "v") {
		t.Errorf("%q is not what the first identity makes", f)
	}
	for what, other := range map[string]string{
		"value": Fingerprint(a, "swicked", "KEY", "w"), "name": Fingerprint(a, "swicked", "KEZ", "v"), "shop": Fingerprint(a, "swick", "KEY", "v"),
		"key": Fingerprint(b, "swicked", "KEY", "v"), "cut": Fingerprint(a, "swickedK", "EY", "v"),
	} {
		if other == f {
			t.Errorf("another %s has the same fingerprint", what)
		}
	}
	if Fingerprint("", "swicked", "KEY", "v") != "" || Fingerprint("x", "swicked", "KEY", "v") != "" || (Bundle{"A": "b"}).Fingerprints("", "s") != nil {
		t.Error("there is a fingerprint without a key")
	}
	if got := (Bundle{"KEY": "v"}).Fingerprints(a, "swicked"); got["KEY"] != f || len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

func TestCheck(t *testing.T) {
	policy := fleet.Secrets{
		Required: []string{"SESSION", "STRIPE"}, Optional: []string{"TWILIO"},
		About: []fleet.SecretAbout{{Name: "STRIPE", Format: `sk_(live|test)_[a-z]+`, Description: "Stripe → Developers → API keys"}},
	}
	rules := func(b Bundle) string {
		var out []string
		for _, f := range Check(policy, b) {
			if f.Level != wrangler.LevelError || f.Message == "" || f.Expected == "" || f.Hint == "" {
				t.Errorf("%+v is not whole", f)
			}
			text := fmt.Sprint(f)
			for _, v := range b {
				if strings.Contains(text, string(v)) {
					t.Errorf("%s quotes a value", f.Rule)
				}
			}
			out = append(out, f.Rule)
		}
		return strings.Join(out, " ")
	}
	many := Bundle{"SESSION": "v0", "STRIPE": "sk_live_v"}
	for i := range 127 {
		many[fmt.Sprintf("N%03d", i)] = "vv"
	}
	for want, b := range map[string]Bundle{
		"":                              {"SESSION": "v0", "STRIPE": "sk_live_v", "TWILIO": "v1"},
		"secret-absent":                 {"STRIPE": "sk_live_v"},
		"secret-absent secret-absent":   {},
		"secret-not-declared":           {"SESSION": "v0", "STRIPE": "sk_live_v", "STRIP": "v2"},
		"secret-mismatch":               {"SESSION": "v0", "STRIPE": "xsk_live_vx"},
		"secret-size":                   {"SESSION": wrangler.Secret(strings.Repeat("v", 5<<10+1)), "STRIPE": "sk_live_v"},
		"secret-absent secret-mismatch": {"STRIPE": "sk_live_v\n"},
		strings.Repeat("secret-not-declared ", 127) + "secret-count": many,
	} {
		if got := rules(b); got != want {
			t.Errorf("%v: got %q; want %q", b.Names(), got, want)
		}
	}
}

// Whatever goes wrong, no value can be read in what is said about it.
func TestNothingQuotesAValue(t *testing.T) {
	const mark = "s3cr3t"
	for _, src := range []string{
		"A='" + mark, "A=\"" + mark + "\\x\"", "A=" + mark + "#x", mark + "\n", mark + "=", "A=1\n" + mark + "=\n", "1" + mark + "=x", "A='x'" + mark,
		`{"A": ["` + mark + `"]}`, `{"` + mark + ` ": "x"}`, `{"A": "` + mark, `{"` + mark + `": ""}`, "A=" + mark + "\nA=" + mark, "{" + mark,
	} {
		_, err := Parse([]byte(src))
		if err == nil {
			t.Errorf("%q was taken", src)
			continue
		}
		if strings.Contains(fmt.Sprintf("%v %+v %s", err, err, hint(err)), mark) {
			t.Errorf("%q: %v", src, err)
		}
	}
	b := Bundle{"A": mark}
	out, _ := json.Marshal(b)
	if strings.Contains(fmt.Sprintf("%v %+v %#v %s %q", b, b, b, b, out), mark) {
		t.Error("a bundle prints its values")
	}
}

func hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}
