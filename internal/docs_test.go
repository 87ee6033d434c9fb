package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestFindingsAreDocumented holds docs/findings.md against the rules that the
// code can report: none may be missing there, and none may be there that
// nobody reports.
func TestFindingsAreDocumented(t *testing.T) {
	used := map[string]string{}
	for _, dir := range []string{"fleet", "wrangler", "d1", "deploy", "transfer", "command", "audit", "provision", "cost", "secrets"} {
		for rule := range rulesIn(t, dir) {
			used[rule] = dir
		}
	}
	if len(used) < 50 {
		t.Fatalf("only %d rules found in the code", len(used))
	}
	text, err := os.ReadFile("../docs/findings.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		if documented[m[1]] {
			t.Errorf("docs/findings.md has %s twice", m[1])
		}
		documented[m[1]] = true
	}
	for rule, dir := range used {
		if !documented[rule] {
			t.Errorf("docs/findings.md lacks %s, which package %s reports", rule, dir)
		}
	}
	for rule := range documented {
		if _, ok := used[rule]; !ok {
			t.Errorf("docs/findings.md has %s, which nobody reports", rule)
		}
	}
}

var ruleName = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// rulesIn collects the rules of a package: what is given to a field Rule or
// rule or a variable rule, what constants named rule… hold, and what is passed
// to a function as its parameter rule.
func rulesIn(t *testing.T, dir string) map[string]bool {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, parsed)
	}
	rules := map[string]bool{}
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil && ruleName.MatchString(s) {
				rules[s] = true
			}
		}
	}
	// Functions that take a rule: their name and the place of the parameter.
	takes := map[string]int{}
	inspect := func(f func(ast.Node) bool) {
		for _, file := range files {
			ast.Inspect(file, f)
		}
	}
	inspect(func(n ast.Node) bool {
		var name string
		var params *ast.FieldList
		switch n := n.(type) {
		case *ast.FuncDecl:
			name, params = n.Name.Name, n.Type.Params
		case *ast.AssignStmt:
			if f, ok := n.Rhs[0].(*ast.FuncLit); ok {
				if id, ok := n.Lhs[0].(*ast.Ident); ok {
					name, params = id.Name, f.Type.Params
				}
			}
		}
		at := 0
		if params != nil {
			for _, field := range params.List {
				for _, p := range field.Names {
					if p.Name == "rule" {
						takes[name] = at
					}
					at++
				}
			}
		}
		return true
	})
	inspect(func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.KeyValueExpr:
			if id, ok := n.Key.(*ast.Ident); ok && strings.EqualFold(id.Name, "rule") {
				add(n.Value)
			}
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				if sel, ok := left.(*ast.SelectorExpr); ok && sel.Sel.Name == "Rule" && i < len(n.Rhs) {
					add(n.Rhs[i])
				}
				if id, ok := left.(*ast.Ident); ok && id.Name == "rule" && i < len(n.Rhs) {
					add(n.Rhs[i])
				}
			}
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if strings.HasPrefix(strings.ToLower(name.Name), "rule") && i < len(n.Values) {
					add(n.Values[i])
				}
			}
		case *ast.CallExpr:
			name := ""
			switch f := n.Fun.(type) {
			case *ast.Ident:
				name = f.Name
			case *ast.SelectorExpr:
				name = f.Sel.Name
			}
			if at, ok := takes[name]; ok && at < len(n.Args) {
				add(n.Args[at])
			}
		}
		return true
	})
	return rules
}
