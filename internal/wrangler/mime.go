package wrangler

import (
	_ "embed"
	"strings"
	"sync"
)

// mimeTable lists a media type and its extensions per line. It is the table of the npm package mime 4.0.7 that wrangler
// 4.164.0 carries, without the entries that package marks as secondary; a test compares it with the installed wrangler.
// The mime package of the standard library is no substitute: it reads the machine's own tables, and what an asset is
// served as must not depend on where it was deployed from.
//
//go:embed mime_types.txt
var mimeTable string

var typeByExtension = sync.OnceValue(func() map[string]string {
	byExtension := make(map[string]string, 1300)
	for line := range strings.Lines(mimeTable) {
		fields := strings.Fields(line)
		for _, extension := range fields[1:] {
			byExtension[extension] = fields[0]
		}
	}
	return byExtension
})

// unknownType is what wrangler sends for a file whose extension it does not know: the API serves such an asset without
// a Content-Type (wire.md §5).
const unknownType = "application/null"

// contentType returns the Content-Type with which the asset of that name is uploaded, as wrangler picks it: by the last
// extension in any case, text types as UTF-8. A name that begins with its only dot has no extension.
func contentType(name string) string {
	// The table's package looks behind the last slash of either kind, so a backslash in a name counts.
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	dot := strings.LastIndexByte(name, '.')
	if dot < 1 {
		return unknownType
	}
	mediaType, ok := typeByExtension()[strings.ToLower(name[dot+1:])]
	switch {
	case !ok:
		return unknownType
	case strings.HasPrefix(mediaType, "text/"):
		return mediaType + "; charset=utf-8"
	}
	return mediaType
}
