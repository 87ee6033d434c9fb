package wrangler

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is a value that must not be seen. However it is printed, encoded or logged, it reads ***; a conversion to
// string is the only way to what it holds.
type Secret string

const masked = "***"

func (Secret) String() string               { return masked }
func (Secret) GoString() string             { return masked }
func (Secret) Format(s fmt.State, _ rune)   { io.WriteString(s, masked) }
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + masked + `"`), nil }
func (Secret) LogValue() slog.Value         { return slog.StringValue(masked) }
