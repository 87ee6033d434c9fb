package wrangler

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// AssetUpload is the body of one request that uploads assets. It reads the files while it is sent, so that a large one
// is never in memory whole.
type AssetUpload struct {
	ContentType string
	Size        int64 // of the body in bytes

	pieces []piece
}

// piece is a stretch of a body: a text, or an asset's content.
type piece struct {
	text   string
	asset  *Asset // nil: text
	base64 bool
}

// Bucket is the body of POST …/workers/assets/upload?base64=true for one of the buckets that the upload session answered
// with: a multipart form with one part per hash, the content in base64 (wire.md §5). A hash that is not in the manifest
// is an error.
func (s *AssetSet) Bucket(hashes []string) (*AssetUpload, error) {
	// No dash occurs in base64, so no content can contain the boundary.
	boundary := newBoundary()
	upload := &AssetUpload{ContentType: "multipart/form-data; boundary=" + boundary}
	for _, hash := range hashes {
		asset, err := s.find(hash)
		if err != nil {
			return nil, err
		}
		upload.pieces = append(upload.pieces,
			piece{text: partHeader(boundary, hash, hash, asset.ContentType)},
			piece{asset: asset, base64: true},
			piece{text: "\r\n"})
	}
	upload.pieces = append(upload.pieces, piece{text: "--" + boundary + "--\r\n"})
	for _, p := range upload.pieces {
		if p.asset != nil {
			upload.Size += int64(base64.StdEncoding.EncodedLen(int(p.asset.Size)))
		}
		upload.Size += int64(len(p.text))
	}
	return upload, nil
}

// Single is the body of POST …/workers/assets/upload/{hash}, which sessions whose token says
// "wrangler_single_asset_uploads" want instead of buckets: the content as it is.
func (s *AssetSet) Single(hash string) (*AssetUpload, error) {
	asset, err := s.find(hash)
	if err != nil {
		return nil, err
	}
	return &AssetUpload{ContentType: asset.ContentType, Size: asset.Size, pieces: []piece{{asset: asset}}}, nil
}

func (s *AssetSet) find(hash string) (*Asset, error) {
	i, ok := s.byHash[hash]
	if !ok {
		return nil, fmt.Errorf("uploading assets: the session asks for %q, which is not in the manifest", hash)
	}
	return &s.Assets[i], nil
}

// Open starts reading the body; close it in any case. It may be called again, for a retry. When a file is no longer what
// was hashed, reading fails before the body is complete.
func (u *AssetUpload) Open() io.ReadCloser {
	var body uploadBody
	var readers []io.Reader
	for _, p := range u.pieces {
		if p.asset == nil {
			readers = append(readers, strings.NewReader(p.text))
			continue
		}
		content := &assetContent{asset: p.asset}
		body.contents = append(body.contents, content)
		if p.base64 {
			readers = append(readers, &base64Reader{source: content})
		} else {
			readers = append(readers, content)
		}
	}
	body.Reader = io.MultiReader(readers...)
	return &body
}

type uploadBody struct {
	io.Reader
	contents []*assetContent
}

// Close closes the file that reading stopped in, if any.
func (b *uploadBody) Close() error {
	var errs []error
	for _, content := range b.contents {
		errs = append(errs, content.close())
	}
	return errors.Join(errs...)
}

// assetContent reads an asset, opening its file at the first read and closing it at the end. It fails instead of ending
// when what it read is not what was hashed: the server would keep it under a hash that promises something else.
type assetContent struct {
	asset *Asset
	file  io.ReadCloser // nil when not open
	sum   *assetHash    // nil before the first read
}

func (c *assetContent) Read(p []byte) (int, error) {
	if c.sum == nil {
		file, err := c.asset.open()
		if err != nil {
			return 0, fmt.Errorf("uploading assets: %w", err)
		}
		c.file, c.sum = file, newAssetHash()
	}
	if c.file == nil {
		return 0, io.EOF
	}
	n, err := c.file.Read(p)
	c.sum.Write(p[:n])
	switch {
	case err == io.EOF:
		if err := c.close(); err != nil {
			return n, fmt.Errorf("uploading assets: %w", err)
		}
		if c.sum.hash(c.asset.Path) != c.asset.Hash {
			return n, fmt.Errorf("uploading assets: %s changed after it was hashed", c.asset.Path)
		}
	case err != nil:
		err = fmt.Errorf("uploading assets: %w", err)
	}
	return n, err
}

func (c *assetContent) close() error {
	if c.file == nil {
		return nil
	}
	file := c.file
	c.file = nil
	return file.Close()
}

// base64Reader reads what source holds in base64.
type base64Reader struct {
	source io.Reader
	raw    [3 << 12]byte
	out    [4 << 12]byte
	ready  []byte // what of out is still to be read
	err    error
}

func (r *base64Reader) Read(p []byte) (int, error) {
	if len(r.ready) == 0 && r.err == nil {
		var n int
		n, r.err = io.ReadFull(r.source, r.raw[:])
		if r.err == io.ErrUnexpectedEOF {
			r.err = io.EOF
		}
		if r.err == nil || r.err == io.EOF {
			base64.StdEncoding.Encode(r.out[:], r.raw[:n])
			r.ready = r.out[:base64.StdEncoding.EncodedLen(n)]
		}
	}
	if len(r.ready) == 0 {
		return 0, r.err
	}
	n := copy(p, r.ready)
	r.ready = r.ready[n:]
	return n, nil
}
