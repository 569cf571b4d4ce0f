#!/bin/bash
# compile.sh OUT LOG SOURCE COMPILER [FLAG...]: compiles SOURCE to OUT, keeping the object under the hash of its text, of
# every header and of the command, so that nothing is compiled twice. What the compiler said is in LOG. Fails where a
# kernel spills registers.
set -euo pipefail
out=$1 log=$2 source=$3
shift 3
here=$(dirname "$0")
headers=("$here"/*.h "$here"/*.cuh)
case " $* " in *" -DICT_SIM "*) headers+=("$here"/sim/*.h) ;; esac
key=$({ cat "${headers[@]}" "$source"; echo "$source $*"; "$1" --version; } | sha256sum | cut -c1-32)
cache=$(dirname "$out")/cache
mkdir -p "$cache"
if [ ! -e "$cache/$key.o" ]; then
	echo "$(basename "$1") $source"
	if ! "$@" -c "$source" -o "$cache/$key.$$.o" >"$cache/$key.$$.log" 2>&1; then
		cat "$cache/$key.$$.log" >&2
		rm -f "$cache/$key.$$".*
		exit 1
	fi
	mv "$cache/$key.$$.log" "$cache/$key.log"
	mv "$cache/$key.$$.o" "$cache/$key.o" # last: an object means that its log is whole
fi
cp "$cache/$key.o" "$out"
cp "$cache/$key.log" "$log"
grep -E 'warning|error' "$log" >&2 || true
if grep -q 'spilled to local memory' "$log"; then
	echo "$source: a kernel spills registers" >&2
	rm -f "$out"
	exit 1
fi
