package github

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// cut shortens a text of one line to at most n bytes, on a rune boundary.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return boundary(s, n-len("…")) + "…"
}

// boundary is at most n bytes of s, without half a rune.
func boundary(s string, n int) string {
	n = max(min(n, len(s)), 0)
	for n > 0 && n < len(s) && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// cutRunes shortens a text of one line to at most n characters.
func cutRunes(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// cutLines shortens Markdown to at most n bytes. It keeps whole lines from the beginning, closes a code block that is cut
// open, and ends with how many lines are left out and where they are. GitHub's limits are in characters, and which kind it
// counts is not documented: no kind gives more than bytes do.
func cutLines(s string, n int, pointer string) string {
	if len(s) <= n {
		return s
	}
	lines := strings.SplitAfter(s, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	ending := func(left int, fence string) string {
		if fence != "" {
			fence = fence + "\n"
		}
		what := "1 line is"
		if left != 1 {
			what = fmt.Sprintf("%d lines are", left)
		}
		return fmt.Sprintf("%s\n*%s cut off here%s*\n", fence, what, pointer)
	}
	size, fence := 0, ""
	best := "" // the longest beginning that fits, with its ending
	for i, line := range lines {
		if size += len(line); size > n {
			break
		}
		if mark := fenceOf(line); fence == "" {
			fence = mark
		} else if strings.HasPrefix(mark, fence) {
			fence = ""
		}
		if end := ending(len(lines)-i-1, fence); size+len(end) <= n {
			best = s[:size] + end
		}
	}
	if best != "" {
		return best
	}
	end := ending(len(lines), "") // not even the first line fits
	if len(end) > n {
		return boundary(s, n)
	}
	return boundary(s, n-len(end)) + end
}

// fenceOf is the run of ` or ~ that opens or closes a block of code on this line.
func fenceOf(line string) string {
	line = strings.TrimLeft(line, " ")
	for _, mark := range []string{"`", "~"} {
		if rest := strings.TrimLeft(line, mark); len(line)-len(rest) >= 3 {
			return line[:len(line)-len(rest)]
		}
	}
	return ""
}

// validText is s as GitHub takes it: valid UTF-8 without NUL, with which its database does not cope.
func validText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
