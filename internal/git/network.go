package git

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Remote is a repository somewhere else. It is used only by methods that take one, in a repository that Bare, Scratch or
// Init made: see Fetch.
type Remote struct {
	// URL is where it is: https://…, http://… of this machine itself, or the absolute path of a local repository. It holds
	// no password.
	URL string
	// Password is asked before each use over HTTP and sent with it, for the user x-access-token; nil is nobody. It is never
	// an argument of git, nor in a URL, and is taken out of whatever git says.
	Password func(context.Context) (string, error)
	// Filter leaves objects out of what is fetched, such as blob:none or blob:limit=1m, if the remote can do that. Objects
	// that are left out are not there until they are fetched by id; nothing fetches them by itself.
	Filter string
	// Sleep waits before something is tried again after a fault on the way; nil means a timer. It must return the context's
	// error when that is done.
	Sleep func(context.Context, time.Duration) error
}

// PasswordUser is the user that goes with a token as its password.
const PasswordUser = "x-access-token"

var filterPattern = regexp.MustCompile(`^(blob:none|blob:limit=[0-9]+[kmg]?|tree:[0-9]+)?$`)

// protocol checks the remote and says by which of git's protocols it is reached.
func (m Remote) protocol() (string, error) {
	if !filterPattern.MatchString(m.Filter) {
		return "", fmt.Errorf("%q is not a filter that is known", m.Filter)
	}
	if filepath.IsAbs(m.URL) && !strings.ContainsAny(m.URL, "\x00\n") {
		return "file", nil
	}
	u, err := url.Parse(m.URL)
	switch {
	case err != nil:
		// What is wrong with it may be in the password.
		return "", fmt.Errorf("the remote's address is not a URL")
	case u.User != nil:
		return "", fmt.Errorf("the remote's address at %s has a user in it; a password does not belong there", u.Host)
	case u.Hostname() == "" || u.Opaque != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.ContainsFunc(m.URL, func(c rune) bool { return c <= ' ' || c == 0x7f }):
		return "", fmt.Errorf("the remote's address %q is not that of a repository", m.URL)
	case u.Scheme == "https":
		return "https", nil
	case u.Scheme == "http" && loopback(u.Hostname()):
		return "http", nil
	}
	return "", fmt.Errorf("the remote's address %q is neither https:// nor a local path", m.URL)
}

// address is the remote as an argument of git.
func (m Remote) address() string {
	if m.Filter != "" && filepath.IsAbs(m.URL) {
		return (&url.URL{Scheme: "file", Path: m.URL}).String() // git notes by it where the rest can be had, and takes no path
	}
	return m.URL
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// ownSettings are the keys that git itself writes into the configuration of a repository that was made here.
var ownSettings = regexp.MustCompile(`^(core\.(repositoryformatversion|filemode|bare|logallrefupdates|ignorecase|precomposeunicode|symlinks)|extensions\.(objectformat|partialclone)|remote\..*\.(promisor|partialclonefilter))$`)

// SettingsError says that a repository has settings that could send a password elsewhere.
type SettingsError struct{ Dir, Key string }

func (e *SettingsError) Error() string {
	return fmt.Sprintf("%s has a setting %q, which could change where git connects to", e.Dir, e.Key)
}

// Hint says what to do about it.
func (e *SettingsError) Hint() string { return "use a repository that was made for this" }

// plain makes sure that nothing in the repository's own configuration has a say in what goes over the network. The
// environment cannot take back an insteadOf, a proxy for one host or a TLS setting.
func (r *Repository) plain(ctx context.Context) error {
	out, err := r.run(ctx, nil, "config", "--local", "--no-includes", "--name-only", "-z", "--list")
	if err != nil {
		return fmt.Errorf("reading the settings: %w", err)
	}
	for _, key := range strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if key != "" && !ownSettings.MatchString(key) {
			return &SettingsError{r.Dir, key}
		}
	}
	return nil
}

// connection is a git that may reach one remote.
type connection struct {
	r       *Repository
	remote  Remote
	env     []string
	secrets []string // what must not come out again
}

// connect prepares for a remote, with these settings beside its own. It asks for the password; nothing is sent.
func (r *Repository) connect(ctx context.Context, remote Remote, settings ...[2]string) (*connection, error) {
	protocol, err := remote.protocol()
	if err != nil {
		return nil, err
	}
	if err := r.plain(ctx); err != nil {
		return nil, err
	}
	more := append(settings, [][2]string{
		{"protocol." + protocol + ".allow", "always"},
		{"credential.helper", ""}, // forgets all
		{"http.followRedirects", "false"},
		{"http.proxy", ""},
		{"http.lowSpeedLimit", "1"}, // a connection on which nothing comes for five minutes is dead
		{"http.lowSpeedTime", "300"},
		{"push.gpgSign", "false"},
	}...)
	c := &connection{r: r, remote: remote}
	if protocol != "file" && remote.Password != nil {
		password, err := remote.Password(ctx)
		if err != nil {
			return nil, fmt.Errorf("getting the password for %s: %w", remote.URL, err)
		}
		if password == "" || strings.ContainsFunc(password, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return nil, fmt.Errorf("getting the password for %s: it is empty or not a single line", remote.URL)
		}
		basic := base64.StdEncoding.EncodeToString([]byte(PasswordUser + ":" + password))
		more = append(more, [2]string{"http." + remote.URL + ".extraHeader", "Authorization: Basic " + basic})
		c.secrets = []string{password, basic}
	}
	c.env = append(r.environment(more...), "GIT_ALLOW_PROTOCOL="+protocol) // the last one counts
	return c, nil
}

// run is git with these arguments and, where it is not nil, this input. said replaces args in an error. It returns what
// git prints on both streams, also when it fails.
func (c *connection) run(ctx context.Context, stdin io.Reader, said []string, args ...string) (stdout, stderr string, err error) {
	cmd := c.r.command(ctx, args)
	cmd.Env = c.env
	var out bytes.Buffer
	var errs tail
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	err = runGroup(cmd)
	stdout, stderr = c.redact(out.String()), c.redact(errs.String())
	if err != nil {
		e := failure(ctx, said, err, &errs)
		if e.Stderr != "" {
			e.Stderr = stderr
		}
		return stdout, stderr, e
	}
	return stdout, stderr, nil
}

// attempts is how often something is tried that faults on the way keep from happening.
const attempts = 3

// transient are faults that may be gone a moment later, unless settled says that the remote answered: git says that the
// remote hung up, too, when it was turned away.
var transient = regexp.MustCompile(`(?i)requested URL returned error: (408|429|5\d\d)|could not resolve host|connection (reset|refused|timed out|was closed)|failed to connect|operation (timed out|too slow)|early EOF|unexpected disconnect|remote end hung up|empty reply|transfer closed|recv failure|send failure|SSL_ERROR_SYSCALL|gnutls_handshake|unexpected eof`)

var settled = regexp.MustCompile(`requested URL returned error: (30\d|40[0-79]|4[13-9]\d|42[0-8])`)

// again waits after a fault, and says whether it makes sense to try once more.
func (m Remote) again(ctx context.Context, n int, err error) bool {
	var e *Error
	if n >= attempts || !errors.As(err, &e) || ctx.Err() != nil || !transient.MatchString(e.Stderr) || settled.MatchString(e.Stderr) || filepath.IsAbs(m.URL) {
		return false
	}
	wait := time.Second << (2 * (n - 1))
	if m.Sleep != nil {
		return m.Sleep(ctx, wait) == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// redact takes the password out of what git or the remote say.
func (c *connection) redact(s string) string {
	for _, secret := range c.secrets {
		s = strings.ReplaceAll(s, secret, "***")
	}
	return s
}
