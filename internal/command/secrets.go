package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/joho/godotenv"

	"github.com/kvick/shopfleet/internal/wrangler"
)

// maxSecrets bounds a secrets file: 128 values of 5 KB are Cloudflare's own limit.
const maxSecrets = 1 << 20

// readSecrets reads the values of a secrets file: a flat JSON object of
// strings, or dotenv lines (github.com/joho/godotenv, the usual reader of that
// format). "-" is standard input. Errors never quote the file's contents.
func (d *Door) readSecrets(name string) (map[string]wrangler.Secret, error) {
	if name == "" {
		return nil, nil
	}
	src, err := d.readSecretBytes(name)
	if err != nil {
		return nil, Usage(fmt.Errorf("reading the secrets file: %w", err), "")
	}
	return parseSecrets(src)
}

// parseSecrets reads secrets in either form.
func parseSecrets(src []byte) (_ map[string]wrangler.Secret, err error) {
	var values map[string]string
	if bytes.HasPrefix(bytes.TrimSpace(src), []byte("{")) {
		if json.Unmarshal(src, &values) != nil {
			return nil, Usage(fmt.Errorf("the secrets file is not a flat JSON object of strings"), `write {"NAME": "value", …}`)
		}
	} else if values, err = godotenv.Unmarshal(string(src)); err != nil {
		// The parser's own message quotes the line it stumbled over.
		return nil, Usage(fmt.Errorf("the secrets file is neither JSON nor dotenv"), "write NAME=value lines, or a JSON object")
	}
	out := make(map[string]wrangler.Secret, len(values))
	for name, v := range values {
		if v == "" {
			return nil, Usage(fmt.Errorf("secret %s is empty in the secrets file", name), "give it a value, or leave it out")
		}
		out[name] = wrangler.Secret(v)
	}
	return out, nil
}

func (d *Door) readSecretBytes(name string) ([]byte, error) {
	if name == "-" {
		return readBounded(d.Stdin)
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(d.Dir, name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f)
}

func readBounded(r io.Reader) ([]byte, error) {
	src, err := io.ReadAll(io.LimitReader(r, maxSecrets+1))
	if err == nil && len(src) > maxSecrets {
		err = fmt.Errorf("it is larger than %d bytes", maxSecrets)
	}
	return src, err
}
