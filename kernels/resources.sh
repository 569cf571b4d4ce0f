#!/bin/bash
# resources.sh LOG...: what ptxas -v said of each kernel, as a table: file, architecture, kernel, registers, stack, spill
# bytes, static shared memory, barriers. Dynamic shared memory is the launch's.
set -euo pipefail
printf 'file\tarch\tkernel\tregisters\tstack\tspill_stores\tspill_loads\tshared\tbarriers\n'
for log in "$@"; do
	awk -v file="$(basename "$log" .log)" '
		/Compiling entry function/ { split($0, q, "\047"); kernel = q[2]; arch = q[4]; stack = stores = loads = 0 }
		/bytes stack frame/ { stack = $1; stores = $5; loads = $9 }
		/Used [0-9]+ registers/ {
			if (kernel == "") next
			registers = shared = barriers = 0
			for (i = 1; i < NF; i++) {
				if ($i == "Used") registers = $(i + 1)
				if ($i == "used" && $(i + 2) ~ /^barriers/) barriers = $(i + 1)
				if ($(i + 1) == "bytes" && $(i + 2) ~ /^smem/) shared = $i
			}
			printf "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\n", file, arch, kernel, registers, stack, stores, loads, shared, barriers
			kernel = ""
		}' "$log"
done | c++filt -p | sort
