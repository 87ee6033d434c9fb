package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	// The differ of the Go project itself, of which this is the public copy: unified, and quick on any input.
	"github.com/rogpeppe/go-internal/diff"

	"github.com/kvick/shopfleet/internal/report"
)

// What becomes of a file.
const (
	fileCreated   = "created"
	fileUnchanged = "unchanged"
	fileReplaced  = "replaced"
	fileDiffers   = "differs" // from what init would write, and was left alone
)

// setupFile is a file that init writes.
type setupFile struct {
	Path   string `json:"path"` // from the top of the repository
	Status string `json:"status"`
	Diff   string `json:"diff,omitempty"` // from what is there to what init writes

	content []byte
}

// maxWorkflow is more than GitHub takes for a workflow (contracts/github/wire.md §2f).
const maxWorkflow = 1 << 20

// readPlain reads a file of a repository's work tree, and nothing that a link leads to. The error is fs.ErrNotExist to
// errors.Is when there is none.
func readPlain(dir, path string) ([]byte, error) {
	top, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the repository's directory: %w", err)
	}
	defer top.Close()
	return readIn(top, path)
}

func readIn(top *os.Root, path string) ([]byte, error) {
	if err := plainPath(top, path); err != nil {
		return nil, err
	}
	file, err := top.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxWorkflow+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if len(text) > maxWorkflow {
		return nil, Usage(fmt.Errorf("%s has more than %d bytes", path, maxWorkflow), "move it away")
	}
	return text, nil
}

// compare looks at what is there now.
func (f *setupFile) compare(top *os.Root, force bool) error {
	old, err := readIn(top, f.Path)
	from := f.Path
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Status, from = fileCreated, os.DevNull
	case err != nil:
		return err
	case bytes.Equal(bytes.ReplaceAll(old, []byte("\r\n"), []byte("\n")), f.content): // git may have changed the line ends
		f.Status = fileUnchanged
		return nil
	case force:
		f.Status = fileReplaced
	default:
		f.Status = fileDiffers
	}
	text := diff.Diff(from, old, f.Path, f.content)
	if _, rest, ok := bytes.Cut(text, []byte("\n")); ok { // the first line is a command line
		text = rest
	}
	f.Diff = string(text)
	return nil
}

// plainPath refuses a path on which there is a link, which could lead out of the repository, or anything else that is
// neither directory nor file. What os.Root refuses, it refuses once more when the file is written.
func plainPath(top *os.Root, name string) error {
	parts := strings.Split(name, "/")
	for i := range parts {
		at := path.Join(parts[:i+1]...)
		info, err := top.Lstat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("looking at %s: %w", at, err)
		case info.Mode()&fs.ModeSymlink != 0:
			return Usage(fmt.Errorf("%s is a symbolic link, and nothing is written through it", at), "replace it by what it points to, or remove it")
		case i < len(parts)-1 && !info.IsDir():
			return Usage(fmt.Errorf("%s is no directory", at), "move it away")
		case i == len(parts)-1 && !info.Mode().IsRegular():
			return Usage(fmt.Errorf("%s is no file", at), "move it away")
		}
	}
	return nil
}

// write puts the file in its place as a whole: a crash leaves the one before or this one.
func (f *setupFile) write(top *os.Root) (err error) {
	dir := path.Dir(f.Path)
	if err := top.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp := path.Join(dir, "."+path.Base(f.Path)+".shopfleet-tmp")
	_ = top.Remove(tmp) // what a crash left
	file, err := top.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(f.content)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = top.Rename(tmp, f.Path)
	}
	if err != nil {
		return errors.Join(err, top.Remove(tmp))
	}
	return nil
}

// remaining is what a person has to do that no file can.
func (s *setup) remaining(top *os.Root, files []setupFile) []string {
	github := "https://github.com/" + s.Repository
	var todo []string
	for _, f := range files {
		for i, line := range strings.Split(string(f.content), "\n") {
			if _, what, ok := strings.Cut(line, "# fill in: "); ok && f.Status != fileDiffers {
				todo = append(todo, fmt.Sprintf("fill in %s:%d: %s", f.Path, i+1, what))
			}
		}
	}
	branch := s.Before + "<slug>" + s.After
	todo = append(todo,
		fmt.Sprintf("commit these files to %s, and bring %s into the shops' branches: GitHub runs the workflows of the branch that is pushed", s.Main, s.Main),
		fmt.Sprintf("make each shop an environment shop-<slug> that only branch %s may use, with secrets CLOUDFLARE_API_TOKEN and SHOP_SECRETS: %s/settings/environments", branch, github),
		fmt.Sprintf("for plans of pull requests, set the repository's secret CLOUDFLARE_PLAN_TOKEN, a token that cannot deploy: %s/settings/secrets/actions", github),
		fmt.Sprintf("for the weekly audit, make an environment fleet-audit that only branch %s may use, with secret CLOUDFLARE_AUDIT_TOKEN, a token that only reads: %s/settings/environments", s.Main, github),
		fmt.Sprintf("for the weekly rebase, install a GitHub App of your own, and make an environment fleet-rebase that only branch %s may use, with variable SHOPFLEET_APP_ID and secrets SHOPFLEET_APP_PRIVATE_KEY and CLOUDFLARE_PLAN_TOKEN: %s/settings/environments", s.Main, github),
		fmt.Sprintf("for commands in comments, make an environment fleet-commands that only branch %s may use, with variable SHOPFLEET_APP_ID and secrets SHOPFLEET_APP_PRIVATE_KEY and CLOUDFLARE_ROLLBACK_TOKEN, a token of a user of its own: %s/settings/environments", s.Main, github),
		fmt.Sprintf("to onboard shops by a form, make an environment fleet-onboard that only branch %s may use, with variable SHOPFLEET_APP_ID and secrets SHOPFLEET_APP_PRIVATE_KEY, CLOUDFLARE_ONBOARD_TOKEN and NEW_SHOP_SECRETS: %s/settings/environments", s.Main, github),
		fmt.Sprintf("to offboard and move shops by a form, make an environment fleet-offboard that only branch %s may use, with required reviewers, variable SHOPFLEET_APP_ID and secrets SHOPFLEET_APP_PRIVATE_KEY, CLOUDFLARE_OFFBOARD_TOKEN and CLOUDFLARE_BACKUP_TOKEN: %s/settings/environments", s.Main, github),
		fmt.Sprintf("for backups every night, make an environment fleet-backup that only branch %s may use, with variable SHOPFLEET_BACKUP_TO and secrets CLOUDFLARE_EXPORT_TOKEN and CLOUDFLARE_BACKUP_TOKEN: %s/settings/environments", s.Main, github),
		fmt.Sprintf("for the monthly drill, make an environment fleet-drill that only branch %s may use, with variable SHOPFLEET_APP_ID and secrets SHOPFLEET_APP_PRIVATE_KEY and CLOUDFLARE_DRILL_TOKEN: %s/settings/environments", s.Main, github),
		fmt.Sprintf("protect %s: what is on it runs with every shop's secrets: %s/settings/rules", s.Main, github),
	)
	if len(s.shops) > 0 {
		const most = 5
		list := s.shops[:min(len(s.shops), most)]
		text := "shops with a branch so far: " + strings.Join(list, ", ")
		if more := len(s.shops) - len(list); more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		todo = append(todo, text)
	}
	// actionlint 1.7.12 does not know queue yet (contracts/github/wire.md §2f). Its configuration is the repository's own.
	for _, name := range []string{".github/actionlint.yaml", ".github/actionlint.yml"} {
		if src, err := top.ReadFile(name); err == nil && !bytes.Contains(src, []byte(`"queue"`)) {
			todo = append(todo, "let actionlint pass the queues of the workflows: "+name+" needs the lines in docs/github.md of shopfleet")
		}
	}
	return todo
}

// printSetup says what was written, what was not, and what is left to do.
func (d *Door) printSetup(s *setup, files []setupFile, todo []string, f initFlags) error {
	counts := map[string]int{}
	for _, file := range files {
		counts[file.Status]++
	}
	page := struct {
		Exit       int         `json:"exit_code"`
		DryRun     bool        `json:"dry_run"`
		Written    bool        `json:"written"`
		Repository string      `json:"repository"`
		Action     string      `json:"action"`
		Files      []setupFile `json:"files"`
		Todo       []string    `json:"todo"`
	}{
		DryRun: f.dry, Written: !f.dry && counts[fileDiffers] == 0 && counts[fileUnchanged] < len(files),
		Repository: s.Repository, Action: s.Action, Files: files, Todo: todo,
	}
	if counts[fileDiffers] > 0 {
		page.Exit = ExitFindings
	}
	var err error
	if f.json {
		err = report.JSON(d.Stdout, page)
	} else {
		_, err = io.WriteString(d.Stdout, setupText(files, todo, page.Written, f.dry))
	}
	if err != nil {
		return fmt.Errorf("printing the result: %w", err)
	}
	if page.Exit == ExitDone {
		return nil
	}
	if !f.json {
		fmt.Fprintf(d.Stderr, "shopfleet: nothing was written: %s that init would replace\n  hint: take over what the diff shows, or run again with --force\n", differ(counts[fileDiffers]))
	}
	return &resultError{code: page.Exit}
}

func differ(n int) string {
	if n == 1 {
		return "1 file differs from the one"
	}
	return fmt.Sprintf("%d files differ from those", n)
}

func setupText(files []setupFile, todo []string, written, dry bool) string {
	var b strings.Builder
	for _, f := range files {
		status := f.Status
		if !written && status != fileUnchanged && status != fileDiffers {
			status = map[string]string{fileCreated: "to create", fileReplaced: "to replace"}[status]
		}
		fmt.Fprintf(&b, "%-10s %s\n", status, f.Path)
	}
	for _, f := range files {
		if f.Diff == "" || f.Status == fileCreated && !dry {
			continue
		}
		b.WriteString("\n")
		for line := range strings.Lines(f.Diff) {
			b.WriteString(report.Clean(strings.TrimRight(line, "\r\n")) + "\n")
		}
	}
	if written || dry {
		b.WriteString("\nLeft to do:\n")
		for _, line := range todo {
			fmt.Fprintf(&b, "- %s\n", line)
		}
	}
	return b.String()
}
