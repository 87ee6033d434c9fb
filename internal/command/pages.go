package command

import (
	"bytes"
	"fmt"
	"io"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/report"
)

// pages are the forms that a result is printed in: one document of JSON, Markdown, or text for a terminal, and besides a
// page of HTML in a file.
type pages struct {
	json     any // one document; nil prints another form
	markdown func() string
	text     func(w io.Writer, s report.Style) error
	html     func(w io.Writer) error
	file     string // that html is written to; "" for none
}

// print writes a result in its forms and ends with its exit code.
func (d *Door) print(p pages, code int) error {
	if p.file != "" {
		var b bytes.Buffer
		err := p.html(&b)
		if err == nil {
			err = d.writeWhole(p.file, b.Bytes())
		}
		if err != nil {
			return Usage(fmt.Errorf("writing the page: %w", err), "name a file in a folder that exists")
		}
	}
	var err error
	switch {
	case p.json != nil:
		err = report.JSON(d.Stdout, p.json)
	case p.markdown != nil:
		_, err = io.WriteString(d.Stdout, p.markdown())
	default:
		err = p.text(d.Stdout, d.resultStyle())
	}
	if err != nil {
		return fmt.Errorf("printing the result: %w", err)
	}
	if code != ExitDone {
		return &resultError{code: code}
	}
	return nil
}

// readable tells the accounts whose token is here from those that nothing can be asked of, and makes engines for the first.
// With none of the first it is an error that names the variables.
func (d *Door) readable(policy *fleet.Policy, concerned func(fleet.Account) bool) (accounts, blind []fleet.Account, engines map[string]*deploy.Engine, err error) {
	for _, a := range policy.Accounts {
		switch {
		case !concerned(a):
		case d.Getenv(a.Token) == "":
			blind = append(blind, a)
		default:
			accounts = append(accounts, a)
		}
	}
	with := accounts
	if len(accounts) == 0 {
		with = blind
	}
	engines, err = d.engines(with, true, nil)
	return accounts, blind, engines, err
}

// noToken says of an account that it was not read.
func noToken(a fleet.Account) string { return "no API token: " + a.Token + " is not set" }
