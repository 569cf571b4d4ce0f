#!/usr/bin/env python3
"""Prints the table of a folder made by side_by_side.sh, and writes it between the README's bench markers with --readme."""
import json
import pathlib
import re
import sys


def load(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


def rows(folder):
    for net, title in (("demo", "NCSN++ 28×28×1, 16 channels, (1,2,4), 1 block, ten classes, batch 32"),
                       ("ncsnpp28", "NCSN++ 28×28×1, 32 channels, (1,2), 2 blocks, batch 64")):
        torch = load(folder, f"torch-{net}")["networks"][net]
        best = torch["best"]
        eager = max((v for v in torch["variants"] if v["mode"] == "eager"), key=lambda v: v["images_per_s"])
        ours = sorted((load(folder, f"ict-{net}"), load(folder, f"ict-{net}-again")), key=lambda r: r["img_per_s"])
        yield title, ours, eager, best


def table(folder):
    first = load(folder, "ict-demo")
    lines = ["| network | ict, images/s (two readings) | PyTorch eager | PyTorch best | ict / best |", "|---|---|---|---|---|"]
    for title, ours, eager, best in rows(folder):
        lo, hi = ours[0]["img_per_s"], ours[1]["img_per_s"]
        lines.append(f"| {title} | {lo:.1f}, {hi:.1f} | {eager['images_per_s']:.1f} | {best['images_per_s']:.1f} ({best['mode']}) | "
                     f"{lo / best['images_per_s']:.2f} … {hi / best['images_per_s']:.2f} |")
    torch = load(folder, "torch-demo")
    lines += ["", f"Medians on {first['threads']} threads of an {first['processor']}; {first['blas'].split(' (')[0]}; PyTorch {torch['torch']}; "
              f"from `dev/bench/{folder.name}`, made by `dev/bench/side_by_side.sh`."]
    return "\n".join(lines)


def main():
    args = [a for a in sys.argv[1:] if a != "--readme"]
    folder = pathlib.Path(args[0])
    text = table(folder)
    print(text)
    if "--readme" in sys.argv:
        readme = pathlib.Path(__file__).parents[2] / "README.md"
        old = readme.read_text()
        new = re.sub(r"(<!-- bench:begin -->\n).*?(<!-- bench:end -->)", lambda m: m[1] + text + "\n" + m[2], old, flags=re.S)
        readme.write_text(new)


if __name__ == "__main__":
    main()
