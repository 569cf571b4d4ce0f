#!/usr/bin/env python3
"""What the machine code of the kernels takes: a table from ptxas' logs and the disassembly. Nothing in it is a speed.

  dev/resources.py table CUOBJDUMP NAMES OBJECT...    writes the table to stdout. What ptxas -v said lies beside each OBJECT.o in OBJECT.log;
                                                      folder NAMES holds objects of the same name with PTX, made with ICT_SHARED_NAMES
  dev/resources.py check COMMITTED BUILT              fails where BUILT is worse than COMMITTED

Columns, a row for each kernel and target, sorted:

  registers stack spill_stores spill_loads     of a thread; bytes (ptxas)
  threads                                      of a block: its __launch_bounds__
  shared                                       bytes of a block: static, and what it names by shared<S>(). Some launchers ask for a tail beyond
                                               S that depends on the sizes; it is not known here
  blocks                                       that fit on a multiprocessor at a time, from the four above; with a tail, at most
  ldl stl                                      loads from and stores to local memory in all of the code: want none
  loop                                         instructions of the innermost loop that works on tensor cores, else of the innermost with most
                                               FFMA, else of the longest innermost; "-": no loop
  tensor                                       percent of them on tensor cores
  global to_shared from_shared                 loads in the loop as BYTESxCOUNT a thread: LDG; LDGSTS; LDS, and ldmatrix as mBYTESxCOUNT
  barriers                                     in the loop

Worse is: more stack, spills, ldl or stl; fewer blocks; more registers than any kernel of that file and target had; a kernel
that the table does not know, or one that is gone. Everything else is to be read, not judged.
"""
import os
import re
import subprocess
import sys
from collections import Counter

COLUMNS = ("file arch kernel registers stack spill_stores spill_loads threads shared blocks ldl stl loop tensor "
           "global to_shared from_shared barriers").split()

# Of a multiprocessor: threads, blocks, bytes of shared memory. CUDA C++ Programming Guide, "Technical Specifications per
# Compute Capability"; registers are 65,536 everywhere, given out to warps by 256, and to warps in fours.
LIMITS = {"80": (2048, 32, 164 << 10), "86": (1536, 16, 100 << 10), "89": (1536, 24, 100 << 10), "90": (2048, 32, 228 << 10),
          "100": (2048, 32, 228 << 10), "120": (1536, 24, 100 << 10)}


def up(n, unit):
    return -(-n // unit) * unit


def blocks(arch, registers, threads, shared):
    """Resident blocks per multiprocessor, or None where something is not known."""
    limits = LIMITS.get(arch.removeprefix("sm_").rstrip("af"))
    if limits is None or threads is None:
        return None
    most_threads, most_blocks, most_shared = limits
    warps = up(threads, 32) // 32
    by_registers = 65536 // up(32 * registers, 256) // 4 * 4 // warps
    return min(most_threads // (32 * warps), most_blocks, by_registers, most_shared // up(shared + 1024, 128))  # 1 KB is the system's


def demangled(names):
    names = list(names)
    out = subprocess.run(["c++filt", "-p"], input="\n".join(names), text=True, capture_output=True, check=True).stdout.splitlines()
    return dict(zip(names, out))


def from_log(path):
    """(target, kernel) → registers, stack, spilled bytes, static shared memory, as ptxas -v says."""
    found, key = {}, None
    for line in open(path, encoding="utf-8", errors="replace"):
        if m := re.search(r"Compiling entry function '(\w+)' for '(\w+)'", line):
            key = m[2], m[1]
            found[key] = dict(stack=0, spill_stores=0, spill_loads=0)
        elif key and (m := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line)):
            found[key] |= zip(("stack", "spill_stores", "spill_loads"), map(int, m.groups()))
        elif key and (m := re.search(r"Used (\d+) registers", line)):
            shared = re.search(r"(\d+) bytes smem", line)
            found[key] |= dict(registers=int(m[1]), shared=int(shared[1]) if shared else 0)
            key = None
    return found


def from_ptx(lines):
    """kernel → threads of a block, bytes that shared<S>() names (kernels/intrin.cuh)."""
    found, kernel = {}, None
    for line in lines:
        if m := re.search(r"\.entry (\w+)", line):
            kernel = found[m[1]] = dict(threads=None, named=0)
        elif kernel and (m := re.match(r"\s*\.(?:maxntid|reqntid) (\d+)(?:, *(\d+))?(?:, *(\d+))?", line)):
            kernel["threads"] = int(m[1]) * int(m[2] or 1) * int(m[3] or 1)
        elif kernel and (m := re.search(r"\bshared_bytes_(\d+)\b", line)):
            kernel["named"] = max(kernel["named"], int(m[1]))
    return found


def from_sass(lines):
    """(target, kernel) → [(address, instruction)]."""
    found, target, code = {}, None, None
    for line in lines:
        if m := re.match(r"\s*/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;", line):
            if code is not None:
                code.append((int(m[1], 16), m[2]))
        elif m := re.match(r"\s*code for (\w+)", line):
            target = m[1]
        elif m := re.match(r"\s*Function : (\w+)", line):
            code = found[target, m[1]] = []
    return found


def opcode(instruction):
    return re.sub(r"^@!?U?P\w+ +", "", instruction).split()[0]


def width(op):
    """Bytes a thread that a load moves, from its suffixes."""
    for suffix, n in ((".256", 32), (".128", 16), (".64", 8), (".U16", 2), (".S16", 2), (".U8", 1), (".S8", 1)):
        if suffix in op:
            return n
    return 4


def inner_loop(code):
    """The instructions of the loop that the table is about; empty where there is none."""
    spans = set()
    for at, text in code:
        if opcode(text).startswith("BRA") and (m := re.search(r"0x([0-9a-f]+)\W*$", text)) and int(m[1], 16) < at:
            spans.add((int(m[1], 16), at))
    loops = {s: [opcode(text) for at, text in code if s[0] <= at <= s[1]] for s in sorted(spans)}
    hot = {s: ops for s, ops in loops.items() if any(map(tensor, ops))} or loops
    inner = [ops for s, ops in hot.items() if not any(o != s and s[0] <= o[0] and o[1] <= s[1] for o in hot)]
    return max(inner, key=lambda ops: (sum(map(tensor, ops)), sum(o.startswith("FFMA") for o in ops), len(ops)), default=[])


def tensor(op):
    return op.split(".")[0] in ("HMMA", "IMMA", "DMMA", "HGMMA", "IGMMA", "QGMMA", "UTCHMMA", "UTCQMMA", "OMMA", "QMMA")


def listed(counts):
    """16x4,4x1: widest first."""
    return ",".join(f"{k}x{n}" for k, n in sorted(counts.items(), key=lambda c: (str(c[0])[0] == "m", -int(str(c[0]).lstrip("m"))))) or "-"


def of_code(code):
    ops = [opcode(text) for _, text in code]
    loop = inner_loop(code)
    from_shared = Counter(width(o) for o in loop if o.split(".")[0] == "LDS")
    for o in loop:
        if o.startswith("LDSM"):
            from_shared["m%d" % (4 * int(o[-1]) if o[-1] in "24" else 4)] += 1
    return dict(
        ldl=sum(o.startswith("LDL") for o in ops), stl=sum(o.startswith("STL") for o in ops),
        loop=len(loop) or "-", tensor="%.1f" % (100 * sum(map(tensor, loop)) / len(loop)) if loop else "-",
        to_shared=listed(Counter(width(o) for o in loop if o.startswith("LDGSTS"))),
        **{"global": listed(Counter(width(o) for o in loop if o.split(".")[0] == "LDG"))}, from_shared=listed(from_shared),
        barriers=sum(o.startswith(("BAR.", "SYNCS")) for o in loop) if loop else "-")


def dump(cuobjdump, what, path):
    """The lines of a dump, one after the other: some are tens of megabytes."""
    tools = os.path.dirname(os.path.abspath(cuobjdump))
    env = dict(os.environ, PATH=tools + os.pathsep + os.environ["PATH"])  # cuobjdump calls nvdisasm
    with subprocess.Popen([cuobjdump, what, path], stdout=subprocess.PIPE, text=True, env=env) as p:
        yield from p.stdout
    if p.returncode:
        sys.exit(f"resources: {cuobjdump} {what} {path}: exit code {p.returncode}")


def table(cuobjdump, named, objects):
    rows = []
    for path in objects:
        log, sass = from_log(path.removesuffix(".o") + ".log"), from_sass(dump(cuobjdump, "-sass", path))
        ptx = from_ptx(dump(cuobjdump, "-ptx", os.path.join(named, os.path.basename(path))))
        if log.keys() != sass.keys():
            sys.exit(f"resources: {path}: ptxas speaks of other kernels than the disassembly: {sorted(log.keys() ^ sass.keys())[:4]}")
        names = demangled(kernel for _, kernel in log)
        for (arch, kernel), r in log.items():
            p = ptx.get(kernel, dict(threads=None, named=None))
            shared = None if p["named"] is None else r["shared"] + p["named"]
            r |= of_code(sass[arch, kernel]) | dict(file=os.path.basename(path).removesuffix(".o"), arch=arch, kernel=names[kernel], shared=shared,
                                                    threads=p["threads"])
            r["blocks"] = None if shared is None else blocks(arch, r["registers"], p["threads"], shared)
            rows.append(r)
    print("\t".join(COLUMNS))
    for line in sorted("\t".join("-" if r[c] is None else str(r[c]) for c in COLUMNS) for r in rows):
        print(line)


def read(path):
    """(file, target, kernel) → row, numbers as such."""
    with open(path, encoding="utf-8") as f:
        if f.readline().rstrip("\n").split("\t") != COLUMNS:
            sys.exit(f"resources: {path}: other columns; make resources-update writes it anew")
        rows = [dict(zip(COLUMNS, line.rstrip("\n").split("\t"))) for line in f]
    for r in rows:
        r.update({c: int(r[c]) for c in COLUMNS if r[c].isdecimal()})
    found = {(r["file"], r["arch"], r["kernel"]): r for r in rows}
    if len(found) != len(rows):
        sys.exit(f"resources: {path}: a kernel stands there twice")
    return found


def check(committed, built):
    if not os.path.exists(committed):
        sys.exit(f"resources: no table for this toolkit, {committed}; make resources-update writes it")
    old, new, faults, better = read(committed), read(built), [], 0
    most = Counter()
    for (file, arch, _), r in old.items():
        most[file, arch] = max(most[file, arch], r["registers"])
    for key in sorted(old.keys() | new.keys()):
        def fault(text):
            faults.append("%s %s %s: %s" % (*key, text))
        if key not in new or key not in old:
            fault("not built any more" if key in old else "not in the table")
            continue
        a, b = old[key], new[key]
        for c in ("stack", "spill_stores", "spill_loads", "ldl", "stl"):
            if b[c] > a[c]:
                fault(f"{c} {b[c]}, was {a[c]}")
        if b["blocks"] == "-" and a["blocks"] != "-" or b["blocks"] != "-" and a["blocks"] != "-" and b["blocks"] < a["blocks"]:
            fault(f"blocks {b['blocks']}, were {a['blocks']} ({b['registers']} registers, were {a['registers']}; {b['shared']} bytes, were {a['shared']})")
        if b["registers"] > most[key[:2]]:
            fault(f"registers {b['registers']}, at most {most[key[:2]]} in this file until now")
        better += a != b
    for f in faults:
        print("resources: " + f, file=sys.stderr)
    if faults:
        sys.exit(f"resources: {len(faults)} rows worse than {committed}; where that is meant: make resources-update, and commit the table with the reason")
    print(f"resources: {len(new)} rows, none worse than {committed}" + (f"; {better} differ, make resources-update writes them" if better else ""))


if __name__ == "__main__":
    if sys.argv[1:2] == ["table"] and len(sys.argv) > 4:
        table(sys.argv[2], sys.argv[3], sys.argv[4:])
    elif sys.argv[1:2] == ["check"] and len(sys.argv) == 4:
        check(*sys.argv[2:])
    else:
        sys.exit(__doc__)
