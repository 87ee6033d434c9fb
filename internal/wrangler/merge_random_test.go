package wrangler_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// words are a configuration without its writing.
type words struct {
	kind byte // 'o' object, 'a' array, 's' anything else
	text string
	keys []string
	kids []*words
	note string // a comment that stays with it
}

func (w *words) clone() *words {
	out := *w
	out.keys, out.kids = slices.Clone(w.keys), nil
	for _, k := range w.kids {
		out.kids = append(out.kids, k.clone())
	}
	return &out
}

func scalar(text string) *words { return &words{kind: 's', text: text} }

func oneOf(r *rand.Rand, list ...string) string { return list[r.IntN(len(list))] }

// randomWords is what may stand under a key.
func randomWords(r *rand.Rand, key string) *words {
	list := func(n int, elem func(i int) *words) *words {
		out := &words{kind: 'a'}
		for i := range n {
			if r.IntN(2) == 0 {
				out.kids = append(out.kids, elem(i))
			}
		}
		return out
	}
	object := func(of func(key string) *words, keys ...string) *words {
		out := &words{kind: 'o'}
		for _, k := range keys {
			if r.IntN(2) == 0 {
				out.keys, out.kids = append(out.keys, k), append(out.kids, of(k))
			}
		}
		return out
	}
	number := func(string) *words { return scalar(fmt.Sprint(r.IntN(5))) }
	binding := func(name string) *words {
		out := object(number, "id", "n")
		out.keys, out.kids = append(out.keys, "binding"), append(out.kids, scalar(fmt.Sprintf("%q", name)))
		return out
	}
	switch key {
	case "vars", "limits":
		return object(number, "A", "B", "C", "1", "0")
	case "d1_databases":
		return list(4, func(i int) *words { return binding(fmt.Sprint("DB", i)) })
	case "rules": // some twice
		return list(3, func(int) *words { return binding(oneOf(r, "x", "y", "z")) })
	case "crons":
		return list(5, func(i int) *words { return scalar(fmt.Sprintf(`"%d * * * *"`, i)) })
	case "routes":
		return list(3, func(i int) *words {
			pattern := scalar(fmt.Sprintf(`"%d.example.com/*"`, i))
			if r.IntN(2) == 0 {
				return pattern
			}
			return &words{kind: 'o', keys: []string{"pattern", "zone_id"}, kids: []*words{pattern, number("")}}
		})
	case "env":
		return object(func(string) *words { return randomWords(r, "") }, "s", "t")
	case "":
		return object(func(k string) *words { return randomWords(r, k) }, "name", "vars", "d1_databases", "rules", "crons", "routes", "limits", "odd")
	case "top":
		out := randomWords(r, "")
		out.keys, out.kids = append(out.keys, "env"), append(out.kids, randomWords(r, "env"))
		return out
	case "odd":
		return []*words{scalar("null"), scalar("true"), {kind: 'o'}, {kind: 'a'}, scalar(`"http://x/*"`), list(3, func(int) *words { return &words{kind: 'a'} })}[r.IntN(6)]
	}
	return number("")
}

// change edits words below a key. With adding nothing is taken away or replaced.
func (w *words) change(r *rand.Rand, key string, adding bool, note string) {
	sample := randomWords(r, key)
	if w.kind == 'o' && sample.kind == 'o' && r.IntN(2) == 0 {
		for i, k := range sample.keys {
			if !slices.Contains(w.keys, k) {
				at := r.IntN(len(w.keys) + 1)
				sample.kids[i].mark(note)
				w.keys, w.kids = slices.Insert(w.keys, at, k), slices.Insert(w.kids, at, sample.kids[i])
				return
			}
		}
	}
	if w.kind == 'a' && sample.kind == 'a' && r.IntN(2) == 0 && key != "rules" && key != "odd" {
		for _, elem := range sample.kids {
			if !slices.ContainsFunc(w.kids, func(k *words) bool { return k.name() == elem.name() }) {
				elem.mark(note)
				w.kids = slices.Insert(w.kids, r.IntN(len(w.kids)+1), elem)
				return
			}
		}
	}
	if len(w.kids) == 0 {
		return
	}
	i := r.IntN(len(w.kids))
	under := ""
	if w.kind == 'o' {
		under = w.keys[i]
	}
	if w.kind == 'a' || key == "vars" {
		under = "number"
	}
	if key == "env" {
		under = ""
	}
	switch n := r.IntN(10); {
	case n < 7 || adding:
		if w.kids[i].kind != 's' {
			w.kids[i].change(r, under, adding, note)
		} else if !adding && under != "binding" && under != "pattern" {
			w.kids[i] = randomWords(r, "number")
		}
	case n == 7:
		w.kids = slices.Delete(w.kids, i, i+1)
		if w.kind == 'o' {
			w.keys = slices.Delete(w.keys, i, i+1)
		}
	case n == 8 && w.kind == 'a':
		r.Shuffle(len(w.kids), func(i, j int) { w.kids[i], w.kids[j] = w.kids[j], w.kids[i] })
	case w.kind == 'o' && under != "binding" && under != "pattern":
		w.kids[i] = randomWords(r, oneOf(r, under, "odd"))
	}
}

var marks int

// mark gives words a comment that is nowhere else.
func (w *words) mark(note string) {
	if note != "" {
		marks++
		w.note = fmt.Sprintf("%s%d.", note, marks)
	}
}

// name is what an element is known by.
func (w *words) name() string {
	if w.kind != 'o' {
		return w.text
	}
	for i, k := range w.keys {
		if k == "binding" || k == "pattern" {
			return w.kids[i].text
		}
	}
	return ""
}

// writing is a way to write words down.
type writing struct {
	nl, unit string
	comma    bool
	lines    int // of ten containers, how many are on lines of their own
	comments int // of ten items, how many have some
}

func randomWriting(r *rand.Rand) writing {
	return writing{oneOf(r, "\n", "\n", "\r\n"), oneOf(r, "  ", "\t", "    "), r.IntN(2) == 0, r.IntN(11), r.IntN(4)}
}

func (s writing) write(r *rand.Rand, w *words) string {
	text := s.value(r, w, "")
	if r.IntN(10) < s.comments {
		text = "// head" + s.nl + text + " // foot"
	}
	return text
}

func (s writing) value(r *rand.Rand, w *words, indent string) string {
	if w.kind == 's' {
		return w.text
	}
	brackets := map[byte]string{'o': "{}", 'a': "[]"}[w.kind]
	lines := r.IntN(10) < s.lines || indent == "" && s.lines > 0
	var marked func(w *words) bool
	marked = func(w *words) bool {
		return w.note != "" || slices.ContainsFunc(w.kids, marked)
	}
	lines = lines || marked(w)
	var b strings.Builder
	b.WriteByte(brackets[0])
	inner := indent + s.unit
	for i, kid := range w.kids {
		if lines {
			b.WriteString(s.nl + inner)
			if r.IntN(8) == 0 {
				b.WriteString(s.nl + inner)
			}
		} else if i > 0 || w.kind == 'o' {
			b.WriteString(" ")
		}
		if kid.note != "" {
			b.WriteString("// " + kid.note + s.nl + inner)
		} else if r.IntN(10) < s.comments {
			if lines {
				b.WriteString(oneOf(r, "// lead"+s.nl+inner, "/* lead */ ", "/* lead,"+s.nl+inner+" * too */"+s.nl+inner))
			} else {
				b.WriteString("/* lead */ ")
			}
		}
		if w.kind == 'o' {
			fmt.Fprintf(&b, "%q:%s", w.keys[i], oneOf(r, " ", "", " "))
		}
		b.WriteString(s.value(r, kid, inner))
		if i+1 < len(w.kids) || s.comma && lines {
			b.WriteString(oneOf(r, ",", ",", ",", " ,"))
		}
		if lines && r.IntN(10) < s.comments {
			b.WriteString(oneOf(r, " // trail", "/* trail */ ", " /* , */ // \"trail\""))
		}
	}
	if lines {
		b.WriteString(s.nl)
		if r.IntN(10) < s.comments {
			b.WriteString(inner + "// end" + s.nl)
		}
		b.WriteString(indent)
	} else if w.kind == 'o' && len(w.kids) > 0 {
		b.WriteString(" ")
	}
	b.WriteByte(brackets[1])
	return b.String()
}

func mustMerge(t *testing.T, base, main, shop string) *wrangler.Merged {
	t.Helper()
	m, err := wrangler.Merge("wrangler.jsonc", "s", []byte(base), []byte(main), []byte(shop))
	if err != nil {
		t.Fatalf("%v\n%s\n---\n%s\n---\n%s", err, base, main, shop)
	}
	again, err := wrangler.Merge("wrangler.jsonc", "s", []byte(base), []byte(main), []byte(shop))
	if err != nil || !bytes.Equal(again.Text, m.Text) || !slices.Equal(again.Choices, m.Choices) {
		t.Fatalf("not the same twice:\n%s\n---\n%s", m.Text, again.Text)
	}
	return m
}

// sameMeaning fails unless two texts mean the same.
func sameMeaning(t *testing.T, what, got, want string) {
	t.Helper()
	parse := func(text string) *wrangler.Project {
		p, err := wrangler.Parse(".", "wrangler.jsonc", []byte(text))
		if err != nil {
			t.Fatalf("%s: %v\n%s", what, err, text)
		}
		return p
	}
	if d := parse(got).Differences(parse(want)); len(d) > 0 {
		t.Fatalf("%s: %v\n%s\n---\n%s", what, d, got, want)
	}
}

func TestMergeRandom(t *testing.T) {
	decided, persons := 0, 0
	for seed := range uint64(1500) {
		r := rand.New(rand.NewPCG(seed, 6))
		base := randomWords(r, "top")
		main, shop := base.clone(), base.clone()
		for range r.IntN(6) {
			main.change(r, "top", false, "")
		}
		for range r.IntN(6) {
			shop.change(r, "top", false, "")
		}
		way := randomWriting(r)
		b := way.write(r, base)
		// Somebody's tool wrote the file anew on one side or the other.
		m, s := randomWriting(r).write(r, main), randomWriting(r).write(r, shop)
		b2 := randomWriting(r).write(r, base)
		what := fmt.Sprintf("seed %d", seed)

		if got := mustMerge(t, b, m, b); string(got.Text) != m || got.Choices != nil {
			t.Fatalf("%s: main is not kept to the byte\n%s\n---\n%s", what, got.Text, m)
		}
		got := mustMerge(t, b, m, b2)
		sameMeaning(t, what+", only main", string(got.Text), m)
		if got.Choices != nil {
			t.Fatalf("%s: %v", what, got.Choices)
		}
		got = mustMerge(t, b, b2, s)
		sameMeaning(t, what+", only the shop", string(got.Text), s)
		if got.Choices != nil {
			t.Fatalf("%s: %v", what, got.Choices)
		}
		got = mustMerge(t, b, m, randomWriting(r).write(r, main))
		sameMeaning(t, what+", both the same", string(got.Text), m)
		if got.Choices != nil {
			t.Fatalf("%s: %v", what, got.Choices)
		}

		got = mustMerge(t, b, m, s)
		if person := slices.ContainsFunc(got.Choices, func(c wrangler.Choice) bool { return c.Taken == "" }); person != (got.Text == nil) {
			t.Fatalf("%s: a person decides: %v, but the text is\n%s", what, person, got.Text)
		}
		for _, c := range got.Choices {
			inside := c.Key == "env.s" || strings.HasPrefix(c.Key, "env.s.") || strings.HasPrefix(c.Key, "env.s[")
			if c.Taken == "shop" && !inside || c.Taken == "main" && inside && c.Key != "env.s" {
				t.Fatalf("%s: %v", what, c)
			}
		}
		if got.Text == nil {
			persons++
			continue
		}
		decided++
		again := mustMerge(t, m, m, string(got.Text))
		sameMeaning(t, what+", again", string(again.Text), string(got.Text))
		again = mustMerge(t, m, randomWriting(r).write(r, main), string(got.Text))
		sameMeaning(t, what+", again, rewritten", string(again.Text), string(got.Text))
		if again.Choices != nil {
			t.Fatalf("%s: %v", what, again.Choices)
		}
	}
	if decided < 500 || persons < 50 {
		t.Errorf("the random files are one-sided: %d decided, %d for a person", decided, persons)
	}
}

// No comment is lost that somebody wrote: main's outside of the shop's environment, the shop's inside.
func TestMergeKeepsComments(t *testing.T) {
	calls := regexp.MustCompile(`^[^}]*"(?:binding|pattern)": ?("[^"]*")`)
	note := regexp.MustCompile(`(MAIN|SHOP)\d+\.`)
	kept := 0
	for seed := range uint64(1500) {
		r := rand.New(rand.NewPCG(seed, 7))
		base := randomWords(r, "top")
		main, shop := base.clone(), base.clone()
		for range 1 + r.IntN(6) {
			main.change(r, "top", true, "MAIN")
		}
		for range 1 + r.IntN(6) {
			shop.change(r, "top", true, "SHOP")
		}
		way := randomWriting(r)
		way.nl, way.comments, way.lines = oneOf(r, "\n", "\r\n"), 0, 10
		theirs := way
		theirs.nl, theirs.unit, theirs.comma = oneOf(r, "\n", "\r\n"), oneOf(r, "  ", "\t", "    "), r.IntN(2) == 0
		b, m, s := way.write(r, base), way.write(r, main), theirs.write(r, shop)
		if m == b {
			continue // the shop's text is the result, as it is
		}
		got := mustMerge(t, b, m, s)
		text := string(got.Text)
		if text == "" {
			continue
		}
		if way.nl == "\r\n" && strings.Contains(strings.ReplaceAll(text, "\r\n", ""), "\n") || way.nl == "\n" && strings.Contains(text, "\r") {
			t.Fatalf("seed %d: ends of lines are mixed\n%q", seed, text)
		}
		if wrong := map[string]string{"\t": "\n ", "  ": "\n\t", "    ": "\n\t"}[way.unit]; strings.Contains(text, wrong) {
			t.Fatalf("seed %d: indentation is mixed\n%s", seed, text)
		}
		for _, n := range note.FindAllString(m+s, -1) {
			// Where both added a member of one name, one of two comments can stay.
			if strings.Contains(text, n) {
				kept++
				continue
			}
			who := m
			if strings.HasPrefix(n, "SHOP") {
				who = s
			}
			at := strings.Index(who, n)
			item := strings.SplitN(who[at:], "\n", 3)[1]
			other := map[bool]string{true: m, false: s}[strings.HasPrefix(n, "SHOP")]
			key, _, _ := strings.Cut(strings.Trim(item, " \t\r,"), ":")
			if called := calls.FindStringSubmatch(who[at:]); strings.HasPrefix(key, "{") && called != nil {
				key = called[1]
			}
			if element := !strings.Contains(item, `":`); element && strings.Contains(other, key) {
				continue // an element that both added
			}
			if !regexp.MustCompile(`(MAIN|SHOP)\d+\.\r?\n\s*` + regexp.QuoteMeta(key)).MatchString(other) {
				t.Fatalf("seed %d: %s is lost\n%s\n--- main\n%s\n--- shop\n%s\n--- result\n%s", seed, n, b, m, s, text)
			}
		}
	}
	if kept < 1500 {
		t.Errorf("only %d comments were looked at", kept)
	}
}

func FuzzMerge(f *testing.F) {
	f.Add([]byte(`{"a": 1}`), []byte("{\"a\": 2, // x\n}"), []byte(`{"a": 1, "env": {"s": {"b": [1, 2, "x"]}}}`))
	f.Add([]byte(`{"a": [{"name": "x"}]}`), []byte("\ufeff{\"a\": [\r{\"name\": \"x\", \"y\": []}\r]}"), []byte(`{/**/"a"/**/:/**/[/**/{/**/"name"/**/:/**/"x"/**/}/**/,/**/]/**/,/**/}`))
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 8))
		base := randomWords(r, "top")
		main, shop := base.clone(), base.clone()
		main.change(r, "top", false, "M")
		shop.change(r, "top", false, "S")
		f.Add([]byte(randomWriting(r).write(r, base)), []byte(randomWriting(r).write(r, main)), []byte(randomWriting(r).write(r, shop)))
	}
	f.Fuzz(func(t *testing.T, base, main, shop []byte) {
		m, err := wrangler.Merge("wrangler.jsonc", "s", base, main, shop)
		if err != nil {
			var findings wrangler.Findings
			if !errors.As(err, &findings) || strings.HasPrefix(err.Error(), "reading what") {
				t.Fatal(err)
			}
			return
		}
		if m.Text == nil {
			return
		}
		again, err := wrangler.Merge("wrangler.jsonc", "s", main, main, m.Text)
		if err != nil || !bytes.Equal(again.Text, m.Text) {
			t.Fatalf("%v\n%s\n---\n%s", err, again.Text, m.Text)
		}
		// The same with a main that only ends otherwise, so that it is not the text that is compared.
		again, err = wrangler.Merge("wrangler.jsonc", "s", main, append(bytes.Clone(main), '\n'), m.Text)
		if err != nil || again.Text == nil {
			t.Fatalf("%v %v\n%s", err, again, m.Text)
		}
		sameMeaning(t, "again", string(again.Text), string(m.Text))
	})
}
