package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// refusal is an error that the API answers with. Status defaults to 400.
type refusal struct {
	Status  int
	Code    int
	Message string
	Meta    any
	More    []refusal // further errors of the same answer
}

func (r *refusal) Error() string { return fmt.Sprintf("%s [code: %d]", r.Message, r.Code) }

func refuse(status, code int, format string, args ...any) *refusal {
	return &refusal{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// page is a result that carries paging information.
type page struct {
	Result any
	Info   map[string]any
}

// accepted is a result with another status than 200.
type accepted struct {
	Status int
	Result any
}

// verbatim is an answer outside the envelope.
type verbatim struct {
	ContentType string
	Header      map[string]string
	Body        []byte
}

// envelope is what every REST answer is wrapped in (wire.md §1).
type envelope struct {
	Result   any            `json:"result"`
	Success  bool           `json:"success"`
	Errors   []apiMessage   `json:"errors"`
	Messages []apiMessage   `json:"messages"`
	Info     map[string]any `json:"result_info,omitempty"`
}

type apiMessage struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Meta    any    `json:"meta,omitempty"`
}

// writeAnswer sends the outcome of a handler.
func writeAnswer(rw http.ResponseWriter, result any, err error) {
	if err != nil {
		writeRefusal(rw, err)
		return
	}
	e := envelope{Result: result, Success: true, Errors: []apiMessage{}, Messages: []apiMessage{}}
	switch v := result.(type) {
	case page:
		e.Result, e.Info = v.Result, v.Info
	case accepted:
		e.Result = v.Result
		writeEnvelope(rw, v.Status, e)
		return
	case verbatim:
		for k, h := range v.Header {
			rw.Header().Set(k, h)
		}
		rw.Header().Set("Content-Type", v.ContentType)
		rw.Write(v.Body)
		return
	}
	writeEnvelope(rw, http.StatusOK, e)
}

func writeRefusal(rw http.ResponseWriter, err error) {
	var r *refusal
	if !errors.As(err, &r) {
		r = refuse(http.StatusInternalServerError, 10001, "internal error: %v", err)
	}
	e := envelope{Errors: []apiMessage{{r.Code, r.Message, r.Meta}}, Messages: []apiMessage{}}
	for _, m := range r.More {
		e.Errors = append(e.Errors, apiMessage{m.Code, m.Message, m.Meta})
	}
	status := r.Status
	if status == 0 {
		status = http.StatusBadRequest
	}
	writeEnvelope(rw, status, e)
}

func writeEnvelope(rw http.ResponseWriter, status int, e envelope) {
	b, err := json.Marshal(e)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"success":false,"result":null,"errors":[{"code":10001,"message":"internal error"}],"messages":[]}`)
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	rw.Write(b)
}

// stamp formats a time as the API does.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// rawOr returns raw, or the given default when there is none.
func rawOr(raw json.RawMessage, otherwise any) any {
	if len(raw) == 0 {
		return otherwise
	}
	return raw
}
