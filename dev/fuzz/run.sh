#!/usr/bin/env bash
# Fuzzes every target of every package, or of the packages in PKG, for FUZZTIME each, and writes a table of what came of it:
#   FUZZTIME=10m LANES=2 dev/fuzz/run.sh [TABLE]   TABLE is build/fuzz/RESULTS.md without; dev/fuzz/RESULTS.md is the one that is kept
# LANES targets (default: one per processor) run side by side, each with one worker.
# Inputs that fail are left by the go command under the package's testdata/fuzz. Exit code 1: something failed.
set -uo pipefail
cd "$(dirname "$0")/../.."
export time=${FUZZTIME:-1m}
export logs=build/fuzz
lanes=${LANES:-$(nproc)}
table=${1:-$logs/RESULTS.md}
rm -rf "$logs/rows" && mkdir -p "$logs/rows" "$(dirname "$table")"
commit=$(git rev-parse --short=12 HEAD)$(git diff --quiet HEAD || echo ", with changes")

fuzz() { # package, target
	local name=${1#ict/} log last execs new verdict=0
	log=$logs/${name//\//-}-$2.log
	echo "$name $2, $time" >&2
	if ! nice go test -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 2s -parallel 1 "$1" >"$log" 2>&1; then
		verdict=$(grep -o 'testdata/fuzz/[^ ]*' "$log" | head -1)
		verdict=${verdict:-"did not run to its end"}
		tail -20 "$log" >&2
	fi
	# The last line of progress: fuzz: elapsed: 20s, execs: 123 (6/sec), new interesting: 4 (total: 9)
	last=$(grep -o 'execs: [0-9]* .*new interesting: [0-9]*' "$log" | tail -1)
	execs=$(sed -n 's/^execs: \([0-9]*\) .*/\1/p' <<<"$last")
	new=$(sed -n 's/.*new interesting: \([0-9]*\)$/\1/p' <<<"$last")
	echo "| $name | $2 | ${execs:-0} | ${new:-0} | $verdict |" >"$logs/rows/${name//\//-}-$2"
}
export -f fuzz

packages=$(go list ${PKG:-./...}) && [ -n "$packages" ] || { echo "no packages: PKG=${PKG:-}" >&2; exit 1; }
targets=
for package in $packages; do
	list=$(go test -list '^Fuzz' "$package") || { echo "$list" >&2; exit 1; }
	targets+=$(sed -n "s|^Fuzz|$package &|p" <<<"$list")$'\n'
done
targets=$(grep . <<<"$targets") || { echo "no target in ${PKG:-./...}" >&2; exit 1; }
xargs -P "$lanes" -L 1 bash -c 'fuzz "$@"' fuzz <<<"$targets" || exit
[ "$(ls "$logs/rows" | wc -l)" -eq "$(wc -l <<<"$targets")" ] || { echo "not every target ran" >&2; exit 1; }
{
	echo "# Fuzzing"
	echo
	echo "$(date -u +%Y-%m-%d), commit $commit, $(go env GOVERSION), $time a target, $lanes side by side on $(nproc) processors;"
	echo "made by \`make fuzz FUZZTIME=$time LANES=$lanes\`. New inputs are those that reached code which no input of the seed corpus or"
	echo "of earlier runs on the same machine had reached."
	echo
	echo "| package | target | executions | new inputs | failures |"
	echo "|---|---|---|---|---|"
	cat "$logs"/rows/*
} >"$table"
cat "$table"
! grep -qv '| 0 |$' "$logs"/rows/*
