package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/transfer"
)

// Dump writes what a dump holds.
func Dump(w io.Writer, s Style, d *transfer.Dumped, ledger []string) error {
	var b strings.Builder
	for _, p := range d.Parts {
		fmt.Fprintf(&b, "  %-28s %12d rows %14d bytes\n", Clean(p.Name), p.Rows, p.Bytes)
	}
	fmt.Fprintf(&b, "%s: %d rows in %d files, %d bytes\n", s.Green("written"), d.Rows, len(d.Parts), d.Bytes)
	seeded(&b, ledger)
	_, err := io.WriteString(w, b.String())
	return err
}

// Bootstrap writes what a bootstrap did, and how both sides compare.
func Bootstrap(w io.Writer, s Style, o *transfer.Bootstrapped, ledger []string) error {
	var b strings.Builder
	comparisons(&b, s, o.Tables, "file")
	switch {
	case o.Already:
		fmt.Fprintf(&b, "%s: %s holds all of it already; 0 writes\n", s.Green("unchanged"), Clean(o.Database))
	default:
		fmt.Fprintf(&b, "%s: %d parts imported into %s", s.Green("filled"), o.Parts, Clean(o.Database))
		if o.Known > 0 {
			fmt.Fprintf(&b, ", %d were there from an earlier run", o.Known)
		}
		if o.ImportTime > 0 {
			fmt.Fprintf(&b, " in %s, compared in %s", o.ImportTime.Round(time.Millisecond), o.CompareTime.Round(time.Millisecond))
		}
		fmt.Fprintf(&b, "\n  bookmark before: %s\n", Clean(o.Bookmark))
		seeded(&b, ledger)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Export writes what an export brought, and how both sides compare.
func Export(w io.Writer, s Style, o *transfer.Exported) error {
	var b strings.Builder
	comparisons(&b, s, o.Tables, "file")
	fmt.Fprintf(&b, "%s: %s as %s, %d bytes, loaded and compared", s.Green("exported"), Clean(o.Database), Clean(o.File), o.Bytes)
	if o.Tries > 1 {
		fmt.Fprintf(&b, "; the shop wrote meanwhile, so it took %d tries", o.Tries)
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func seeded(b *strings.Builder, ledger []string) {
	if len(ledger) > 0 {
		fmt.Fprintf(b, "  ledger: %d migrations are noted as applied, the last is %s\n", len(ledger), Clean(ledger[len(ledger)-1]))
	}
}

// comparisons is a table of both sides.
func comparisons(b *strings.Builder, s Style, list []transfer.Comparison, side string) {
	width := len("table")
	for _, c := range list {
		width = max(width, len([]rune(Clean(c.Table))))
	}
	fmt.Fprintf(b, "  %-*s %12s %12s  %s\n", width, "table", "rows "+side, "rows live", "checksums")
	for _, c := range list {
		verdict := s.Green("equal")
		if !c.Equal() {
			verdict = s.Red(fmt.Sprintf("differ: %d, live %d", c.Sum, c.LiveSum))
		}
		name := Clean(c.Table)
		fmt.Fprintf(b, "  %s%s %12d %12d  %s\n", name, strings.Repeat(" ", width-len([]rune(name))), c.Rows, c.LiveRows, verdict)
	}
}
