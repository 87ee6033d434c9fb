package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"text/scanner"
)

// The GraphQL analytics API: enough of the query language for what clients send (one operation, variables, arguments,
// nested selections, aliases; no fragments and no directives), over the datasets of analytics.go. A field that no dataset
// has is an error here as there.

func graphqlEndpoints() []endpoint {
	return []endpoint{{"POST /graphql", ownLock, (*call).graphql}}
}

// selection is a field of a query with its arguments, variables already replaced.
type selection struct {
	name, alias string
	args        map[string]any
	fields      []*selection
}

func (c *call) graphql() (any, error) {
	var in struct {
		Query     string         `json:"query"`
		Variables map[string]any `json:"variables"`
	}
	if err := c.decode(&in); err != nil {
		return graphqlAnswer(nil, errors.New("request body is not JSON"))
	}
	fields, err := parseGraphQL(in.Query, in.Variables)
	if err != nil {
		return graphqlAnswer(nil, err)
	}
	data := map[string]any{}
	for _, f := range fields {
		if f.name != "viewer" {
			return graphqlAnswer(nil, fmt.Errorf("unknown field %q", f.name))
		}
		viewer := map[string]any{}
		for _, g := range f.fields {
			if g.name != "accounts" {
				return graphqlAnswer(nil, fmt.Errorf("unknown field %q", g.name))
			}
			if viewer[g.alias], err = c.graphqlAccounts(g); err != nil {
				return graphqlAnswer(nil, err)
			}
		}
		data[f.alias] = viewer
	}
	return graphqlAnswer(data, nil)
}

// graphqlAnswer has no envelope (feasibility.md §2).
func graphqlAnswer(data any, err error) (any, error) {
	out := map[string]any{"data": data, "errors": nil}
	if err != nil {
		out["errors"] = []any{map[string]any{"message": err.Error(), "path": nil, "extensions": map[string]any{}}}
	}
	b, merr := json.Marshal(out)
	if merr != nil {
		return nil, refuse(http.StatusInternalServerError, 10001, "internal error: %v", merr)
	}
	return verbatim{ContentType: "application/json", Body: b}, nil
}

// graphqlAccounts answers accounts(filter: {accountTag}) { dataset… }.
func (c *call) graphqlAccounts(f *selection) (any, error) {
	filter, _ := f.args["filter"].(map[string]any)
	id, _ := filter["accountTag"].(string)
	c.w.mu.RLock()
	a := c.w.accounts[id]
	c.w.mu.RUnlock()
	if a == nil || !c.cred.reaches(id) {
		return nil, errors.New("not authorized for that account")
	}
	out := map[string]any{}
	for _, set := range f.fields {
		rows, err := c.w.dataset(id, set)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", set.name, err)
		}
		out[set.alias] = rows
	}
	return []any{out}, nil
}

// graphqlParser reads a query.
type graphqlParser struct {
	s    scanner.Scanner
	tok  rune
	vars map[string]any
	deep int
}

const maxDepth = 20

func parseGraphQL(query string, vars map[string]any) (fields []*selection, err error) {
	p := &graphqlParser{vars: vars}
	p.s.Init(strings.NewReader(query))
	p.s.Mode = scanner.ScanIdents | scanner.ScanInts | scanner.ScanFloats | scanner.ScanStrings
	p.s.Error = func(*scanner.Scanner, string) {}
	p.next()
	if p.tok == scanner.Ident { // query name(…)
		if p.s.TokenText() != "query" {
			return nil, fmt.Errorf("expected a query, got %q", p.s.TokenText())
		}
		p.next()
		if p.tok == scanner.Ident {
			p.next()
		}
		if p.tok == '(' {
			for depth := 0; ; p.next() {
				if p.tok == '(' {
					depth++
				} else if p.tok == ')' {
					if depth--; depth == 0 {
						p.next()
						break
					}
				} else if p.tok == scanner.EOF {
					return nil, errors.New("unexpected end of query")
				}
			}
		}
	}
	fields, err = p.set()
	if err == nil && p.tok != scanner.EOF {
		err = p.unexpected()
	}
	return fields, err
}

func (p *graphqlParser) next() {
	for p.tok = p.s.Scan(); p.tok == ','; p.tok = p.s.Scan() {
	}
	for p.tok == '#' { // a comment to the end of the line
		for c := p.s.Next(); c != '\n' && c != scanner.EOF; c = p.s.Next() {
		}
		p.next()
	}
}

func (p *graphqlParser) unexpected() error {
	if p.tok == scanner.EOF {
		return errors.New("unexpected end of query")
	}
	return fmt.Errorf("unexpected %q at line %d", p.s.TokenText(), p.s.Position.Line)
}

func (p *graphqlParser) expect(tok rune) error {
	if p.tok != tok {
		return p.unexpected()
	}
	p.next()
	return nil
}

func (p *graphqlParser) ident() (string, error) {
	if p.tok != scanner.Ident {
		return "", p.unexpected()
	}
	text := p.s.TokenText()
	p.next()
	return text, nil
}

// set reads { field … }.
func (p *graphqlParser) set() ([]*selection, error) {
	if p.deep++; p.deep > maxDepth {
		return nil, errors.New("query is nested too deeply")
	}
	defer func() { p.deep-- }()
	if err := p.expect('{'); err != nil {
		return nil, err
	}
	var fields []*selection
	for p.tok != '}' {
		f := &selection{}
		var err error
		if f.name, err = p.ident(); err != nil {
			return nil, err
		}
		f.alias = f.name
		if p.tok == ':' {
			p.next()
			if f.name, err = p.ident(); err != nil {
				return nil, err
			}
		}
		if p.tok == '(' {
			if f.args, err = p.pairs('(', ')'); err != nil {
				return nil, err
			}
		}
		if p.tok == '{' {
			if f.fields, err = p.set(); err != nil {
				return nil, err
			}
		}
		fields = append(fields, f)
	}
	p.next()
	if len(fields) == 0 {
		return nil, errors.New("empty selection")
	}
	return fields, nil
}

// pairs reads name: value … between two delimiters.
func (p *graphqlParser) pairs(open, close rune) (map[string]any, error) {
	if err := p.expect(open); err != nil {
		return nil, err
	}
	m := map[string]any{}
	for p.tok != close {
		name, err := p.ident()
		if err != nil {
			return nil, err
		}
		if err := p.expect(':'); err != nil {
			return nil, err
		}
		if m[name], err = p.value(); err != nil {
			return nil, err
		}
	}
	p.next()
	return m, nil
}

func (p *graphqlParser) value() (any, error) {
	if p.deep++; p.deep > maxDepth {
		return nil, errors.New("query is nested too deeply")
	}
	defer func() { p.deep-- }()
	switch p.tok {
	case '$':
		p.next()
		name, err := p.ident()
		if err != nil {
			return nil, err
		}
		v, ok := p.vars[name]
		if !ok {
			return nil, fmt.Errorf("variable $%s has no value", name)
		}
		return v, nil
	case '{':
		return p.pairs('{', '}')
	case '[':
		p.next()
		list := []any{}
		for p.tok != ']' {
			v, err := p.value()
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		p.next()
		return list, nil
	case '-':
		p.next()
		v, err := p.value()
		if n, ok := v.(float64); ok {
			return -n, err
		}
		return nil, p.unexpected()
	case scanner.String, scanner.Int, scanner.Float:
		var v any
		if err := json.Unmarshal([]byte(p.s.TokenText()), &v); err != nil {
			return nil, p.unexpected()
		}
		p.next()
		return v, nil
	case scanner.Ident: // true, false, null or the word of an enumeration
		text := p.s.TokenText()
		p.next()
		switch text {
		case "true", "false":
			return text == "true", nil
		case "null":
			return nil, nil
		}
		return text, nil
	}
	return nil, p.unexpected()
}
