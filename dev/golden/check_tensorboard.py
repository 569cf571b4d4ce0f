"""Reads a run's tb/ with TensorBoard itself and compares with stats.jsonl and grids/: check_tensorboard.py RUN

pip install tensorboard==2.20.0 setuptools==80.9.0
Prints what was compared; exits with 1 where TensorBoard sees something else than the run says.
"""
import json
import math
import pathlib
import sys

import numpy as np
from tensorboard.backend.event_processing import event_accumulator

run = pathlib.Path(sys.argv[1])
board = event_accumulator.EventAccumulator(str(run / "tb"), size_guidance={"scalars": 0, "images": 0})
board.Reload()

want = {}  # tag -> [(step, value)]
for line in (run / "stats.jsonl").read_text().splitlines():
    row = json.loads(line)
    step = row.pop("step")
    for key, value in row.items():
        values = {f"{key}/{i}": v for i, v in enumerate(value)} if isinstance(value, list) else {key: value}
        for tag, v in values.items():
            if v is not None:
                want.setdefault(tag, []).append((step, v))

faults = []
tags = board.Tags()
if set(tags["scalars"]) != set(want):
    faults.append(f"tags {sorted(set(tags['scalars']) ^ set(want))} are on one side alone")
scalars = 0
for tag, rows in want.items():
    got = [(e.step, e.value) for e in board.Scalars(tag)] if tag in tags["scalars"] else []
    scalars += len(got)
    if [s for s, _ in got] != [s for s, _ in rows] or not all(math.isclose(a, np.float32(b), rel_tol=1e-7) for (_, a), (_, b) in zip(got, rows)):
        faults.append(f"{tag}: TensorBoard has {got[:3]}…, stats.jsonl {rows[:3]}…")

pictures = 0
for tag in tags["images"]:
    for e in board.Images(tag):
        grids = {"data": ["data.png"], "grid": [f"step-{e.step:08d}.png", "final.png"] if e.step else ["init.png"]}[tag]
        files = [run / "grids" / name for name in grids if (run / "grids" / name).exists()]
        if not any(f.read_bytes() == e.encoded_image_string for f in files):
            faults.append(f"{tag} of step {e.step} is none of {grids}")
        pictures += 1
if scalars == 0 or pictures == 0:
    faults.append("nothing to compare")
print(f"{run}: {scalars} scalars under {len(want)} tags, {pictures} images", *faults, sep="\n  ")
sys.exit(bool(faults))
