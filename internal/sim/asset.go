package sim

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"regexp"
	"strings"
	"time"
)

func assetEndpoints() []endpoint {
	return []endpoint{
		{"POST /accounts/{account}/workers/scripts/{script}/assets-upload-session", writes, (*call).openAssetSession},
		{"POST /accounts/{account}/workers/assets/upload", writes, (*call).uploadAssets},
		{"POST /accounts/{account}/workers/assets/upload/{hash}", writes, (*call).uploadAsset},
	}
}

const (
	maxAssetSize  = 25 << 20
	maxAssetFiles = 100_000
	bucketFiles   = 25
	bucketBytes   = 20 << 20
	sessionLife   = time.Hour
)

// assetSession is an open upload of static files.
type assetSession struct {
	Script   string                  `json:"script"`
	Manifest map[string]manifestFile `json:"manifest"`
	Expires  time.Time               `json:"expires"`
}

type manifestFile struct {
	Hash string `json:"hash"`
	Size int64  `json:"size"`
}

// missing are the files of the manifest that are not there yet, each hash once, in path order.
func (s *assetSession) missing(have map[string]servedFile) []manifestFile {
	var out []manifestFile
	seen := map[string]bool{}
	for _, path := range sortedKeys(s.Manifest) {
		f := s.Manifest[path]
		if _, ok := have[f.Hash]; !ok && !seen[f.Hash] {
			seen[f.Hash] = true
			out = append(out, f)
		}
	}
	return out
}

// assetClaims is the payload of the tokens of an upload.
type assetClaims struct {
	Audience string `json:"aud"` // assets-upload or assets-completion
	Account  string `json:"account_id"`
	Script   string `json:"script"`
	Session  string `json:"session"`
	Issued   int64  `json:"iat"`
	Expires  int64  `json:"exp"`
	Singles  bool   `json:"wrangler_single_asset_uploads,omitempty"`
}

const (
	audienceUpload     = "assets-upload"
	audienceCompletion = "assets-completion"
)

// sign makes a JWT (HS256).
func (w *World) sign(claims assetClaims) string {
	payload, _ := json.Marshal(claims) // strings and numbers only
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload)
	return text + "." + base64.RawURLEncoding.EncodeToString(w.mac(text))
}

func (w *World) mac(text string) []byte {
	h := hmac.New(sha256.New, w.secret)
	io.WriteString(h, text)
	return h.Sum(nil)
}

// verify reads a token of an upload and finds its session. It needs mu.
func (c *call) verify(token, audience string) (assetClaims, *assetSession, error) {
	var claims assetClaims
	invalid := refuse(http.StatusUnauthorized, 10000, "Authentication error: the assets token is not valid")
	i := strings.LastIndexByte(token, '.')
	if i < 0 {
		return claims, nil, invalid
	}
	sum, err := base64.RawURLEncoding.DecodeString(token[i+1:])
	_, payload, _ := strings.Cut(token[:i], ".")
	body, perr := base64.RawURLEncoding.DecodeString(payload)
	if err != nil || perr != nil || !hmac.Equal(sum, c.w.mac(token[:i])) || json.Unmarshal(body, &claims) != nil {
		return claims, nil, invalid
	}
	s := c.account.Sessions[claims.Session]
	if claims.Audience != audience || claims.Account != c.account.ID || s == nil {
		return claims, nil, invalid
	}
	if c.w.now().Unix() >= claims.Expires {
		return claims, nil, refuse(http.StatusUnauthorized, 10000, "Authentication error: the assets token has expired")
	}
	return claims, s, nil
}

func (c *call) token(audience, session string, s *assetSession) string {
	now := c.w.now()
	return c.w.sign(assetClaims{
		Audience: audience, Account: c.account.ID, Script: s.Script, Session: session, Issued: now.Unix(), Expires: now.Add(sessionLife).Unix(),
		Singles: c.w.singles && audience == audienceUpload,
	})
}

var assetHash = regexp.MustCompile(`^[0-9a-f]{32}$`)

// openAssetSession compares a manifest with what was uploaded for this Worker before and asks for the rest. The Worker
// need not exist. When nothing is missing the token is the completion token already (wire.md §5.3).
func (c *call) openAssetSession() (any, error) {
	var in struct {
		Manifest map[string]manifestFile `json:"manifest"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Manifest == nil {
		return nil, refuse(http.StatusBadRequest, 10026, "manifest is required")
	}
	if len(in.Manifest) > maxAssetFiles {
		return nil, refuse(http.StatusBadRequest, 10026, "%d files, at most %d are allowed", len(in.Manifest), maxAssetFiles)
	}
	for path, f := range in.Manifest {
		switch {
		case !strings.HasPrefix(path, "/"):
			return nil, refuse(http.StatusBadRequest, 10026, "manifest: path %q does not begin with a slash", path)
		case !assetHash.MatchString(f.Hash):
			return nil, refuse(http.StatusBadRequest, 10026, "manifest: hash of %s is not 32 hexadecimal digits", path)
		case f.Size < 0 || f.Size > maxAssetSize:
			return nil, refuse(http.StatusBadRequest, 10026, "manifest: %s has %d bytes, at most %d are allowed", path, f.Size, maxAssetSize)
		}
	}
	now := c.w.now()
	if c.account.Sessions == nil {
		c.account.Sessions = map[string]*assetSession{}
	}
	for id, old := range c.account.Sessions {
		if now.After(old.Expires) {
			delete(c.account.Sessions, id)
		}
	}
	id := c.w.id()
	// A session outlives its upload token: the completion token is issued at the end of it and lives as long again.
	s := &assetSession{Script: c.path("script"), Manifest: in.Manifest, Expires: now.Add(2 * sessionLife)}
	c.account.Sessions[id] = s
	c.w.touch(c.account)
	missing := s.missing(c.account.Assets[s.Script])
	if len(missing) == 0 {
		return map[string]any{"jwt": c.token(audienceCompletion, id, s), "buckets": [][]string{}}, nil
	}
	return accepted{http.StatusCreated, map[string]any{"jwt": c.token(audienceUpload, id, s), "buckets": buckets(missing)}}, nil
}

// buckets groups files for uploading together.
func buckets(files []manifestFile) [][]string {
	var out [][]string
	var bytes int64
	for _, f := range files {
		last := len(out) - 1
		if last < 0 || len(out[last]) >= bucketFiles || bytes+f.Size > bucketBytes {
			out, bytes = append(out, nil), 0
			last++
		}
		out[last] = append(out[last], f.Hash)
		bytes += f.Size
	}
	return out
}

func (c *call) bearer() string {
	return strings.TrimPrefix(c.r.Header.Get("Authorization"), "Bearer ")
}

// uploadAssets takes one bucket: a form whose parts are named by hash and carry base64 text.
func (c *call) uploadAssets() (any, error) {
	claims, s, err := c.assetUploader()
	if err != nil {
		return nil, err
	}
	if c.query("base64") != "true" {
		return nil, refuse(http.StatusBadRequest, 10026, "base64=true is required")
	}
	kind, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return nil, refuse(http.StatusUnsupportedMediaType, 10001, "Content-Type must be one of: multipart/form-data.")
	}
	form := multipart.NewReader(bytes.NewReader(c.body), params["boundary"])
	for {
		part, err := form.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, refuse(http.StatusBadRequest, 10026, "multipart form: %v", err)
		}
		content, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, part))
		if err != nil {
			return nil, refuse(http.StatusBadRequest, 10026, "part %s is not base64: %v", part.FormName(), err)
		}
		if err := c.keepAsset(s, part.FormName(), part.Header.Get("Content-Type"), content); err != nil {
			return nil, err
		}
	}
	return c.assetProgress(claims, s)
}

// uploadAsset takes one file as it is, for sessions that ask for single uploads.
func (c *call) uploadAsset() (any, error) {
	claims, s, err := c.assetUploader()
	if err != nil {
		return nil, err
	}
	if !claims.Singles {
		return nil, refuse(http.StatusBadRequest, 10026, "this session takes uploads in buckets")
	}
	if err := c.keepAsset(s, c.path("hash"), c.r.Header.Get("Content-Type"), c.body); err != nil {
		return nil, err
	}
	return c.assetProgress(claims, s)
}

// assetUploader authenticates an upload by its session's token; the account of the path must be the session's.
func (c *call) assetUploader() (assetClaims, *assetSession, error) {
	if c.account == nil {
		return assetClaims{}, nil, refuse(http.StatusUnauthorized, 10000, "Authentication error")
	}
	return c.verify(c.bearer(), audienceUpload)
}

func (c *call) keepAsset(s *assetSession, hash, contentType string, content []byte) error {
	var found *manifestFile
	for _, f := range s.Manifest {
		if f.Hash == hash {
			found = &f
			break
		}
	}
	if found == nil {
		return refuse(http.StatusBadRequest, 10026, "%q is not in the manifest of this upload session", hash)
	}
	if found.Size != int64(len(content)) {
		return refuse(http.StatusBadRequest, 10026, "file %s has %d bytes, its manifest says %d", hash, len(content), found.Size)
	}
	blob, err := c.w.disk.put(content)
	if err != nil {
		return err
	}
	if contentType == "application/null" { // wrangler's word for unknown
		contentType = ""
	}
	if c.account.Assets == nil {
		c.account.Assets = map[string]map[string]servedFile{}
	}
	if c.account.Assets[s.Script] == nil {
		c.account.Assets[s.Script] = map[string]servedFile{}
	}
	c.account.Assets[s.Script][hash] = servedFile{Hash: hash, Blob: blob, ContentType: contentType, Size: found.Size}
	c.w.touch(c.account)
	return nil
}

// assetProgress answers an upload: the completion token comes with the last file.
func (c *call) assetProgress(claims assetClaims, s *assetSession) (any, error) {
	if len(s.missing(c.account.Assets[s.Script])) > 0 {
		return accepted{http.StatusAccepted, map[string]any{"jwt": ""}}, nil
	}
	return accepted{http.StatusCreated, map[string]any{"jwt": c.token(audienceCompletion, claims.Session, s)}}, nil
}

// attachAssets finds the static files of an upload: those of its completion token, or with keep_assets those of the
// version before. It needs mu.
func (c *call) attachAssets(u *upload, s *script) (*servedAssets, error) {
	bound := false
	for _, b := range u.version.Bindings {
		bound = bound || b.Type == "assets"
	}
	var before *servedAssets
	if v := s.latest(); v != nil {
		before = v.Assets
	}
	meta := u.meta.Assets
	switch {
	case meta != nil && meta.JWT != "":
		_, session, err := c.verify(meta.JWT, audienceCompletion)
		if err != nil {
			return nil, err
		}
		if session.Script != s.Name {
			return nil, refuse(http.StatusBadRequest, 10021, "the assets token is for Worker %s", session.Script)
		}
		out := &servedAssets{Manifest: map[string]servedFile{}, Config: meta.Config}
		for path, f := range session.Manifest {
			file, ok := c.account.Assets[s.Name][f.Hash]
			if !ok {
				return nil, refuse(http.StatusBadRequest, 10021, "asset %s was not uploaded", path)
			}
			out.Manifest[path] = file
		}
		return out, nil
	case u.meta.KeepAssets && before != nil:
		kept := *before
		if meta != nil && len(meta.Config) > 0 {
			kept.Config = meta.Config
		}
		return &kept, nil
	case meta != nil && meta.JWT == "":
		return nil, refuse(http.StatusBadRequest, 10021, "assets must have a jwt, or keep_assets be set")
	case bound:
		return nil, refuse(http.StatusBadRequest, 10021, "a binding of type assets needs assets")
	}
	return nil, nil
}
