#!/usr/bin/env bash
# The two yardstick networks, ict beside PyTorch, one after the other on the same machine; results to a folder.
#   dev/bench/side_by_side.sh OUT      needs build/ict (make) and PyTorch (pip install torch==2.9.1 numpy)
set -euo pipefail
out=${1:?usage: side_by_side.sh OUT}
here=$(dirname "$0")
mkdir -p "$out"
wide=(--set model.channels=32 --set model.mult=1,2 --set model.blocks=2 --set model.attention=14 --set model.classes=0)
# ict first and last: the two readings show what the machine's other users did to the numbers meanwhile.
build/ict bench step --preset mnist --batch 32 --json >"$out/ict-demo.json"
build/ict bench step --preset mnist "${wide[@]}" --batch 64 --steps 8 --json >"$out/ict-ncsnpp28.json"
python3 "$here/torch_step.py" --network demo --batch 32 --threads 2 --rounds 2 --steps 5 >"$out/torch-demo.json"
python3 "$here/torch_step.py" --network ncsnpp28 --batch 64 --threads 2 --rounds 2 --steps 3 >"$out/torch-ncsnpp28.json"
build/ict bench step --preset mnist --batch 32 --json >"$out/ict-demo-again.json"
build/ict bench step --preset mnist "${wide[@]}" --batch 64 --steps 8 --json >"$out/ict-ncsnpp28-again.json"
python3 "$here/table.py" "$out"
