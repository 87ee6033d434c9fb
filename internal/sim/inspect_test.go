package sim

import (
	"fmt"
	"strings"
	"testing"
)

func TestInspect(t *testing.T) {
	tests := []struct {
		name, code                            string
		exports, imports, handlers, listeners string
		err                                   string
	}{
		{"object", `export default { async fetch(req, env) {}, scheduled: run, queue }; function run() {}; const queue = 1`, "[default]", "[]", "[fetch scheduled queue]", "[]", ""},
		{"class", "import { WorkerEntrypoint } from 'cloudflare:workers';\nexport default class extends WorkerEntrypoint {\n  fetch(r) { }\n  email = (m) => {}\n}\nexport class Room {}", "[Room default]", "[cloudflare:workers]", "[fetch email]", "[]", ""},
		{"service worker", `addEventListener("fetch", e => {}); self.addEventListener('scheduled', e => {})`, "[]", "[]", "[]", "[fetch scheduled]", ""},
		{"not handlers", `export default 1; fetch(x); globalThis.fetch; prefetch(1); const a = "fetch"; queue == 1`, "[default]", "[]", "[]", "[]", ""},
		{"as bundled", "var src_default = {\n  async fetch(request, env) {\n  }\n};\nexport {\n  src_default as default\n};\n", "[default]", "[]", "[fetch]", "[]", ""},
		{"imports", `import a from "./a.js"; import "node:fs"; export * from './a.js'; import("./dynamic.js"); export default a`, "[default]", "[./a.js node:fs]", "[]", "[]", ""},
		{"broken", "export default {\n  fetch( {\n", "", "", "", "", "Uncaught SyntaxError: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := inspect("index.js", []byte(tt.code))
			if tt.err != "" {
				if !strings.HasPrefix(got.err, tt.err) || !strings.Contains(got.err, "at index.js:") {
					t.Errorf("error %q", got.err)
				}
				return
			}
			if got.err != "" {
				t.Fatal(got.err)
			}
			for _, x := range []struct {
				what string
				got  []string
				want string
			}{{"exports", got.exports, tt.exports}, {"imports", got.imports, tt.imports}, {"handlers", got.handlers, tt.handlers}, {"listeners", got.listeners, tt.listeners}} {
				if fmt.Sprint(x.got) != x.want {
					t.Errorf("%s %v, want %s", x.what, x.got, x.want)
				}
			}
		})
	}
}
