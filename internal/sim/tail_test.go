package sim

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestFrames(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 127, 65535, 65536} {
		var b bytes.Buffer
		payload := bytes.Repeat([]byte("x"), size)
		writeFrame(&b, opText, payload)
		op, got, err := readFrame(bufio.NewReader(&b))
		if err != nil || op != opText || !bytes.Equal(got, payload) {
			t.Errorf("%d bytes: opcode %d, %d bytes, %v", size, op, len(got), err)
		}
	}
	// wrangler's first frame is not masked, later ones are.
	plain := "\x81\x0f" + `{"debug":false}`
	masked := "\x88\x82\x01\x02\x03\x04\x02\xea" // close 1000
	r := bufio.NewReader(bytes.NewReader([]byte(plain + masked)))
	if op, text, err := readFrame(r); err != nil || op != opText || string(text) != `{"debug":false}` {
		t.Errorf("opcode %d %q %v", op, text, err)
	}
	if op, text, err := readFrame(r); err != nil || op != opClose || string(text) != "\x03\xe8" {
		t.Errorf("opcode %d %q %v", op, text, err)
	}
	if _, _, err := readFrame(r); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
	if _, _, err := readFrame(bufio.NewReader(bytes.NewReader([]byte{0x81, 127, 0, 0, 0, 0, 0xff, 0, 0, 0}))); !errors.Is(err, errFrame) {
		t.Errorf("a frame without bounds: %v", err)
	}
}
