// Package git runs the real git on one local repository.
//
// Open finds the repository. Its refs name commits (Branch, Branches), and from then on everything is asked by commit:
// what one file holds in many commits (Files), the tree of a commit (Trees) and its bytes in a directory (Extract), and
// where the commit stands in the history (Commit, MergeBase, Changed, IsAncestor). The work tree is never looked at.
//
//	repo, err := git.Open(ctx, ".")
//	branch, err := repo.Branch(ctx, "shops/swicked")
//	trees, err := repo.Trees(ctx, branch.Commit())
//	err = repo.Extract(ctx, trees[0].Without("wrangler.jsonc"), dir)
//
// Two things are kept out. A repository's configuration, a user's or the machine's cannot run code or change an answer:
// the environment of every git is made here from nothing. And names that other people choose, such as branches and
// paths, are never arguments of git: refs are listed and compared here, objects are asked for by id.
//
// Only what takes a Remote uses the network: RemoteRefs, Fetch, Mirror and Push. It needs git 2.31, the first to take
// configuration from the environment.
package git

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Repository is a local git repository. Fields are set before use, not after; methods may be called by many goroutines
// at once.
type Repository struct {
	// Dir is the top of the work tree, or the repository itself if it is bare. Absolute.
	Dir string
	// Program is the git to run; "" is the one found on the PATH.
	Program string
	// Echo gets each command before it is run, as a line that can be pasted into a shell, in one Write; nil is silence.
	Echo io.Writer
}

// Error is a git that did not do what it was asked to.
type Error struct {
	Args     []string // without the program
	ExitCode int      // -1 when it was not started, or ended by a signal
	Stderr   string   // what it said, cut to a readable length
	Err      error    // why, below the exit code: context.Canceled, exec.ErrNotFound, …
}

func (e *Error) Error() string {
	what := "git " + strings.Join(e.Args, " ")
	if said := strings.TrimSpace(e.Stderr); said != "" {
		return fmt.Sprintf("%s: %s", what, said)
	}
	return fmt.Sprintf("%s: %v", what, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Hint says what to do about it; "" when that is not known.
func (e *Error) Hint() string {
	switch {
	case errors.Is(e.Err, exec.ErrNotFound):
		return "install git and make sure that it is on the PATH"
	case strings.Contains(e.Stderr, "dubious ownership"):
		return "run as the owner of the repository's files"
	case strings.Contains(e.Stderr, "could not read Username"), strings.Contains(e.Stderr, "Authentication failed"):
		return "the token is wrong, or may not see the repository: git needs contents: read, and contents: write to push"
	}
	return ""
}

// NotRepositoryError says that a directory is in no git repository.
type NotRepositoryError struct{ Dir string }

func (e *NotRepositoryError) Error() string { return e.Dir + " is not in a git repository" }

// Hint says what to do about it.
func (e *NotRepositoryError) Hint() string {
	return "run this inside a clone of the product's repository"
}

// Open finds the repository that dir is in. The error is a *NotRepositoryError when there is none.
func Open(ctx context.Context, dir string) (*Repository, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the repository: %w", err)
	}
	// git looks for the repository itself, but which directory it may trust has to be said before.
	for at := abs; ; at = filepath.Dir(at) {
		if isRepository(at) {
			r := &Repository{Dir: at}
			if err := r.check(ctx); err != nil {
				return nil, err
			}
			return r, nil
		}
		if at == filepath.Dir(at) {
			return nil, &NotRepositoryError{Dir: abs}
		}
	}
}

func isRepository(dir string) bool {
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	}
	return exists(".git") || exists("HEAD") && exists("objects") && exists("refs")
}

var version = regexp.MustCompile(`^git version (\d+)\.(\d+)`)

// check makes sure that git works, is new enough for our environment to bind it, and sees the repository we see.
func (r *Repository) check(ctx context.Context) error {
	out, err := r.run(ctx, nil, "version")
	if err != nil {
		return err
	}
	if v := version.FindSubmatch(out); v != nil {
		major, _ := strconv.Atoi(string(v[1]))
		minor, _ := strconv.Atoi(string(v[2]))
		if major < 2 || major == 2 && minor < 31 {
			return fmt.Errorf("git 2.31 or newer is needed; this is %s", bytes.TrimSpace(out))
		}
	}
	if _, err := r.run(ctx, nil, "rev-parse", "--git-dir"); err != nil {
		var said *Error
		if errors.As(err, &said) && strings.Contains(said.Stderr, "not a git repository") {
			return &NotRepositoryError{Dir: r.Dir}
		}
		return err
	}
	return nil
}

// settings take precedence over every configuration file. They switch off what would run other programs.
var settings = [][2]string{
	{"core.hooksPath", os.DevNull},
	{"core.fsmonitor", "false"},
	{"core.attributesFile", os.DevNull},
	{"core.excludesFile", os.DevNull},
	{"core.autocrlf", "false"},
	{"gc.auto", "0"},
	{"maintenance.auto", "false"},
	{"protocol.allow", "never"},
	{"protocol.ext.allow", "never"},
	{"advice.graftFileDeprecated", "false"}, // it says so of the empty one that the environment names
}

// environment is the whole environment of a git in this repository. more are settings beside the ones above.
func (r *Repository) environment(more ...[2]string) []string {
	env := []string{
		"LC_ALL=C",
		"TZ=UTC",
		"HOME=" + os.DevNull,
		"XDG_CONFIG_HOME=" + os.DevNull,
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_SYSTEM=" + os.DevNull,
		"GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0",
		"GIT_OPTIONAL_LOCKS=0",
		// Replacement objects and grafts make a commit look like another one.
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_GRAFT_FILE=" + os.DevNull,
		// A partial clone would fetch what is missing. No protocol is allowed, for gits that do not know the first.
		"GIT_NO_LAZY_FETCH=1",
		"GIT_ALLOW_PROTOCOL=",
		// A broken .git must be an error, not a way to the repository around it.
		"GIT_CEILING_DIRECTORIES=" + filepath.Dir(r.Dir),
	}
	// In a container the checkout often belongs to another user. git compares with the resolved path.
	all := append([][2]string{{"safe.directory", r.Dir}}, settings...)
	if resolved, err := filepath.EvalSymlinks(r.Dir); err == nil && resolved != r.Dir {
		all = append(all, [2]string{"safe.directory", resolved})
	}
	all = append(all, more...)
	env = append(env, fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(all)))
	for i, s := range all {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, s[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, s[1]))
	}
	return env
}

// patience is how long an interrupted git may take to clean up before it is killed.
const patience = 5 * time.Second

// command prepares a git that is interrupted when the context ends. args hold nothing that other people choose.
func (r *Repository) command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, cmp.Or(r.Program, "git"), args...)
	cmd.Dir = r.Dir
	cmd.Env = r.environment()
	cmd.WaitDelay = patience
	cmd.Cancel = func() error {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			return cmd.Process.Kill() // the system has no interrupts
		}
		return nil
	}
	if r.Echo != nil {
		words := append([]string{cmp.Or(r.Program, "git"), "-C", r.Dir}, args...)
		for i, w := range words {
			words[i] = shellQuote(w)
		}
		fmt.Fprintln(r.Echo, strings.Join(words, " "))
	}
	return cmd
}

// run is git with these arguments; it returns what git prints, also when it fails. The error is an *Error.
func (r *Repository) run(ctx context.Context, stdin io.Reader, args ...string) ([]byte, error) {
	cmd := r.command(ctx, args)
	var stdout bytes.Buffer
	var stderr tail
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), failure(ctx, args, err, &stderr)
	}
	return stdout.Bytes(), nil
}

// failure makes an *Error of how a command ended.
func failure(ctx context.Context, args []string, err error, stderr *tail) *Error {
	e := &Error{Args: args, ExitCode: -1, Stderr: stderr.String(), Err: err}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		e.ExitCode = exit.ExitCode()
	}
	if ctx.Err() != nil {
		e.Err, e.Stderr = context.Cause(ctx), ""
	}
	return e
}

// exitCode is how git ended, 0 when it did well and -1 when it did not end by itself.
func exitCode(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.ExitCode
	}
	if err != nil {
		return -1
	}
	return 0
}

// tail keeps the end of what is written: git's last words are the ones that explain.
type tail struct{ b []byte }

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - tailSize; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.ToValidUTF8(string(t.b), "\ufffd") }

var shellSafe = regexp.MustCompile(`^[A-Za-z0-9_./:=@%+,-]+$`)

func shellQuote(word string) string {
	if shellSafe.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
