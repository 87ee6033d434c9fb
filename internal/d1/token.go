package d1

import "strings"

// tokenKind is as much of SQLite's tokens as cutting and reading statements needs.
type tokenKind int

const (
	blankToken tokenKind = iota
	commentToken
	semicolonToken
	openToken  // (
	closeToken // )
	wordToken  // keyword or bare identifier
	quoteToken // '…', "…", `…`, […]
	variableToken
	otherToken
	unfinishedToken // a quote that never closes, or a NUL byte
)

// nextToken reads the first token of s, which is not empty, and its length, as sqlite3GetToken does.
func nextToken(s string) (tokenKind, int) {
	switch c := s[0]; c {
	case ' ', '\t', '\n', '\f', '\r':
		n := 1
		for n < len(s) && (s[n] == ' ' || s[n] >= '\t' && s[n] <= '\r') {
			n++
		}
		return blankToken, n
	case ';':
		return semicolonToken, 1
	case '(':
		return openToken, 1
	case ')':
		return closeToken, 1
	case '-':
		if strings.HasPrefix(s, "--") {
			if n := strings.IndexAny(s, "\n\x00"); n >= 0 {
				return commentToken, n
			}
			return commentToken, len(s)
		}
	case '/':
		// At the very end of the text "/*" is a division and a star, says SQLite's tokenizer.
		if strings.HasPrefix(s, "/*") && len(s) > 2 && s[2] != 0 {
			end := strings.Index(s[2:], "*/")
			nul := strings.IndexByte(s, 0)
			switch {
			case end >= 0 && (nul < 0 || end+2 < nul):
				return commentToken, end + 4
			case nul >= 0:
				return commentToken, nul
			}
			return commentToken, len(s)
		}
	case '\'', '"', '`':
		n := 1
		for ; n < len(s) && s[n] != 0; n++ {
			if s[n] != c {
				continue
			}
			if n+1 < len(s) && s[n+1] == c {
				n++
				continue
			}
			return quoteToken, n + 1
		}
		return unfinishedToken, n
	case '[':
		n := strings.IndexAny(s, "]\x00")
		switch {
		case n < 0:
			return unfinishedToken, len(s)
		case s[n] == ']':
			return quoteToken, n + 1
		}
		return unfinishedToken, n
	case '?':
		n := 1
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		return variableToken, n
	case '$', '@', ':', '#':
		return variable(s)
	case 0:
		return unfinishedToken, 1
	case '\xef':
		if strings.HasPrefix(s, "\ufeff") {
			return blankToken, 3
		}
	}
	if !identifierByte(s[0]) {
		return otherToken, 1
	}
	n := 1
	for n < len(s) && identifierByte(s[n]) {
		n++
	}
	if s[0] >= '0' && s[0] <= '9' {
		return otherToken, n
	}
	return wordToken, n
}

// variable reads $name, @name, :name with Tcl's :: and (…) suffixes; a semicolon may stand in the parentheses.
func variable(s string) (tokenKind, int) {
	n, named := 1, false
	for n < len(s) {
		switch {
		case identifierByte(s[n]):
			named = true
			n++
		case s[n] == '(' && named:
			for n++; n < len(s) && s[n] != ')' && s[n] != ' ' && s[n] != 0 && (s[n] < '\t' || s[n] > '\r'); n++ {
			}
			if n < len(s) && s[n] == ')' {
				return variableToken, n + 1
			}
			return otherToken, n
		case strings.HasPrefix(s[n:], "::"):
			n += 2
		default:
			return variableToken, n
		}
	}
	return variableToken, n
}

// identifierByte is SQLite's IdChar.
func identifierByte(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
