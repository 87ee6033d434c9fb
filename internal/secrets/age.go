package secrets

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// Why a bundle cannot be opened or sealed. None of them says anything of what is inside.
var (
	// ErrNoIdentity says that nobody gave an identity.
	ErrNoIdentity = errors.New("there is no age identity to open it with")
	// ErrBadIdentity says that what was given is no identity.
	ErrBadIdentity = errors.New("the age identity cannot be read: it is not AGE-SECRET-KEY-1… on a line of its own")
	// ErrOtherKey says that it was sealed for others.
	ErrOtherKey = errors.New("it was encrypted for another key")
	// ErrCorrupt says that it is no age file, or one that was cut off or changed.
	ErrCorrupt = errors.New("it is damaged, or no file of age")
	// ErrNoRecipient says that it is not known who should be able to open it.
	ErrNoRecipient = errors.New("nobody could open it: there are no recipients")
)

// Open decrypts a bundle, armored or not, and parses it. identity is the text of an identity file: AGE-SECRET-KEY-1…, one
// on a line, comments allowed; the first that fits opens it. The error is one of the above, or that of Parse.
func Open(sealed []byte, identity string) (Bundle, error) {
	identities, err := readIdentities(identity)
	if err != nil {
		return nil, err
	}
	if len(sealed) > MaxSize {
		return nil, ErrCorrupt
	}
	var src io.Reader = bytes.NewReader(sealed)
	if trimmed := bytes.TrimLeft(sealed, " \t\r\n"); bytes.HasPrefix(trimmed, []byte(armor.Header)) {
		src = armor.NewReader(bytes.NewReader(trimmed))
	}
	keys := make([]age.Identity, len(identities))
	for i, id := range identities {
		keys[i] = id
	}
	r, err := age.Decrypt(src, keys...)
	var others *age.NoIdentityMatchError
	switch {
	case errors.As(err, &others):
		return nil, ErrOtherKey
	case err != nil:
		return nil, ErrCorrupt
	}
	text, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, ErrCorrupt
	}
	return Parse(text)
}

// Seal encrypts a bundle for recipients (age1…), armored, so that git shows and merges it as text. Two seals of one bundle
// differ.
func Seal(b Bundle, recipients []string) ([]byte, error) {
	if len(recipients) == 0 {
		return nil, ErrNoRecipient
	}
	to := make([]age.Recipient, len(recipients))
	for i, r := range recipients {
		var err error
		if to[i], err = age.ParseX25519Recipient(r); err != nil {
			return nil, fmt.Errorf("reading the recipient %s: its checksum is wrong", r)
		}
	}
	text := Text(b)
	if len(text) > MaxSize {
		return nil, fmt.Errorf("the secrets are %d bytes; a bundle holds %d", len(text), MaxSize)
	}
	var out bytes.Buffer
	armored := armor.NewWriter(&out)
	w, err := age.Encrypt(armored, to...)
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = armored.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("encrypting the bundle: %w", err)
	}
	return out.Bytes(), nil
}

// CheckIdentity says why a text cannot open anything: ErrNoIdentity or ErrBadIdentity.
func CheckIdentity(identity string) error {
	_, err := readIdentities(identity)
	return err
}

// Recipient is the public key of the first identity, which bundles can be sealed for; "" when it has none.
func Recipient(identity string) string {
	list, err := readIdentities(identity)
	if err != nil {
		return ""
	}
	return list[0].Recipient().String()
}

// readIdentities reads an identity file. age's own messages may quote a line, so none is passed on. Recipients of other
// kinds than X25519 are none that fleet.yml takes, so their identities would open nothing.
func readIdentities(text string) ([]*age.X25519Identity, error) {
	var list []*age.X25519Identity
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, err := age.ParseX25519Identity(line)
		if err != nil {
			return nil, ErrBadIdentity
		}
		list = append(list, id)
	}
	if len(list) == 0 {
		return nil, ErrNoIdentity
	}
	return list, nil
}
