package sim

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// What a Worker and the asset rules see as the path of a request is what the URL standard makes of it (url.spec.whatwg.org),
// which is neither the bytes on the wire nor what net/url would say.

// urlPath is the pathname of an http URL whose path was written as raw: dot segments are resolved, backslashes count as
// slashes, and what may not stand in a path is percent-encoded. Percent-encoded characters stay as they are.
func urlPath(raw string) string {
	return resolveDots(encodeSet(strings.ReplaceAll(raw, `\`, "/"), pathSet))
}

// resolveDots resolves "." and ".." segments; "%2e" is a dot too.
func resolveDots(path string) string {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	out := segments[:0]
	for i, s := range segments {
		last := i == len(segments)-1
		switch strings.ReplaceAll(strings.ToLower(s), "%2e", ".") {
		case ".":
			if last {
				out = append(out, "")
			}
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, s)
		}
	}
	return "/" + strings.Join(out, "/")
}

// Percent-encode sets of the URL standard, without control characters and non-ASCII bytes, which are always encoded.
const (
	pathSet     = " \"#<>?^`{}"
	querySet    = " \"#<>'"
	fragmentSet = " \"<>`"
)

func encodeSet(s, set string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= 0x1f || c >= 0x7f || strings.IndexByte(set, c) >= 0 {
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

const hexDigits = "0123456789ABCDEF"

// decodePath percent-decodes every segment that decodes to UTF-8 and folds runs of slashes, as asset lookup does.
func decodePath(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if d, err := url.PathUnescape(s); err == nil && utf8.ValidString(d) {
			segments[i] = d
		}
	}
	path = strings.Join(segments, "/")
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// encodePath writes every segment as JavaScript's encodeURIComponent does: the form that asset redirects point to.
func encodePath(path string) string {
	var b strings.Builder
	for i := range len(path) {
		c := path[i]
		switch {
		case c == '/', c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', strings.IndexByte("-_.!~*'()", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}
