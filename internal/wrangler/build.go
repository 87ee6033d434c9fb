package wrangler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"
)

// How much of a failing build.command's output a finding shows.
const (
	buildOutputLines = 20
	buildOutputBytes = 4 << 10
)

// buildGrace is how long Wait may take after the command's group was killed. Nothing in the group survives, so
// that only something which left it could make Wait last.
const buildGrace = 5 * time.Second

// runBuildCommand runs build.command with the shell, in build.cwd (relative to the project), as wrangler does
// before it looks at the entry point. A command that cannot be run or fails is a Findings with the end of what
// it printed.
//
// The environment is made for it, because builds of one commit should agree and because a build is somebody's
// code: it gets what buildEnviron lets pass, WRANGLER_COMMAND=deploy as from wrangler, NODE_ENV when it is set
// in o, and an empty home directory that is removed afterwards. Standard input is empty. On Linux it cannot look
// into this process for more, which stays undumpable from then on, unless it runs with CAP_SYS_PTRACE.
func (c *Config) runBuildCommand(ctx context.Context, o BundleOptions) (err error) {
	command := strings.TrimSpace(c.Build.Command)
	if command == "" {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("running build.command: %w", err)
	}
	cwd := filepath.Join(c.Dir, filepath.FromSlash(c.Build.Cwd))
	if filepath.IsAbs(c.Build.Cwd) {
		cwd = c.Build.Cwd
	}
	if !isDir(cwd) {
		return Findings{c.At(Finding{
			Rule: "build-command", Level: LevelError,
			Message: fmt.Sprintf("build.cwd is not a directory: %s", relative(c.Dir, cwd)),
		}, "build", "cwd")}
	}
	home, err := os.MkdirTemp("", "shopfleet-build-")
	if err != nil {
		return fmt.Errorf("running build.command: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	// Output goes to a file: with a pipe, something that the command leaves behind would keep Wait waiting.
	output, err := os.CreateTemp(home, ".output-")
	if err != nil {
		return fmt.Errorf("running build.command: %w", err)
	}
	defer output.Close()

	cmd := shellCommand(ctx, command)
	cmd.Dir = cwd
	cmd.Env = append(buildEnviron(o.Environ), "HOME="+home, "WRANGLER_COMMAND=deploy")
	if o.NodeEnv != "" {
		cmd.Env = append(cmd.Env, "NODE_ENV="+o.NodeEnv)
	}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.WaitDelay = buildGrace
	if err := hideProcess(); err != nil {
		return fmt.Errorf("running build.command: %w", err)
	}
	runErr := runInGroup(cmd)
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("running build.command: %w", ctxErr)
	}
	if runErr == nil {
		return nil
	}
	var exit *exec.ExitError
	if !errors.As(runErr, &exit) {
		return fmt.Errorf("running build.command: %w", runErr)
	}
	hint := "it printed nothing"
	if tail := outputTail(output); tail != "" {
		hint = "it printed:\n" + tail
	}
	finding := c.At(Finding{
		Rule: "build-command", Level: LevelError,
		Message: fmt.Sprintf("build.command ended with %s: %s", exit.ProcessState, command),
	}, "build", "command")
	finding.Hint = hint
	return Findings{cleanFinding(finding)}
}

// buildEnviron lets those variables pass that say where programs are and how to write text.
func buildEnviron(environ []string) []string {
	var out []string
	path := false
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		switch {
		case name == "PATH", name == "LANG", name == "TZ", name == "TMPDIR", strings.HasPrefix(name, "LC_"), isSystemVariable(name):
			path = path || strings.EqualFold(name, "PATH")
			out = append(out, entry)
		}
	}
	if !path {
		out = append(out, "PATH=/usr/local/bin:/usr/bin:/bin")
	}
	return out
}

// outputTail is the end of what was written to f, whole lines.
func outputTail(f *os.File) string {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	start := max(0, size-buildOutputBytes)
	tail := make([]byte, size-start)
	if n, err := f.ReadAt(tail, start); err != nil && err != io.EOF {
		return ""
	} else {
		tail = tail[:n]
	}
	if start > 0 {
		for len(tail) > 0 && !utf8.RuneStart(tail[0]) {
			tail = tail[1:]
		}
	}
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(tail), "\uFFFD")), "\n")
	if start > 0 && len(lines) > 1 {
		lines = lines[1:] // the first one is cut
	}
	return strings.Join(lines[max(0, len(lines)-buildOutputLines):], "\n")
}
