package app

import (
	"fmt"
	"io"
	"log"
	"log/slog"
	"slices"
	"sort"
	"strings"

	"github.com/kvick/shopfleet/internal/github"
	"github.com/kvick/shopfleet/internal/report"
)

const maxLogged = 2000 // bytes of one value

// NewLog writes one JSON object a line. Values are text of one line, cut, without what could hide or forge some, and
// without the secrets.
func NewLog(w io.Writer, secrets ...github.Secret) *slog.Logger {
	var pairs []string
	for _, s := range secrets {
		for line := range strings.Lines(string(s)) { // a key is quoted by lines, if at all
			if line = strings.TrimSpace(line); len(line) >= 8 {
				pairs = append(pairs, line)
			}
		}
	}
	sort.Slice(pairs, func(i, j int) bool { return len(pairs[j]) < len(pairs[i]) })
	var hide []string
	for _, p := range slices.Compact(pairs) {
		hide = append(hide, p, "***")
	}
	secretless := strings.NewReplacer(hide...)
	tidy := func(s string) slog.Value {
		s = strings.ToValidUTF8(report.Clean(strings.ReplaceAll(secretless.Replace(s), "\n", " ")), "\ufffd")
		if len(s) > maxLogged {
			s = strings.ToValidUTF8(s[:maxLogged], "") + "…"
		}
		return slog.StringValue(s)
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch v := a.Value.Resolve(); v.Kind() {
		case slog.KindString:
			a.Value = tidy(v.String())
		case slog.KindAny:
			switch x := v.Any().(type) {
			case slog.Level:
			case error:
				a.Value = tidy(x.Error())
			default:
				a.Value = tidy(fmt.Sprint(x))
			}
		}
		return a
	}}))
}

// logWriter takes what net/http has to say, which holds addresses and parts of requests.
type logWriter struct{ log *slog.Logger }

func (w *logWriter) Write(p []byte) (int, error) {
	w.log.Debug("the listener", "said", strings.TrimSpace(string(p)))
	return len(p), nil
}

func (w *logWriter) logger() *log.Logger { return log.New(w, "", 0) }
