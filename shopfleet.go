// Package shopfleet holds the files that travel inside the binary. The program
// is in cmd/shopfleet, everything it is made of in internal.
package shopfleet

import "embed"

// Helm is the product that `shopfleet demo` and the tests deploy: the tree of
// main in testdata/helm, and what each shop's branch changes over it in
// testdata/helm.overlays/<slug>.
//
//go:embed all:testdata/helm all:testdata/helm.overlays
var Helm embed.FS
