#!/usr/bin/env bash
# Is every rule of admission held by a test? Each place that refuses something, each verdict and each type of binding in
# the table of what is reached is switched off in turn, and the tests of admission run: one of them has to fail. Prints a
# table; exits 1 when a rule has no test. With an argument only the mutants that it matches, as grep -E does. Nothing of
# this is in the program: the tests are built once with -overlay.
set -euo pipefail
cd "$(dirname "$0")/.."

pkg=internal/deploy
tests='^(TestHostileConfigs|TestAdmission.*|TestWallHasDoors|TestReachOfLive|TestOwner.*)$'
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# The switches.
cat >"$tmp/mutant.go" <<'GO'
package deploy

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"fmt"
)

func off(name string) bool { return os.Getenv("MUTANT") == name }

// offSite says whether the rule is switched off where report was called from: "rule file:first-last".
func offSite(rule string) bool {
	mutant := os.Getenv("MUTANT")
	if !strings.HasPrefix(mutant, rule+" ") {
		return false
	}
	pcs := make([]uintptr, 8)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for {
		f, more := frames.Next()
		if !strings.HasSuffix(f.Function, ".refuse") {
			file, lines, _ := strings.Cut(strings.TrimPrefix(mutant, rule+" "), ":")
			var first, last int
			fmt.Sscanf(lines, "%d-%d", &first, &last)
			return filepath.Base(f.File) == file && first <= f.Line && f.Line <= last
		}
		if !more {
			return false
		}
	}
}

func spare(v verdict, name string, line int) verdict {
	if off(fmt.Sprintf("verdict %s admit.go:%d", name, line)) {
		return admitted
	}
	return v
}
GO

sed -E '
s/^func \(a \*admission\) report\(rule string, f Finding\) \{$/& if offSite(rule) { return }/
/^func judge\(/,/^}/ {
	=
	s/return (foreign|incomplete|pinned|absent|misnamed)$/return spare(\1, "\1", LINE)/
}' "$pkg/admit.go" | awk '/^[0-9]+$/ { line = $0; next } { gsub(/LINE\)$/, line ")"); print }' >"$tmp/admit.go"
sed -E '
s/^func reachOf\(.*\{$/& if off("reach " + typ) { return []Reach{{Type: typ, Free: true}} }/
s/^func ReachOf\(b .*\{$/& if off("reach unsafe") \&\& strings.HasPrefix(b.Key, "unsafe") { return []Reach{{Type: b.Type, Free: true}} }/
s/^func ReachOfConsumers\(.*\{$/& if off("reach tail_consumer") { return nil }/
s/^func outboundOf\(.*\{$/& if off("reach outbound") { return Reach{Free: true} }/' "$pkg/reach.go" >"$tmp/reach.go"
if ! grep -q offSite "$tmp/admit.go" || ! grep -q spare "$tmp/admit.go" || [ "$(grep -c 'off("reach' "$tmp/reach.go")" -ne 4 ]; then
	echo "admission-mutants: the code is no longer as this script expects it" >&2
	exit 1
fi
root=$PWD
printf '{"Replace": {"%s": "%s", "%s": "%s", "%s": "%s"}}\n' \
	"$root/$pkg/admit.go" "$tmp/admit.go" "$root/$pkg/reach.go" "$tmp/reach.go" "$root/$pkg/mutant.go" "$tmp/mutant.go" >"$tmp/overlay.json"
go test -overlay "$tmp/overlay.json" -c -o "$tmp/tests" "./$pkg"

# The mutants: one on each line.
{
	for file in admit.go admit_hostnames.go overlay.go claims.go identity.go; do
		awk -v file="$file" '
			function end(last) { if (rule != "") print rule " " file ":" first "-" last }
			match($0, /a\.(refuse|report)\("[a-z0-9-]+"/) {
				end(NR - 1); rule = substr($0, RSTART, RLENGTH); sub(/.*\("/, "", rule); sub(/"/, "", rule); first = NR
			}
			END { end(NR) }' "$pkg/$file"
	done
	grep -n 'return spare(' "$tmp/admit.go" | sed -E 's/.*spare\(([a-z]+), "[a-z]+", ([0-9]+)\)/verdict \1 admit.go:\2/'
	awk '/^func reachOf\(/ { on = 1 } on && /^\tcase "/ { free = 0; buffer = "" } on { buffer = buffer $0 }
		on && /^\tcase "/ || on && more { line = $0; more = line ~ /,$/; while (match(line, /"[a-z0-9_]+"/)) { types[n++] = substr(line, RSTART + 1, RLENGTH - 2); line = substr(line, RSTART + RLENGTH) } }
		on && /Free: true/ && !/durable/ && buffer ~ /plain_text/ { n = 0 }
		on && /^}/ { for (i = 0; i < n; i++) print "reach " types[i]; exit }' "$pkg/reach.go"
	printf 'reach %s\n' unsafe tail_consumer outbound
} | grep -E -- "${1:-}" >"$tmp/mutants"

cd "$pkg"
if ! "$tmp/tests" -test.short -test.run "$tests" >"$tmp/log" 2>&1; then
	echo "admission-mutants: the tests fail with every rule on" >&2
	tail -20 "$tmp/log" >&2
	exit 1
fi

# try prints a mutant, how many tests fail and the first of them.
try() {
	local out failed
	out=$(MUTANT=$1 "$2" -test.short -test.run "$3" -test.timeout 2m 2>&1 || true)
	failed=$(grep -E '^ *--- FAIL: ' <<<"$out" | sed -E 's/^ *--- FAIL: ([^ ]+).*/\1/' | grep -vx TestHostileConfigs || true)
	if [ -z "$failed" ] && grep -q '^panic:' <<<"$out"; then failed=panic; fi
	printf '%s\t%s\t%s\n' "$1" "$(grep -c . <<<"$failed" || true)" "$(head -1 <<<"$failed")"
}
export -f try
xargs -P "$(getconf _NPROCESSORS_ONLN)" -d '\n' -I '{}' bash -c 'try "$@"' _ '{}' "$tmp/tests" "$tests" <"$tmp/mutants" | sort >"$tmp/table"

printf '%-52s %5s  %s\n' 'switched off' fails 'among them'
awk -F '\t' '{ printf "%-52s %5d  %s\n", $1, $2, $3 }' "$tmp/table"
lost=$(awk -F '\t' '$2 == 0' "$tmp/table" | wc -l)
echo
echo "$(wc -l <"$tmp/table") mutants, $lost that no test notices"
[ "$lost" -eq 0 ]
