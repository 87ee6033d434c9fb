package d1

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
)

var update = flag.Bool("update", false, "record golden files anew")

var corpusFile = filepath.Join("testdata", "corpus.tsv")

// internalError is what the engine says when INSERT OR ROLLBACK ends its transaction; a random reference follows.
const internalError = "internal error"

// corpusLine is a line of the corpus: a comment, or a statement text with the engine's verdict.
type corpusLine struct {
	number  int
	comment string // "" for a statement
	source  string // as written
	sql     string
	accept  bool
	message string // what the engine says when it refuses
}

func readCorpus(t *testing.T) []corpusLine {
	t.Helper()
	data, err := os.ReadFile(corpusFile)
	if err != nil {
		t.Fatal(err)
	}
	functions := template.FuncMap{
		"repeat": func(n int, s string) string { return strings.Repeat(s, n) },
		"series": func(n int, format, separator string) string {
			parts := make([]string, n)
			for i := range parts {
				parts[i] = fmt.Sprintf(format, i)
			}
			return strings.Join(parts, separator)
		},
	}
	bytesOf := strings.NewReplacer(`\n`, "\n", `\r`, "\r", `\t`, "\t", `\0`, "\x00")
	var lines []corpusLine
	for i, text := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		line := corpusLine{number: i + 1}
		if strings.HasPrefix(text, "#") {
			line.comment = text
			lines = append(lines, line)
			continue
		}
		verdict, rest, ok := strings.Cut(text, "\t")
		if !ok {
			t.Fatalf("%s:%d: no tab", corpusFile, i+1)
		}
		line.source, line.message, _ = strings.Cut(rest, "\t")
		line.accept = verdict == "accept"
		parsed, err := template.New("").Funcs(functions).Parse(bytesOf.Replace(line.source))
		if err != nil {
			t.Fatalf("%s:%d: %v", corpusFile, i+1, err)
		}
		var sql strings.Builder
		if err := parsed.Execute(&sql, nil); err != nil {
			t.Fatalf("%s:%d: %v", corpusFile, i+1, err)
		}
		line.sql = sql.String()
		lines = append(lines, line)
	}
	return lines
}

// TestCorpus compares our verdicts and words with the recorded ones of the real engine.
func TestCorpus(t *testing.T) {
	db := open(t)
	statements := 0
	for _, line := range readCorpus(t) {
		if line.comment != "" {
			continue
		}
		statements++
		_, err := db.Query(t.Context(), line.sql)
		switch {
		case err == nil && !line.accept:
			t.Errorf("%s:%d: %s\naccepted, but D1 says %s", corpusFile, line.number, line.source, line.message)
		case err != nil && line.accept:
			t.Errorf("%s:%d: %s\nD1 accepts it, but we say %v", corpusFile, line.number, line.source, err)
		case err != nil && err.Error() != line.message && line.message != internalError:
			t.Errorf("%s:%d: %s\nwe say  %v\nD1 says %s", corpusFile, line.number, line.source, err, line.message)
		}
		var refused *Error
		if err != nil && !errors.As(err, &refused) {
			t.Errorf("%s:%d: %s\nnot an *Error but %T", corpusFile, line.number, line.source, err)
		}
	}
	if statements < 200 {
		t.Errorf("the corpus has %d statements, want 200 or more", statements)
	}
}

// TestCorpusAgainstEngine asks the real engine again, so that the recorded verdicts stay true. With -update it records.
func TestCorpusAgainstEngine(t *testing.T) {
	engine := startRealEngine(t)
	var recorded bytes.Buffer
	for _, line := range readCorpus(t) {
		if line.comment != "" {
			fmt.Fprintln(&recorded, line.comment)
			continue
		}
		_, refused := engine.run(t, "corpus", Query{SQL: line.sql})
		if strings.HasPrefix(refused, internalError) {
			refused = internalError
		}
		if *update {
			if refused == "" {
				fmt.Fprintf(&recorded, "accept\t%s\n", line.source)
			} else {
				fmt.Fprintf(&recorded, "reject\t%s\t%s\n", line.source, strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(refused))
			}
			continue
		}
		if (refused == "") != line.accept || refused != line.message {
			t.Errorf("%s:%d: %s\nrecorded %v %s\nengine   %v %s", corpusFile, line.number, line.source, line.accept, line.message, refused == "", refused)
		}
	}
	if *update {
		if err := os.WriteFile(corpusFile, recorded.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// open opens a database in memory for the time of a test.
func open(t testing.TB) *DB {
	t.Helper()
	db, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}
