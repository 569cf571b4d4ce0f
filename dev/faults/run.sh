#!/usr/bin/env bash
# run.sh [NAME…]: plants each fault of NAME.patch (default: all) in a copy of the tree, and runs the smallest test that must
# see it on the simulator. Writes TABLE.md where all were planted. Fails where a fault goes unnoticed, or is noticed by
# something else than its patch expects, where a patch does not apply or compile, and where the tests fail without any fault.
#
# The head of a patch says what it is:
#
#   fault:   what is wrong
#   where:   file and place
#   build:   sim, or sim-asan where only AddressSanitizer sees it
#   run:     the test
#   env:     settings of the simulator (kernels/sim/simt.cpp) under which the test sees it; may be missing
#   expect:  extended regular expression of the line that tells
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD here=dev/faults tree=$PWD/build/faults/tree logs=$PWD/build/faults
names=("$@")
[ $# -gt 0 ] || mapfile -t names < <(cd $here && ls ./*.patch | sed 's|^\./||; s|\.patch$||')
for v in $(compgen -e | grep '^ICT_SIM_' || true); do unset "$v"; done

# The copy stays at one place, so that compilers' caches hold; what was not changed keeps its date.
mkdir -p "$tree/build"
find "$tree" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do [ ! -e "$f" ] || printf '%s\0' "$f"; done |
	tar -c --null -T - | tar -x -C "$tree"
for d in sim sim-asan; do
	mkdir -p "$tree/build/$d/cache" "build/$d/cache"
	cp -n build/$d/cache/* "$tree/build/$d/cache/" 2>/dev/null || true
done
for d in lib cuda; do [ ! -e build/$d ] || ln -sfn "$root/build/$d" "$tree/build/$d"; done
[ ! -e build/lib/libscipy_openblas.so ] || export ICT_BLAS=$root/build/lib/libscipy_openblas.so

of() { sed -n "s/^$2: *//p; /^--- /q" "$here/$1.patch"; }

# One hash for all: what is planted in a kernel needs no other test program.
build() { make -s -C "$tree" KERNELS_SHA=faults "build/$1/gpu.test"; }

# run BUILD TESTS [SETTING…]: the tests' output on stdout, and their status.
run() {
	(cd "$tree/gpu" && env "${@:3}" LD_LIBRARY_PATH="$tree/build/$1" $([ "$1" != sim-asan ] || echo ASAN_OPTIONS=detect_leaks=0) \
		timeout 300 "../build/$1/gpu.test" -test.v -test.run "^($2)\$" 2>&1)
}

plant() { (cd "$tree" && GIT_CEILING_DIRECTORIES=$(dirname "$tree") git apply "${@:2}" "$root/$here/$1.patch"); }

for b in sim sim-asan; do
	tests=$(for n in "${names[@]}"; do [ "$(of "$n" build)" != $b ] || of "$n" run; done | sort -u | paste -sd'|')
	[ -n "$tests" ] || continue
	echo "without a fault, $b: $tests"
	build $b >"$logs/unpatched-$b.log" 2>&1 || { cat "$logs/unpatched-$b.log"; exit 1; }
	run $b "$tests" >"$logs/unpatched-$b.log" || { tail -40 "$logs/unpatched-$b.log"; echo "run.sh: the tests fail without any fault" >&2; exit 1; }
	if grep -q '^ *--- SKIP' "$logs/unpatched-$b.log"; then echo "run.sh: a test is skipped" >&2; exit 1; fi
done

bad=0
table=$logs/table.md
: >"$table"
for n in "${names[@]}"; do
	b=$(of "$n" build) log=$logs/$n.log
	plant "$n"
	build "$b" >"$log" 2>&1 || { cat "$log"; echo "run.sh: $n does not compile" >&2; exit 1; }
	start=$(date +%s%N)
	failed=0
	run "$b" "$(of "$n" run)" $(of "$n" env) >"$log" || failed=$?
	seconds=$(awk "BEGIN { printf \"%.1f\", ($(date +%s%N) - $start) / 1e9 }")
	plant "$n" -R
	# The first line that is expected, and the test that was running.
	found=$(awk -v want="$(of "$n" expect | sed 's/\\/\\\\/g')" '/^=== (RUN|CONT|NAME)/ { test = $3 } $0 ~ want { print test "\t" $0; exit }' "$log")
	if [ $failed = 0 ] || [ $failed = 124 ] || [ -z "$found" ]; then
		tail -30 "$log"
		echo "run.sh: $n: not noticed as expected (status $failed; $log)" >&2
		bad=1
		continue
	fi
	by=${found%%$'\t'*}
	message=$(sed -E "s|$tree/||g; s/^ *//; s/0x[0-9a-f]+/0x…/g; s/\|/\\\\|/g; s/[*_<>]/\\\\&/g" <<<"${found#*$'\t'}" | cut -c1-180)
	echo "$n: $by: $message (${seconds} s)"
	echo "| $(of "$n" fault) | $(of "$n" where | sed 's/_/\\_/g') | $by$([ "$b" = sim ] || echo ', AddressSanitizer') | $message | $seconds |" >>"$table"
done
[ $bad = 0 ] || exit 1
[ $# -gt 0 ] || {
	cat <<-END
	# Planted faults

	Made by \`make faults\` on $(date -u +%F), commit $(git rev-parse --short=12 HEAD)$(git diff --quiet HEAD -- kernels gpu nn train || echo ' with changes'). Everything ran on the
	simulator (kernels/sim), nothing on a GPU. Each fault is a patch beside this file; seconds are those of the test.

	| fault | planted in | caught by | what it says first | seconds |
	|---|---|---|---|---|
	END
	cat "$table"
} >"$table.new" && { [ $# -gt 0 ] || mv "$table.new" $here/TABLE.md; }
