package cloudflare

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
)

// Content is the code of a Worker, as the API hands it out.
type Content struct {
	Main    string // name of the module that is the entry point; "" when the API does not say
	Modules []ContentModule
}

// ContentModule is one module: what the upload called it, and its bytes.
type ContentModule struct {
	Name, ContentType string
	Body              []byte
}

// WorkerContent reads the code of a Worker's newest version: its modules, or the one script of a Worker that has none.
// ErrNotFound when there is no such Worker, or it has no code.
func (c *Client) WorkerContent(ctx context.Context, script string) (Content, error) {
	var code Content
	err := c.raw(ctx, request{op: "WorkerContent", args: []string{script}}, func(text []byte) (err error) {
		code, err = readContent(text)
		return err
	})
	return code, err
}

func readContent(text []byte) (Content, error) {
	var answer verbatim
	if err := json.Unmarshal(text, &answer); err != nil {
		return Content{}, err
	}
	kind, parameters, err := mime.ParseMediaType(answer.ContentType)
	if err != nil {
		return Content{}, fmt.Errorf("reading its content type: %w", err)
	}
	if kind != "multipart/form-data" {
		return Content{Main: answer.Entrypoint, Modules: []ContentModule{{answer.Entrypoint, kind, answer.Body}}}, nil
	}
	code := Content{Main: answer.Entrypoint}
	for form := multipart.NewReader(bytes.NewReader(answer.Body), parameters["boundary"]); ; {
		part, err := form.NextRawPart()
		if errors.Is(err, io.EOF) {
			return code, nil
		}
		if err != nil {
			return Content{}, fmt.Errorf("reading its parts: %w", err)
		}
		body, err := io.ReadAll(part)
		if err != nil {
			return Content{}, fmt.Errorf("reading %s: %w", part.FormName(), err)
		}
		code.Modules = append(code.Modules, ContentModule{part.FormName(), part.Header.Get("Content-Type"), body})
	}
}
