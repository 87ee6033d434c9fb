package wrangler_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kvick/shopfleet/internal/wrangler"
)

func BenchmarkResolve(b *testing.B) {
	dir := filepath.Join(repoRoot(b), "testdata", "wrangler-sample")
	src, err := os.ReadFile(filepath.Join(dir, "wrangler.everything.jsonc"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p, err := wrangler.Parse(dir, "wrangler.jsonc", src)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Resolve("swicked"); err != nil {
			b.Fatal(err)
		}
	}
}
