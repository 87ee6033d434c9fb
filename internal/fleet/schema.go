package fleet

import (
	"bytes"
	_ "embed"
)

//go:embed schema.json
var schema []byte

// Schema is the JSON Schema (draft 2020-12) of fleet.yml, for editors. It is generated from Policy and its fields; what
// it accepts may still have problems that a schema cannot express, which Parse finds.
func Schema() []byte { return bytes.Clone(schema) }
