package secrets

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// ParseError says where the text of a bundle is wrong. It quotes nothing of it: where a value was broken over lines, any
// word may be a part of it.
type ParseError struct {
	// Line is 1-based; 0 is the text as a whole.
	Line int
	// Problem is what is wrong, Advice what to write instead.
	Problem, Advice string
}

func (e *ParseError) Error() string {
	if e.Line == 0 {
		return e.Problem
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Problem)
}

// Hint says what to write.
func (e *ParseError) Hint() string { return e.Advice }

// name is what a secret may be called, as fleet.yml has it.
var name = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Parse reads the text of a bundle: a flat JSON object of strings, or dotenv lines. What it takes it reads as wrangler reads
// a --secrets-file. Programs disagree on some dotenv: where a value is cut off or has other characters depending on who
// reads it, Parse refuses and says how to write it. Nor does it take an empty value, or two of one name.
func Parse(src []byte) (Bundle, error) {
	src = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))
	switch {
	case len(src) > MaxSize:
		return nil, &ParseError{Problem: fmt.Sprintf("it is larger than %d bytes", MaxSize), Advice: "keep large values in KV or R2"}
	case !utf8.Valid(src):
		return nil, &ParseError{Problem: "it is not UTF-8", Advice: "encode binary values, in base64 for example"}
	case bytes.HasPrefix(bytes.TrimSpace(src), []byte("{")):
		return parseJSON(src)
	}
	return parseDotenv(src)
}

// parseJSON reads an object by its tokens: a decoder into a map would keep the last of two values without a word.
func parseJSON(src []byte) (Bundle, error) {
	bad := &ParseError{Problem: "it is not a flat JSON object of strings", Advice: `write {"NAME": "value", …}`}
	d := json.NewDecoder(bytes.NewReader(src))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, bad
	}
	out := Bundle{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, bad
		}
		value, err := d.Token()
		if err != nil {
			return nil, bad
		}
		k, _ := key.(string)
		v, ok := value.(string)
		switch line := 1 + bytes.Count(src[:d.InputOffset()], []byte("\n")); {
		case !ok:
			return nil, bad
		case !name.MatchString(k):
			return nil, &ParseError{line, "this is no name of a secret", "letters, digits and _, not beginning with a digit"}
		case v == "":
			return nil, &ParseError{line, "a secret is empty", "give it a value, or leave it out"}
		case out[k] != "":
			return nil, &ParseError{line, "a secret is named twice", "keep one of the two"}
		}
		out[k] = wrangler.Secret(value.(string))
	}
	if _, err := d.Token(); err != nil {
		return nil, bad
	}
	if d.More() || len(bytes.TrimSpace(src[d.InputOffset():])) > 0 {
		return nil, bad
	}
	return out, nil
}

// The forms of a dotenv line. What wrangler reads it with (the npm package dotenv) has one expression for all of it.
var (
	dotenvHead    = regexp.MustCompile(`^[ \t]*(?:export[ \t]+)?([^\s=]*)[ \t]*=[ \t]*`)
	dotenvTail    = regexp.MustCompile(`^[ \t]*(?:#[^\n]*)?(?:\n|$)`)
	dotenvComment = regexp.MustCompile(`[ \t]#`)
	// Wrangler and shells put variables of their environment in place of these, wrangler also within single quotes.
	dotenvVariable = regexp.MustCompile(`\$[A-Za-z_{]|\\\$`)
)

func parseDotenv(src []byte) (Bundle, error) {
	text := strings.ReplaceAll(strings.ReplaceAll(string(src), "\r\n", "\n"), "\r", "\n")
	out := Bundle{}
	for line := 1; text != ""; {
		wrong := func(problem, advice string) error { return &ParseError{line, problem, advice} }
		if rest := strings.TrimLeft(text, " \t"); rest == "" || rest[0] == '\n' || rest[0] == '#' {
			_, text, _ = strings.Cut(text, "\n")
			line++
			continue
		}
		head := dotenvHead.FindStringSubmatch(text)
		if head == nil || !name.MatchString(head[1]) {
			return nil, wrong("this is not NAME=value", "put a value of several lines in quotes; a JSON object can be used as well")
		}
		value, rest, err := dotenvValue(text[len(head[0]):], wrong)
		switch {
		case err != nil:
			return nil, err
		case dotenvVariable.MatchString(value):
			return nil, wrong("wrangler would put a variable in place of the $ in this value", "write all of it as a JSON object")
		case value == "":
			return nil, wrong("a secret is empty", "give it a value, or leave it out")
		case out[head[1]] != "":
			return nil, wrong("a secret is named twice", "keep one of the two")
		}
		out[head[1]] = wrangler.Secret(value)
		line += strings.Count(text[:len(text)-len(rest)], "\n")
		text = rest
	}
	return out, nil
}

// dotenvValue reads a value to the end of its line and returns what comes after that.
func dotenvValue(text string, wrong func(problem, advice string) error) (value, rest string, err error) {
	if text == "" || !strings.ContainsRune("'\"`", rune(text[0])) {
		value, rest, _ = strings.Cut(text, "\n")
		if i := dotenvComment.FindStringIndex(value); i != nil {
			value = value[:i[0]]
		}
		if strings.Contains(value, "#") {
			return "", "", wrong("wrangler would cut this value off at its #", "put the value in single quotes")
		}
		return strings.TrimSpace(value), rest, nil
	}
	quote := text[:1]
	value, rest, ok := strings.Cut(text[1:], quote)
	end := dotenvTail.FindString(rest)
	switch {
	case !ok:
		return "", "", wrong("the quotes of this value do not end", "end them with "+quote)
	case strings.HasSuffix(value, `\`):
		return "", "", wrong(`programs disagree on what \ before a quote means`, "use other quotes around the value, or write all of it as a JSON object")
	case end == "" && rest != "":
		return "", "", wrong("there is something behind the quotes of this value", "use other quotes around the value, or write all of it as a JSON object")
	}
	if quote == `"` {
		plain := strings.NewReplacer(`\n`, "\n", `\r`, "\r")
		if strings.Contains(strings.NewReplacer(`\n`, "", `\r`, "").Replace(value), `\`) {
			return "", "", wrong(`programs disagree on what \ in double quotes means`, `put the value in single quotes; in double ones only \n and \r are taken`)
		}
		value = plain.Replace(value)
	}
	return value, rest[len(end):], nil
}

// bare is what needs no quotes for any program.
var bare = regexp.MustCompile(`^[A-Za-z0-9_./+=:@%,-]+$`)

// Text is the bundle as Parse reads it, names in order: dotenv lines that wrangler, other readers of dotenv and a shell
// understand alike, or a JSON object where a value has no such form.
func Text(b Bundle) []byte {
	var out bytes.Buffer
	for _, n := range b.Names() {
		quoted, ok := quote(string(b[n]))
		if !ok {
			return textJSON(b)
		}
		out.WriteString(n + "=" + quoted + "\n")
	}
	return out.Bytes()
}

func quote(v string) (string, bool) {
	switch {
	case dotenvVariable.MatchString(v):
	case bare.MatchString(v):
		return v, true
	case !strings.ContainsAny(v, "'\r") && !strings.HasSuffix(v, `\`):
		return "'" + v + "'", true
	case !strings.ContainsAny(v, "\"\\$`"):
		return `"` + strings.NewReplacer("\n", `\n`, "\r", `\r`).Replace(v) + `"`, true
	}
	return "", false
}

func textJSON(b Bundle) []byte {
	values := make(map[string]string, len(b))
	for n, v := range b {
		values[n] = string(v)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(values); err != nil {
		// Strings have no way to fail.
		panic("secrets: encoding strings: " + err.Error())
	}
	return out.Bytes()
}
