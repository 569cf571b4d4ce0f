#!/usr/bin/env bash
# Fuzzes every target of every package, or of the packages in PKG, for FUZZTIME each, and writes a table of what came of it:
#   FUZZTIME=10m dev/fuzz/run.sh [TABLE]        TABLE is build/fuzz/RESULTS.md without; dev/fuzz/RESULTS.md is the one that is kept
# Inputs that fail are left by the go command under the package's testdata/fuzz. Exit code 1: something failed.
set -uo pipefail
cd "$(dirname "$0")/../.."
time=${FUZZTIME:-1m}
table=${1:-build/fuzz/RESULTS.md}
logs=build/fuzz
mkdir -p "$logs" "$(dirname "$table")"
rows=$logs/rows
: >"$rows"
failed=0
for package in $(go list ${PKG:-./...}); do
	name=${package#ict/}
	targets=$(go test -list '^Fuzz' "$package") || { echo "$targets" >&2; failed=1; continue; }
	for target in $(grep '^Fuzz' <<<"$targets"); do
		log=$logs/${name//\//-}-$target.log
		echo "$name $target, $time" >&2
		nice go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package" >"$log" 2>&1
		code=$?
		# The last line of progress: fuzz: elapsed: 20s, execs: 123 (6/sec), new interesting: 4 (total: 9)
		last=$(grep -o 'execs: [0-9]* .*new interesting: [0-9]*' "$log" | tail -1)
		execs=$(sed -n 's/^execs: \([0-9]*\) .*/\1/p' <<<"$last")
		new=$(sed -n 's/.*new interesting: \([0-9]*\)$/\1/p' <<<"$last")
		verdict=0
		if [ $code -ne 0 ]; then
			failed=1
			verdict=$(grep -o 'testdata/fuzz/[^ ]*' "$log" | head -1)
			verdict=${verdict:-"did not run to its end"}
			tail -20 "$log" >&2
		fi
		echo "| $name | $target | ${execs:-0} | ${new:-0} | $verdict |" >>"$rows"
	done
done
{
	echo "# Fuzzing"
	echo
	echo "$(date -u +%Y-%m-%d), commit $(git rev-parse --short=12 HEAD)$(git diff --quiet HEAD || echo ", with changes"), $(go env GOVERSION), $time a target on $(nproc) processors;"
	echo "made by \`make fuzz FUZZTIME=$time\`. New inputs are those that reached code which no input of the seed corpus or of earlier"
	echo "runs on the same machine had reached."
	echo
	echo "| package | target | executions | new inputs | failures |"
	echo "|---|---|---|---|---|"
	cat "$rows"
} >"$table"
cat "$table"
exit $failed
