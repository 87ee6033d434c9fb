package github

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Smart HTTP. Fetching is git's own upload-pack. Receiving is written out here, because GitHub's reasons for turning a ref
// down, and the exact moves that follow, cannot be had from hooks: the pack is indexed in quarantine by git, the rules are
// applied, and the refs are moved in one transaction (or one each).

const (
	maxPush     = 512 << 20
	receiveCaps = "report-status delete-refs side-band-64k quiet atomic ofs-delta object-format=sha1 agent=github/sim"
)

var protocolPattern = regexp.MustCompile(`^version=[0-2]$`)

func (w *World) serveGit(rw http.ResponseWriter, r *http.Request) {
	name, service, advertise := gitPath(r)
	if service == "" {
		http.Error(rw, "Not Found", http.StatusNotFound)
		return
	}
	w.mu.Lock()
	cred, repo, status, message := w.admit(r, name, service)
	w.mu.Unlock()
	if entry, ok := r.Context().Value(entryKey{}).(*Request); ok {
		w.requests.update(entry, func(e *Request) {
			e.Op = service
			if cred != nil {
				e.Token = cred.name
			}
		})
	}
	if status != 0 {
		if status == http.StatusUnauthorized {
			rw.Header().Set("WWW-Authenticate", `Basic realm="GitHub"`)
		}
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		rw.WriteHeader(status)
		io.WriteString(rw, message+"\n")
		return
	}
	rw.Header().Set("Cache-Control", "no-cache, max-age=0, must-revalidate")
	if advertise {
		rw.Header().Set("Content-Type", "application/x-"+service+"-advertisement")
		io.WriteString(rw, pkt("# service="+service+"\n")+"0000")
		if service == "git-receive-pack" {
			w.advertiseReceive(rw, repo)
			return
		}
		w.uploadPack(rw, r, repo, nil, "--advertise-refs")
		return
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(rw, "bad gzip", http.StatusBadRequest)
			return
		}
		body = z
	}
	rw.Header().Set("Content-Type", "application/x-"+service+"-result")
	if service == "git-upload-pack" {
		w.uploadPack(rw, r, repo, body)
		return
	}
	push, err := io.ReadAll(io.LimitReader(body, maxPush+1))
	if err != nil || len(push) > maxPush {
		http.Error(rw, "the push is too large or was cut", http.StatusRequestEntityTooLarge)
		return
	}
	w.mu.Lock()
	report, err := w.receive(repo, cred, push)
	w.mu.Unlock()
	if errors.Is(err, errMalformed) {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	if err != nil {
		w.log.Error("github: receiving a push", "repository", repo.Name, "error", err)
		http.Error(rw, "Internal Server Error", http.StatusInternalServerError)
		return
	}
	rw.Write(report)
}

// gitPath reads /owner/name.git/info/refs?service=… and /owner/name.git/git-…-pack.
func gitPath(r *http.Request) (name, service string, advertise bool) {
	services := map[string]bool{"git-upload-pack": true, "git-receive-pack": true}
	if n, ok := strings.CutSuffix(r.URL.Path, "/info/refs"); ok && r.Method == http.MethodGet {
		name, service, advertise = n, r.URL.Query().Get("service"), true
	} else if i := strings.LastIndexByte(r.URL.Path, '/'); i > 0 && r.Method == http.MethodPost {
		name, service = r.URL.Path[:i], r.URL.Path[i+1:]
		if r.Header.Get("Content-Type") != "application/x-"+service+"-request" {
			service = ""
		}
	}
	if !services[service] {
		service = ""
	}
	return strings.TrimSuffix(strings.TrimPrefix(name, "/"), ".git"), service, advertise
}

// admit decides who may use a service of a repository; status 0 means welcome.
func (w *World) admit(r *http.Request, name, service string) (cred *credential, repo *Repository, status int, message string) {
	cred, err := w.authenticate(r)
	if err != nil || cred.kind == appJWT {
		return nil, nil, http.StatusUnauthorized, "Invalid username or token. Password authentication is not supported for Git operations."
	}
	repo = w.repoByName[strings.ToLower(name)]
	if repo == nil || !cred.sees(repo) {
		if cred.kind == anonymous {
			return cred, nil, http.StatusUnauthorized, "Repository not found."
		}
		return cred, nil, http.StatusNotFound, "Repository not found."
	}
	need, role := "contents=read", "read"
	if service == "git-receive-pack" {
		need, role = "contents=write", "write"
	}
	switch {
	case cred.may(repo, need, role):
		return cred, repo, 0, ""
	case cred.kind == anonymous:
		return cred, nil, http.StatusUnauthorized, "Authentication required."
	case cred.isApp():
		return cred, nil, http.StatusForbidden, "Write access to repository not granted."
	}
	return cred, nil, http.StatusForbidden, fmt.Sprintf("Permission to %s/%s.git denied to %s.", repo.Owner, repo.Name, cred.user.Login)
}

func (w *World) uploadPack(rw http.ResponseWriter, r *http.Request, repo *Repository, body io.Reader, options ...string) {
	cmd := w.command("", append(append([]string{"upload-pack", "--stateless-rpc", "--strict"}, options...), repo.Dir)...)
	if p := r.Header.Get("Git-Protocol"); protocolPattern.MatchString(p) {
		cmd.Env = append(cmd.Env, "GIT_PROTOCOL="+p)
	}
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = body, rw, &errs
	if err := cmd.Run(); err != nil && r.Context().Err() == nil {
		w.log.Warn("github: upload-pack", "repository", repo.Name, "error", err, "stderr", errs.String())
	}
}

func (w *World) advertiseReceive(rw io.Writer, repo *Repository) {
	w.mu.Lock()
	list, err := repo.refs("refs/")
	w.mu.Unlock()
	if err != nil {
		w.log.Error("github: listing refs", "repository", repo.Name, "error", err)
		return
	}
	caps := "\x00" + receiveCaps
	if len(list) == 0 {
		io.WriteString(rw, pkt(zeros+" capabilities^{}"+caps+"\n"))
	}
	for _, x := range list {
		io.WriteString(rw, pkt(x.sha+" "+x.name+caps+"\n"))
		caps = ""
	}
	io.WriteString(rw, "0000")
}

// errMalformed is a push that does not follow git's protocol.
var errMalformed = errors.New("malformed push")

// pkt frames a line for git's protocol.
func pkt(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }

// nextPkt takes a framed line off the front; a flush is an empty line with flush set.
func nextPkt(b []byte) (line, rest []byte, flush bool, err error) {
	if len(b) < 4 {
		return nil, nil, false, fmt.Errorf("%w: a packet line is cut", errMalformed)
	}
	n, err := strconv.ParseUint(string(b[:4]), 16, 16)
	switch {
	case err != nil:
		return nil, nil, false, fmt.Errorf("%w: packet length %q", errMalformed, b[:4])
	case n == 0:
		return nil, b[4:], true, nil
	case n < 4 || int(n) > len(b):
		return nil, nil, false, fmt.Errorf("%w: a packet line is cut", errMalformed)
	}
	return bytes.TrimSuffix(b[4:n], []byte("\n")), b[n:], false, nil
}

// receive takes a push and answers with the report; an empty push is git's probe whether it may come in.
func (w *World) receive(repo *Repository, by *credential, push []byte) ([]byte, error) {
	var updates []refUpdate
	var caps []string
	rest := push
	for {
		line, after, flush, err := nextPkt(rest)
		if err != nil {
			return nil, err
		}
		if rest = after; flush {
			break
		}
		text, c, found := strings.Cut(string(line), "\x00")
		if found {
			caps = strings.Fields(c)
		}
		if strings.HasPrefix(text, "shallow ") {
			continue // whether the objects suffice is seen when they are here
		}
		f := strings.SplitN(text, " ", 3)
		if len(f) != 3 || !shaPattern.MatchString(f[0]) || !shaPattern.MatchString(f[1]) {
			return nil, fmt.Errorf("%w: command %q", errMalformed, text)
		}
		updates = append(updates, refUpdate{f[2], f[0], f[1]})
	}
	if len(updates) == 0 {
		return nil, nil
	}
	has := map[string]bool{}
	for _, c := range caps {
		has[c] = true
	}
	quarantine, err := os.MkdirTemp(filepath.Join(repo.Dir, "objects"), "quarantine-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(quarantine)
	unpack := "ok"
	env := []string{"GIT_OBJECT_DIRECTORY=" + quarantine, "GIT_ALTERNATE_OBJECT_DIRECTORIES=" + filepath.Join(repo.Dir, "objects")}
	if err := w.unpack(repo, quarantine, env, rest); err != nil {
		w.log.Warn("github: unpacking a push", "error", err)
		unpack = "index-pack abnormal exit"
	}
	reasons := make([]string, len(updates))
	var said strings.Builder // to people, in front of the report
	failed := false
	for i, u := range updates {
		if unpack != "ok" {
			reasons[i] = "unpacker error"
		} else if reasons[i], err = w.judge(repo, by, u, env); isRuled(err) {
			reasons[i] = "push declined due to repository rule violations"
			if said.Len() < 32<<10 {
				said.WriteString("error: GH013: Repository rule violations found for " + u.name + ".\n\n- " + strings.Join(err.(*errRules).lines, "\n- ") + "\n")
			}
		} else if err != nil {
			return nil, err
		}
		failed = failed || reasons[i] != ""
	}
	if failed && has["atomic"] {
		for i := range reasons {
			reasons[i] = deflt(reasons[i], "atomic transaction failed")
		}
	}
	if err := release(quarantine, repo.Dir); err != nil {
		return nil, err
	}
	if err := w.land(repo, by, updates, reasons, has["atomic"]); err != nil {
		return nil, err
	}
	answer := report(unpack, updates, reasons, has["side-band-64k"])
	if has["side-band-64k"] && said.Len() > 0 {
		answer = append([]byte(pkt("\x02"+said.String())), answer...)
	}
	return answer, nil
}

// unpack indexes the pack of a push in quarantine.
func (w *World) unpack(repo *Repository, quarantine string, env []string, pack []byte) error {
	if len(pack) < 12 || binary.BigEndian.Uint32(pack[8:12]) == 0 { // only deletions, or only objects that are here
		return nil
	}
	if err := os.Mkdir(filepath.Join(quarantine, "pack"), 0o755); err != nil {
		return err
	}
	_, err := w.runWith(repo.Dir, pack, env, "index-pack", "--stdin", "--fix-thin")
	return err
}

// judge says why GitHub would not move a ref, "" when it would. The error is an *errRules where rules forbid it.
func (w *World) judge(repo *Repository, by *credential, u refUpdate, env []string) (string, error) {
	switch {
	case !validRef(u.name):
		return "funny refname", nil
	case reserved(u.name):
		return "deny updating a hidden ref", nil
	}
	now, there, err := repo.ref(u.name)
	switch {
	case err != nil:
		return "", err
	case !there && u.from != zeros:
		return fmt.Sprintf("cannot lock ref '%s': unable to resolve reference '%s'", u.name, u.name), nil
	case there && u.from == zeros:
		return fmt.Sprintf("cannot lock ref '%s': reference already exists", u.name), nil
	case there && now.sha != u.from:
		return fmt.Sprintf("cannot lock ref '%s': is at %s but expected %s", u.name, now.sha, u.from), nil
	case u.to == zeros && u.name == "refs/heads/"+defaultBranch:
		return "refusing to delete the current branch: " + u.name, nil
	case u.to == zeros:
		return "", repo.mayMove(by, u, nil)
	}
	out, err := w.runWith(repo.Dir, []byte(u.to+"\n"), env, "cat-file", "--batch-check=%(objecttype)")
	if err != nil {
		return "", err
	}
	kind := strings.TrimSpace(string(out))
	if strings.HasSuffix(kind, "missing") {
		return "missing necessary objects", nil
	}
	if strings.HasPrefix(u.name, "refs/heads/") && kind != "commit" {
		return "cannot update ref '" + u.name + "': trying to write non-commit object " + u.to + " to branch '" + u.name + "'", nil
	}
	if _, err := w.runWith(repo.Dir, []byte(u.to+"\n"), env, "rev-list", "--objects", "--quiet", "--stdin", "--not", "--all"); err != nil {
		return "missing necessary objects", nil
	}
	if err := repo.mayBringWorkflows(by, u.name, u.from, u.to, env...); err != nil {
		if isRefusedWorkflow(err) {
			return err.Error(), nil
		}
		return "", err
	}
	return "", repo.mayMove(by, u, nil, env...)
}

// release moves the packs of a quarantine into the repository; the index goes last, as readers look for it.
func release(quarantine, dir string) error {
	for _, pattern := range []string{"*.rev", "*.pack", "*.idx"} {
		files, err := filepath.Glob(filepath.Join(quarantine, "pack", pattern))
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := os.MkdirAll(filepath.Join(dir, "objects", "pack"), 0o755); err != nil {
				return err
			}
			if err := os.Rename(f, filepath.Join(dir, "objects", "pack", filepath.Base(f))); err != nil {
				return err
			}
		}
	}
	return nil
}

// land moves the refs that have no reason against them, and notes new reasons.
func (w *World) land(repo *Repository, by *credential, updates []refUpdate, reasons []string, atomic bool) error {
	if atomic {
		if reasons[0] != "" { // then all have one
			return nil
		}
		err := repo.move(by, updates)
		if errors.Is(err, errMoved) {
			for i := range reasons {
				reasons[i] = "atomic transaction failed"
			}
			return nil
		}
		return err
	}
	for i, u := range updates {
		if reasons[i] != "" {
			continue
		}
		if err := repo.move(by, []refUpdate{u}); errors.Is(err, errMoved) {
			reasons[i] = "failed to update ref"
		} else if err != nil {
			return err
		}
	}
	return nil
}

func report(unpack string, updates []refUpdate, reasons []string, sideBand bool) []byte {
	var b strings.Builder
	b.WriteString(pkt("unpack " + unpack + "\n"))
	for i, u := range updates {
		if reasons[i] == "" {
			b.WriteString(pkt("ok " + u.name + "\n"))
		} else {
			b.WriteString(pkt("ng " + u.name + " " + strings.ReplaceAll(reasons[i], "\n", " ") + "\n"))
		}
	}
	b.WriteString("0000")
	if !sideBand {
		return []byte(b.String())
	}
	var out bytes.Buffer
	for rest := b.String(); rest != ""; {
		n := min(len(rest), 65000)
		out.WriteString(pkt("\x01" + rest[:n]))
		rest = rest[n:]
	}
	out.WriteString("0000")
	return out.Bytes()
}
