#!/usr/bin/env bash
# gpu-check: everything that a machine with a GPU can prove, without Go or nvcc there. make gpu-check-pack lays this script as
# run.sh beside the binaries; the folder is carried there.
#
#   run.sh [-o RESULTS] [STEP...]    steps (all): doctor kernels parity-fp32 parity-tf32 parity-bf16 parity-fp16 sanitize-memcheck
#                                    sanitize-racecheck sanitize-synccheck sanitize-initcheck train graph resume bench
#
# RESULTS (results/DATE-COMMIT beside the script) gets a log of each step, summary.tsv and summary.txt. A step that fails ends
# nothing; the exit code is 1 where one failed. Steps that cannot run say why, and are not counted as passed.
# Environment: ICT, GPU_TEST, PARITY name the program, the test binary and the folder of parity files; DEVICE (cuda) and
# STEP_TIMEOUT (30m) what they say.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
ict=$(realpath "${ICT:-$here/ict}") test=$(realpath "${GPU_TEST:-$here/gpu.test}") parity=$(realpath "${PARITY:-$here/parity}")
device=${DEVICE:-cuda} limit=${STEP_TIMEOUT:-30m}
unset ICT_SYNC ICT_POISON ICT_NO_GRAPH ICT_PRECISION ICT_DEVICE # what would change the steps
all='doctor kernels parity-fp32 parity-tf32 parity-bf16 parity-fp16 sanitize-memcheck sanitize-racecheck sanitize-synccheck
	sanitize-initcheck train graph resume bench'

usage() { sed -n 's/^#   \(run.sh\)/usage: \1/p; s/^#    \{20\}/ /p' "$0" >&2; exit 2; }
for f in "$ict" "$test"; do [ -x "$f" ] || { echo "gpu-check: $f is not there, or not executable" >&2; exit 2; }; done
results=
while getopts o: option; do case $option in o) results=$OPTARG ;; *) usage ;; esac; done
shift $((OPTIND - 1))
for step in "$@"; do [[ " ${all//[$'\n\t']/ } " == *" $step "* ]] || { echo "gpu-check: no step $step" >&2; usage; }; done
steps=${*:-$all}

commit=$("$ict" version | sed -n 's/^ict \([^ ]*\) of .*/\1/p')
results=${results:-$here/results/$(date -u +%Y-%m-%dT%H%M%SZ)-$commit}
mkdir -p "$results" || exit 2
results=$(cd "$results" && pwd)
[ -z "$(ls -A "$results")" ] || { echo "gpu-check: $results is not empty" >&2; exit 2; }
cd "$results" || exit 2
gpu=$("$ict" doctor --device "$device" --json 2>/dev/null | sed -n 's/^  "device": "\(.*\)"$/\1/p')
simulated=
[[ $gpu == *"not a GPU"* ]] && simulated=yes

# ---- steps: exit code 0 ok, 77 did not run (why is the last line of the log), anything else failed

doctor() { "$ict" doctor --device "$device"; }

# Tests skip where there is no device; that proves nothing.
tested() {
	echo "passed $(grep -c '^--- PASS' "$step.log"), skipped $(grep -c '^--- SKIP' "$step.log")"
	grep -q '^--- PASS' "$step.log" && ! grep -q 'needs a GPU' "$step.log" || { echo "tests were skipped because there is no GPU"; return 1; }
}

kernels() { "$test" -test.v -test.timeout "$limit" && tested; }

# A process for each file: one that crashes hides no other.
parity() {
	local file wrong='' n=0
	for file in "$parity"/*.safetensors; do
		n=$((n + 1))
		"$ict" parity --device "$device" --precision "$1" "$file" || wrong+=" $(basename "$file" .safetensors)"
	done
	echo "$n files${wrong:+, not passed:$wrong}"
	[ -z "$wrong" ]
}

# The kernels on their awkward shapes, one test of each column; programs as a whole take too long under a sanitizer.
sanitize() {
	local sanitizer
	[ -z "$simulated" ] || { echo "the simulator is no target of compute-sanitizer"; return 77; }
	sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | tail -1)
	[ -n "$sanitizer" ] || { echo "compute-sanitizer is not on this machine; it comes with the CUDA toolkit"; return 77; }
	"$sanitizer" --tool "$1" --report-api-errors no --error-exitcode 99 --print-limit 20 "$test" -test.v -test.timeout "$limit" \
		-test.run '^Test(Conv2d|Half|Linear|GroupNorm|Attention|Resample|Pointwise|Cast|Precond|Embed|Random|Perturb|Loss|Optim|Reduce)$' && tested
}

# Twenty steps of a small network, from the same seed each time.
training() {
	local out=$1
	shift
	[ -e shapes.pack ] || "$ict" data make shapes --n 256 --size 8 --out shapes.pack || return
	"$ict" train --preset tiny --data shapes.pack --out "$out" --device "$device" --steps 20 --batch 4 --set model.channels=8 --set model.mult=1,1 \
		--set every.grid=0 --set every.snapshot=0 "$@"
}

hashes() { (cd "$1/states/$(tail -1 "$1/states/latest")" && sha256sum -- *.safetensors); }

# same A B demands the same weights, averages and moments in every bit.
same() {
	local a b
	a=$(hashes "$1") && b=$(hashes "$2") && [ -n "$a" ] || { echo "no state to compare in $1 or $2"; return 1; }
	echo "$a"
	[ "$a" = "$b" ] && { echo "$1 and $2 are the same in every bit"; return; }
	echo "$2 differs:"
	echo "$b"
	return 1
}

train() { training runs/graph && training runs/again && same runs/graph runs/again; }

compared() { [ -e runs/graph/states/latest ] || { echo "step train has left nothing to compare with"; return 77; }; }

graph() { compared && training runs/no-graph --no-graph && same runs/graph runs/no-graph; }

resume() {
	compared || return
	training runs/resumed --stop-at 9
	[ $? -eq 10 ] || { echo "stopping at step 9: want exit code 10"; return 1; }
	training runs/resumed && same runs/graph runs/resumed
}

bench() {
	local preset code=0 last=0
	for run in 'mnist 256' 'cifar10 128'; do
		read -r preset batch <<<"$run"
		"$ict" bench step --device "$device" --preset "$preset" --batch "$batch" --json | tee "bench-$preset.json"
		last=${PIPESTATUS[0]}
		[ "$last" -eq 0 ] || code=$last
	done
	if [ -n "$simulated" ] && [ $code -eq 2 ]; then
		echo "the program refuses to time the simulator"
		return 77
	fi
	sed -n 's/^  "preset": "\(.*\)",/\1/p; s/^  "img_per_s": \(.*\),/\1 images\/s/p' bench-*.json | paste -sd ' '
	return $code
}

# ---- the run

failed=0 begun=$(date -u +%Y-%m-%dT%H:%M:%SZ)
printf 'step\tverdict\tseconds\tsays\n' >summary.tsv
for step in $steps; do
	begin=$(date +%s.%N)
	case $step in
	parity-* | sanitize-*) command=("${step%%-*}" "${step#*-}") ;;
	*) command=("$step") ;;
	esac
	printf '%-20s ' "$step"
	"${command[@]}" >"$step.log" 2>&1
	code=$?
	seconds=$(awk -v b="$begin" -v e="$(date +%s.%N)" 'BEGIN { printf "%.1f", e - b }')
	says=$(grep -v '^[[:space:]]*$' "$step.log" | tail -1 | cut -c1-160 | tr '\t' ' ')
	case $code in
	0) verdict=ok ;;
	77) verdict='not run' ;;
	*) verdict=FAILED says="exit code $code: $says" failed=$((failed + 1)) ;;
	esac
	printf '%-8s %8s s  %s\n' "$verdict" "$seconds" "$says"
	printf '%s\t%s\t%s\t%s\n' "$step" "$verdict" "$seconds" "$says" >>summary.tsv
done
{
	echo "gpu-check of $begun, ict $commit"
	"$ict" version
	echo "device: ${gpu:-none that works; see doctor.log}"
	[ -z "$simulated" ] || echo "This is the simulator: nothing here has run on a GPU."
	uname -srm
	echo
	column -t -s $'\t' summary.tsv 2>/dev/null || cat summary.tsv
	echo
	awk -F'\t' 'NR > 1 { n[$2]++ } END { printf "%d ok, %d failed, %d not run\n", n["ok"], n["FAILED"], n["not run"] }' summary.tsv
} >summary.txt
echo
sed -n '$p' summary.txt
echo "results: $results"
[ "$failed" -eq 0 ]
