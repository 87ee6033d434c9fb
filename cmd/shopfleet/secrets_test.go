package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// secretMark is in every secret that the scripts use, so that one that got out is found whoever's it is.
const secretMark = "s3cr3t"

// scriptToken is the scripts' token for the simulated account.
const scriptToken = "cf_" + secretMark + "_0123456789abcdefghijklmnopqrstuv"

// transcriptVariable names the directory that programs of scripts write a copy of their output to.
const transcriptVariable = "SHOPFLEET_TEST_TRANSCRIPTS"

// noSecrets fails the test when, at its end, anything that its programs printed or gave to GitHub's runner has one of the
// secrets in it. The command that asks the runner to mask one is the only place for them (contracts/github/wire.md §2g).
func noSecrets(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(transcriptVariable, dir)
	t.Cleanup(func() {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		secrets := []string{secretMark, scriptIdentity, otherIdentity}
		texts := map[string]string{}
		for _, f := range files {
			b, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(f.Name(), "secret-") {
				secrets = append(secrets, string(b))
				continue
			}
			texts[f.Name()] = string(b)
		}
		if len(texts) == 0 {
			t.Error("no output was kept: this looked at nothing")
		}
		for _, text := range texts {
			for line := range strings.Lines(text) {
				if strings.HasPrefix(line, "::add-mask::") {
					continue
				}
				for _, s := range secrets {
					if strings.Contains(line, s) {
						t.Errorf("a secret was printed: %s", line)
					}
				}
			}
		}
	})
}

// keep puts a file beside the transcripts.
func keep(dir, prefix string, content []byte) error {
	f, err := os.CreateTemp(dir, prefix)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Close()
}

// rememberSecret has a secret that was made for one script looked for as well.
func rememberSecret(ts *testscript.TestScript, secret string) {
	ts.Check(keep(ts.Getenv(transcriptVariable), "secret-", []byte(secret)))
}

// transcribe copies what the process prints from here on into a file of its own; the function it returns ends that.
func transcribe(dir string) (end func()) {
	if dir == "" {
		return func() {}
	}
	file, err := os.CreateTemp(dir, "output-")
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex
	var copying sync.WaitGroup
	var pipes []*os.File
	tee := func(stream **os.File) {
		real := *stream
		r, w, err := os.Pipe()
		if err != nil {
			panic(err)
		}
		*stream = w
		pipes = append(pipes, w)
		copying.Go(func() {
			var kept strings.Builder
			if _, err := io.Copy(io.MultiWriter(real, &kept), r); err != nil {
				panic(err)
			}
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(file, kept.String())
		})
	}
	tee(&os.Stdout)
	tee(&os.Stderr)
	return func() {
		for _, w := range pipes {
			w.Close()
		}
		copying.Wait()
		// What the runner would read is said as well.
		for _, name := range []string{"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV", "GITHUB_STATE"} {
			if path := os.Getenv(name); path != "" {
				if b, err := os.ReadFile(path); err == nil {
					fmt.Fprintln(file, string(b))
				}
			}
		}
		file.Close()
	}
}
