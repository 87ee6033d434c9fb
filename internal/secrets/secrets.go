// Package secrets is the bundle of a shop's secrets: read from the sources that it may come from, opened and sealed with
// age, and held against what fleet.yml says of each. It has no network and reads no files.
//
// A bundle is text in one of two forms, which Parse tells apart: dotenv lines, or one flat JSON object of strings. In the
// repository that text is encrypted by age (age-encryption.org/v1), so that people open it with the age that they have:
//
//	age --decrypt --identity key.txt shop-overrides/secrets.env.age
//
// Values are of type wrangler.Secret throughout, and no error or finding of this package quotes one, nor a line that one
// could stand on.
package secrets

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// Bundle is secrets by name. A value prints as ***.
type Bundle map[string]wrangler.Secret

// MaxSize bounds the text of a bundle, and its encrypted form: 128 values of 5 KB are Cloudflare's own limit.
const MaxSize = 1 << 20

// Names are the names of the bundle's secrets, in order.
func (b Bundle) Names() []string { return slices.Sorted(maps.Keys(b)) }

// Over is b with the secrets of over, which win.
func (b Bundle) Over(over Bundle) Bundle {
	out := make(Bundle, len(b)+len(over))
	maps.Copy(out, b)
	maps.Copy(out, over)
	return out
}

// Fingerprint tells whether a shop's secret has changed, to those who can open its bundles and to nobody else: it is keyed
// by the identity, so that a weak value cannot be found by trying. Equal values of two shops or two names have different
// fingerprints. It is "" without an identity that Open would take.
func Fingerprint(identity, slug, name string, v wrangler.Secret) string {
	if key := fingerprintKey(identity); key != nil {
		return fingerprint(key, slug, name, v)
	}
	return ""
}

func fingerprint(key []byte, slug, name string, v wrangler.Secret) string {
	mac := hmac.New(sha256.New, key)
	for _, part := range []string{slug, name, string(v)} {
		// Each part is told from the next by its length.
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		mac.Write(size[:])
		mac.Write([]byte(part))
	}
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// Fingerprints are those of a whole bundle, by name; nil without an identity.
func (b Bundle) Fingerprints(identity, slug string) map[string]string {
	key := fingerprintKey(identity)
	if key == nil {
		return nil
	}
	out := make(map[string]string, len(b))
	for name, v := range b {
		out[name] = fingerprint(key, slug, name, v)
	}
	return out
}

// fingerprintKey is derived from the first identity, so that a second one can be added to open old bundles. nil is none.
func fingerprintKey(identity string) []byte {
	list, err := readIdentities(identity)
	if err != nil {
		return nil
	}
	key, err := hkdf.Key(sha256.New, []byte(list[0].String()), nil, "shopfleet secret fingerprint v1", sha256.Size)
	if err != nil {
		// 32 bytes are within what HKDF gives, and no other error is known to it.
		panic("secrets: deriving a key: " + err.Error())
	}
	return key
}
