package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/deploy"
	"github.com/kvick/shopfleet/internal/transfer"
)

// BackedUp is what became of one shop's backup.
type BackedUp struct {
	Shop     string             `json:"shop"`
	Status   string             `json:"status"` // backed-up, findings or failed
	Manifest *transfer.Manifest `json:"manifest,omitempty"`
	Pruned   []string           `json:"pruned,omitempty"` // times of backups that were deleted
	Seconds  float64            `json:"seconds"`
	Findings []deploy.Finding   `json:"findings,omitempty"`
	Error    string             `json:"error,omitempty"`
	Hint     string             `json:"hint,omitempty"`
}

// holds says what a backup has, in one line.
func holds(m *transfer.Manifest) string {
	var parts []string
	if m.D1 != nil {
		rows := int64(0)
		for _, t := range m.D1.Tables {
			rows += t.Rows
		}
		parts = append(parts, fmt.Sprintf("%d rows in %d tables", rows, len(m.D1.Tables)))
	}
	if m.KV != nil {
		parts = append(parts, fmt.Sprintf("%d keys", m.KV.Keys))
	}
	if m.R2 != nil {
		text := fmt.Sprintf("%d objects of %s", m.R2.Objects, size(m.R2.Bytes))
		if m.R2.Reused > 0 {
			text += fmt.Sprintf(" (%d known)", m.R2.Reused)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// size is a number of bytes for people.
func size(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	v, i := float64(n), 0
	for v >= 1000 && i < len(units)-1 {
		v /= 1000
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// Backups writes what became of the shops' backups.
func Backups(w io.Writer, s Style, list []BackedUp, place string) error {
	var b strings.Builder
	done := 0
	for _, r := range list {
		status := s.Red(r.Status)
		if r.Manifest != nil && r.Error == "" && r.Findings == nil {
			status = s.Green(r.Status)
			done++
		}
		fmt.Fprintf(&b, "%s  %s", Clean(r.Shop), status)
		if r.Manifest != nil {
			fmt.Fprintf(&b, "  %s: %s, in %.1f s", r.Manifest.Stamp(), holds(r.Manifest), r.Seconds)
		}
		b.WriteString("\n")
		if len(r.Pruned) > 0 {
			fmt.Fprintf(&b, "  deleted: %s\n", strings.Join(r.Pruned, ", "))
		}
		if len(r.Findings) > 0 {
			if err := Findings(&b, s, r.Findings); err != nil {
				return err
			}
		}
		if r.Error != "" {
			fmt.Fprintf(&b, "  %s\n", Clean(r.Error))
		}
		if r.Hint != "" {
			fmt.Fprintf(&b, "  hint: %s\n", Clean(r.Hint))
		}
	}
	fmt.Fprintf(&b, "%d of %d shops backed up to %s\n", done, len(list), Clean(place))
	_, err := io.WriteString(w, b.String())
	return err
}

// BackupsMarkdown is the same for the summary of a workflow.
func BackupsMarkdown(list []BackedUp, place string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "## Backups to %s\n\n| shop | | backup | holds | seconds |\n| --- | --- | --- | --- | --- |\n", codeCell(place))
	for _, r := range list {
		stamp, what := "", ""
		if r.Manifest != nil {
			stamp, what = r.Manifest.Stamp(), holds(r.Manifest)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %.1f |\n", codeCell(r.Shop), r.Status, stamp, what, r.Seconds)
	}
	return b.String()
}

// BackupList writes the backups that a place has.
func BackupList(w io.Writer, list []transfer.Taken) error {
	var b strings.Builder
	for _, t := range list {
		fmt.Fprintf(&b, "%s  %s\n", Clean(t.Shop), t.At.Format(time.RFC3339))
	}
	if len(list) == 0 {
		b.WriteString("no backups\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// BackupVerified writes what a verification read.
func BackupVerified(w io.Writer, s Style, c *transfer.Checked) error {
	_, err := fmt.Fprintf(w, "%s: %s of %s: %d files of %s, %d rows, %d keys, %d objects\n", s.Green("whole"), c.Backup, Clean(c.Shop), c.Files, size(c.Bytes), c.Rows, c.Keys, c.Objects)
	return err
}

// Unpacked is what became of a restore.
type Unpacked struct {
	Exit     int                `json:"exit_code"`
	Shop     string             `json:"shop"`
	Restored *transfer.Restored `json:"restored"`
	Findings []deploy.Finding   `json:"findings,omitempty"`
	Seconds  float64            `json:"seconds"`
}

// Restoration writes what came back, and how both sides compare.
func Restoration(w io.Writer, s Style, u Unpacked) error {
	var b strings.Builder
	r := u.Restored
	if len(r.Tables) > 0 {
		comparisons(&b, s, r.Tables, "backup")
	}
	fmt.Fprintf(&b, "%s: %s from the backup %s of %s: %d tables, %d keys, %d objects of %s, in %.1f s\n", s.Green("restored"), Clean(u.Shop), r.Backup, Clean(r.Of),
		len(r.Tables), r.Keys, r.Objects, size(r.Bytes), u.Seconds)
	if r.Known > 0 {
		fmt.Fprintf(&b, "  %d objects were there from an earlier run\n", r.Known)
	}
	if r.Expired > 0 {
		fmt.Fprintf(&b, "  %d keys were left out: their time has come\n", r.Expired)
	}
	var list []deploy.Finding
	for _, n := range r.Notes {
		list = append(list, deploy.Finding(n))
	}
	if list = append(list, u.Findings...); len(list) > 0 {
		if err := Findings(&b, s, list); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
