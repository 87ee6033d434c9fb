package wrangler

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// part is one part of a form. The metadata has neither file name nor content type.
type part struct {
	name, filename, contentType string
	content                     []byte
}

const metadataPart = "metadata"

// newBoundary draws a boundary. Whoever wrote the content cannot have foreseen it.
func newBoundary() string {
	var random [16]byte
	rand.Read(random[:]) // never fails
	return "----shopfleet-" + hex.EncodeToString(random[:])
}

// encodeForm writes the body as wrangler's HTTP client does. boundary is "" for one of our own.
func encodeForm(parts []part, boundary string) (contentType string, body []byte, err error) {
	if boundary == "" {
		boundary = newBoundary()
	}
	size := 0
	for _, p := range parts {
		if bytes.Contains(p.content, []byte(boundary)) {
			return "", nil, fmt.Errorf("part %s contains the boundary", p.name)
		}
		size += len(p.content) + len(p.name) + len(p.filename) + 200
	}
	if len(boundary) > 70 || strings.ContainsFunc(boundary, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]`, r) }) {
		return "", nil, errors.New("the boundary is not one that a header can carry")
	}
	var b bytes.Buffer
	b.Grow(size)
	for _, p := range parts {
		b.WriteString(partHeader(boundary, p.name, p.filename, p.contentType))
		b.Write(p.content)
		b.WriteString("\r\n")
	}
	b.WriteString("--" + boundary + "--\r\n")
	return "multipart/form-data; boundary=" + boundary, b.Bytes(), nil
}

// inHeader keeps names from ending the quoted string or the header line they stand in, in the way browsers do.
var inHeader = strings.NewReplacer("\n", "%0A", "\r", "%0D", `"`, "%22")

// partHeader is all that comes before a part's content. Names that are empty are left out, and so is a content type
// when there is no file name.
func partHeader(boundary, name, filename, contentType string) string {
	header := "--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + inHeader.Replace(name) + `"`
	if filename != "" {
		header += `; filename="` + inHeader.Replace(filename) + "\"\r\nContent-Type: " + contentType
	}
	return header + "\r\n\r\n"
}
