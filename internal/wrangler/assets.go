package wrangler

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"lukechampine.com/blake3"
)

// Limits of static assets on the Workers paid plan (Cloudflare's page workers/platform/limits: "Individual Static Asset
// file size" and "Number of Static Asset files per Worker version").
const (
	MaxAssetSize = 25 << 20 // bytes per file; wrangler refuses larger ones too
	MaxAssets    = 100_000  // files per version
)

// AssetSet is the static assets of one Worker: which files are published and what each is called on the wire (wire.md
// §5). Files stay on disk and are read again when they are uploaded; only replaced ones are held in memory. A set is
// not changed once it is made and is safe for concurrent use.
type AssetSet struct {
	Assets []Asset // sorted by Path

	// Config is metadata.assets.config: html_handling and its like, and the text of _redirects and _headers.
	Config json.RawMessage

	// Warnings do not stop a deploy.
	Warnings []Finding

	byHash map[string]int // index of the first asset with that hash
}

// Asset is one published file.
type Asset struct {
	Path        string // slash separated, with a leading slash: the manifest's key
	Hash        string // 32 hex digits over the content and the extension, as the manifest has it
	Size        int64  // in bytes
	ContentType string // what it is uploaded as; "application/null" when the extension is unknown

	file    string // absolute path, for replaced ones too
	content []byte // of a replaced file
	replace bool
}

// ReadAssets finds and hashes what assets.directory publishes: everything in it but what .assetsignore hides and the
// three files that configure assets themselves (.assetsignore, _redirects, _headers). It returns nil when c has no
// assets.
//
// replace maps absolute paths to the content to use instead of what is on disk, whether or not such a file exists
// there; paths outside the assets directory do not matter here. Nothing is written.
//
// As wrangler, it follows symbolic links. Unlike wrangler it refuses to leave the project: a link (or a directory) that
// points elsewhere would publish files of the machine that runs the deploy, and the files published would not be those
// of the commit.
//
// The user's mistakes come back as Findings.
func (c *Config) ReadAssets(replace map[string][]byte) (*AssetSet, error) {
	if c.Assets == nil {
		return nil, nil
	}
	w := &assetWalk{config: c, replace: map[string][]byte{}}
	if err := w.read(replace); err != nil {
		return nil, err
	}
	findings := w.findings.sorted()
	if errs := findings.errors(); len(errs) > 0 {
		return nil, findings
	}
	set := &AssetSet{Assets: w.assets, Config: w.assetConfig(), Warnings: findings, byHash: make(map[string]int, len(w.assets))}
	for i, asset := range set.Assets {
		if _, ok := set.byHash[asset.Hash]; !ok {
			set.byHash[asset.Hash] = i
		}
	}
	return set, nil
}

// Manifest is the manifest of an upload session: {"/index.html":{"hash":"…","size":33},…}. The call's body has it as its
// "manifest" member.
func (s *AssetSet) Manifest() json.RawMessage {
	b := []byte{'{'}
	for i, asset := range s.Assets {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, jsonString(asset.Path)...)
		b = fmt.Appendf(b, `:{"hash":"%s","size":%d}`, asset.Hash, asset.Size)
	}
	return append(b, '}')
}

// ByHash returns the asset that a hash of the manifest stands for: the first one, when several files are the same.
func (s *AssetSet) ByHash(hash string) (Asset, bool) {
	i, ok := s.byHash[hash]
	if !ok {
		return Asset{}, false
	}
	return s.Assets[i], true
}

// Has reports whether file, an absolute path as in the replace argument of ReadAssets, is one of the assets.
func (s *AssetSet) Has(file string) bool {
	file = filepath.Clean(file)
	return slices.ContainsFunc(s.Assets, func(a Asset) bool { return a.file == file })
}

// Digest is the hex SHA-256 over everything that decides what is served, but for the files with the given absolute
// paths: neither their content nor whether they exist changes it.
func (s *AssetSet) Digest(exclude ...string) string {
	excluded := map[string]bool{}
	for _, file := range exclude {
		excluded[filepath.Clean(file)] = true
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d\n%s\n", len(s.Config), s.Config)
	for _, asset := range s.Assets {
		if !excluded[asset.file] {
			fmt.Fprintf(h, "%q %s %d %s\n", asset.Path, asset.Hash, asset.Size, asset.ContentType)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// open reads the asset's content from where it is.
func (a *Asset) open() (io.ReadCloser, error) {
	if a.replace {
		return io.NopCloser(bytes.NewReader(a.content)), nil
	}
	return os.Open(a.file)
}

// assetHash computes the hash of an asset: the first half of BLAKE3 over the content in base64, followed by the
// extension (wire.md §5).
type assetHash struct {
	hasher  *blake3.Hasher
	encoder io.WriteCloser
}

func newAssetHash() *assetHash {
	a := &assetHash{hasher: blake3.New(16, nil)}
	a.reset()
	return a
}

// reset makes a ready for another file.
func (a *assetHash) reset() {
	a.hasher.Reset()
	a.encoder = base64.NewEncoder(base64.StdEncoding, a.hasher)
}

// Write adds content. It never fails.
func (a *assetHash) Write(p []byte) (int, error) { return a.encoder.Write(p) }

// hash ends the content and returns its hash. The extension is what Node's path.extname finds: none for a name that
// begins with its only dot.
func (a *assetHash) hash(name string) string {
	a.encoder.Close()
	name = path.Base(name)
	if dot := strings.LastIndexByte(name, '.'); dot > 0 {
		io.WriteString(a.hasher, name[dot+1:])
	}
	return hex.EncodeToString(a.hasher.Sum(nil))
}
