package command

// Many shops in one run: a line of JSON for each, one after the other, so that a token's limit is kept and what went wrong
// with one is seen before the next.

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/kvick/shopfleet/internal/fleet"
	"github.com/kvick/shopfleet/internal/report"
	"github.com/kvick/shopfleet/internal/secrets"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// batchLine is a shop of a batch. An empty field is what the flag of that name says.
type batchLine struct {
	Shop    string            `json:"shop"`
	Name    string            `json:"name"`
	Account string            `json:"account"`
	Region  string            `json:"region"`
	Seed    string            `json:"seed"`
	Secrets map[string]string `json:"secrets"`
}

const (
	maxBatch     = 16 << 20 // bytes of a batch
	maxBatchLine = 1 << 20
)

// parseBatch reads the lines of a batch. Errors name a line and never quote it: it holds secrets.
func parseBatch(src []byte) ([]batchLine, error) {
	var out []batchLine
	lines := bufio.NewScanner(bytes.NewReader(src))
	lines.Buffer(nil, maxBatchLine)
	for n := 1; lines.Scan(); n++ {
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 {
			continue
		}
		var l batchLine
		in := json.NewDecoder(bytes.NewReader(text))
		in.DisallowUnknownFields()
		if err := in.Decode(&l); err != nil || in.More() {
			return nil, Usage(fmt.Errorf("line %d of the batch is no JSON object of a shop", n), `write {"shop": "mikes", "name": "Mike's Bikes", "secrets": {…}} on a line of its own; it has no other keys but account, region and seed`)
		}
		if err := fleet.CheckSlug(l.Shop); err != nil {
			return nil, fmt.Errorf("line %d of the batch: %w", n, err)
		}
		if slices.ContainsFunc(out, func(o batchLine) bool { return o.Shop == l.Shop }) {
			return nil, Usage(fmt.Errorf("line %d of the batch names shop %s a second time", n, l.Shop), "each shop once")
		}
		out = append(out, l)
	}
	if err := lines.Err(); err != nil {
		return nil, Usage(fmt.Errorf("reading the batch: %w", err), "one shop on each line")
	}
	if len(out) == 0 {
		return nil, Usage(errors.New("the batch names no shop"), "")
	}
	return out, nil
}

// onboardBatch makes the shops of a batch, one after the other. One that fails does not stop the others.
func (d *Door) onboardBatch(ctx context.Context, f onboardFlags) error {
	if f.name != "" || f.secretsFile != "" || f.seed != "" {
		return Usage(errors.New("--batch goes without --name, --secrets-file and --seed"), "they stand in its lines")
	}
	src, err := d.readBatch(f.batch)
	if err != nil {
		return err
	}
	list, err := parseBatch(src)
	if err != nil {
		return err
	}
	pages := []*report.Onboarded{}
	code := 0
	for i, l := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		fmt.Fprintf(d.Stderr, "%d of %s: %s\n", i+1, counted(len(list), "shop"), l.Shop)
		one := f
		one.batch, one.name, one.seed, one.pages = "", l.Name, l.Seed, &pages
		one.account, one.region = cmp.Or(l.Account, f.account), cmp.Or(l.Region, f.region)
		one.secrets = secrets.Bundle{}
		for name, v := range l.Secrets {
			if v == "" {
				return Usage(fmt.Errorf("secret %s of shop %s is empty in the batch", name, l.Shop), "give it a value, or leave it out")
			}
			one.secrets[name] = wrangler.Secret(v)
		}
		err := d.runOnboard(ctx, l.Shop, one)
		d.explain(err)
		code = max(code, slices.Index(gravities, exitCode(err)))
	}
	if f.json {
		page := struct {
			Exit  int                 `json:"exit_code"`
			Shops []*report.Onboarded `json:"shops"`
		}{gravities[code], pages}
		if err := report.JSON(d.Stdout, page); err != nil {
			return fmt.Errorf("printing the result: %w", err)
		}
	}
	if gravities[code] != ExitDone {
		return &resultError{code: gravities[code]}
	}
	return nil
}

func (d *Door) readBatch(name string) ([]byte, error) {
	var in io.Reader = d.Stdin
	if name != "-" {
		f, err := os.Open(d.path(name))
		if err != nil {
			return nil, Usage(fmt.Errorf("reading the batch: %w", err), "name a file with --batch")
		}
		defer f.Close()
		in = f
	}
	src, err := io.ReadAll(io.LimitReader(in, maxBatch+1))
	if err == nil && len(src) > maxBatch {
		err = fmt.Errorf("it is larger than %d bytes", maxBatch)
	}
	if err != nil {
		return nil, Usage(fmt.Errorf("reading the batch: %w", err), "")
	}
	return src, nil
}
