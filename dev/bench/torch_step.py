"""Times a whole iCT training step of PyTorch on a CPU, the yardstick of `ict bench step`.

One step, as in [iCT]: bytes to images, noise z, a pair of levels r < t per image, teacher at r without gradient,
student at t, pseudo-Huber loss, backward, RAdam, average of the weights. Float32, dropout 0.

    python dev/bench/torch_step.py [--network demo|ncsnpp28|all] [--batch 64] [--threads 2]

Prints one JSON object. Every variant (eager or compiled, NCHW or channels_last) is warmed up first; then the variants
take turns, so that a change in the machine's load meets all of them. `best` names the fastest by median.
"""

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time

# The allocator of glibc hands large buffers back to the system and pays page faults for them in the next step; keeping
# them is worth a few percent. The variables are read when the process starts.
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 36), "MALLOC_TOP_PAD_": str(1 << 26)}
if __name__ == "__main__" and not MALLOC.keys() <= os.environ.keys():
    os.execve(sys.executable, [sys.executable, *sys.argv], {**MALLOC, **os.environ})

import torch
import torch.nn.functional as F

from torch_net import PRESETS, SongUNet, count

SIGMA_MIN, SIGMA_MAX, SIGMA_DATA, RHO = 0.002, 80.0, 0.5, 7.0
P_MEAN, P_STD = -1.1, 2.0
RADAM = dict(lr=1e-4, betas=(0.9, 0.999), eps=1e-8, foreach=True)
EMA = 0.9999


def karras(points):
    """Ascending grid of levels in float64, both ends exact [EDM]."""
    u = torch.linspace(0, 1, points, dtype=torch.float64)
    low, high = SIGMA_MIN ** (1 / RHO), SIGMA_MAX ** (1 / RHO)
    grid = (low + u * (high - low)) ** RHO
    grid[0], grid[-1] = SIGMA_MIN, SIGMA_MAX
    return grid


def pair_cdf(grid):
    """Cumulative probability of the pairs (σ_i, σ_{i+1}), the discretised lognormal of [iCT]."""
    e = torch.erf((grid.log() - P_MEAN) / (math.sqrt(2) * P_STD))
    p = e[1:] - e[:-1]
    return (p / p.sum()).cumsum(0)


def scalings(sigma):
    """c_in, c_skip, c_out, c_noise of levels in float64, CM column; rounded once, rows for images."""
    d = sigma**2 + SIGMA_DATA**2
    c_in = d.rsqrt()
    c_skip = SIGMA_DATA**2 / ((sigma - SIGMA_MIN) ** 2 + SIGMA_DATA**2)
    c_out = (sigma - SIGMA_MIN) * SIGMA_DATA * c_in
    c_in, c_skip, c_out = (c.float()[:, None, None, None] for c in (c_in, c_skip, c_out))
    return c_in, c_skip, c_out, (0.25 * sigma.log()).float()


def consistency(net, x, scale, labels):
    """f(x, σ) = c_skip x + c_out F(c_in x, c_noise)."""
    c_in, c_skip, c_out, c_noise = scale
    return c_skip * x + c_out * net(c_in * x, c_noise, labels)


def pseudo_huber(student, teacher, c):
    """√(‖student − teacher‖² + c²) − c per image, the norm over the whole image, without cancellation."""
    s = (student - teacher).square().sum(dim=(1, 2, 3))
    return s / ((s + c * c).sqrt() + c)


class Trainer:
    """Weights, their average and the optimiser of one network, and the step that moves them."""

    def __init__(self, net, huber_c, compiled=False):
        self.net, self.huber_c = net, huber_c
        self.forward = torch.compile(net) if compiled else net
        self.params = list(net.parameters())
        self.average = [p.detach().clone() for p in self.params]
        self.optimizer = torch.optim.RAdam(self.params, **RADAM)
        self.ema = EMA

    def losses(self, x, z, t, r, labels=None):
        """Student and teacher outputs and λ·d of every image; t > r are levels in float64, one per image."""
        t32, r32 = (s.float()[:, None, None, None] for s in (t, r))
        with torch.no_grad():
            teacher = consistency(self.forward, x + r32 * z, scalings(r), labels)
        student = consistency(self.forward, x + t32 * z, scalings(t), labels)
        weight = (1 / (t - r)).float()
        return student, teacher, weight * pseudo_huber(student, teacher, self.huber_c)

    def step(self, x, z, t, r, labels=None):
        """One update; returns the mean loss of the batch."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.losses(x, z, t, r, labels)[2].mean()
        loss.backward()
        self.update()
        return loss.item()

    def update(self):
        """RAdam on the gradients that are there, then the average."""
        self.optimizer.step()
        torch._foreach_lerp_(self.average, self.params, 1 - self.ema)


class Variant:
    """One way to run the step: eager or compiled, NCHW or channels_last."""

    def __init__(self, config, batch, compiled, layout):
        torch.manual_seed(0)
        self.compiled, self.layout = compiled, layout
        self.format = torch.channels_last if layout == "channels_last" else torch.contiguous_format
        net = SongUNet(config).to(memory_format=self.format)
        # Fresh weights make F nearly 0, and a wrong network would go unnoticed in the loss.
        with torch.no_grad():
            for p in net.parameters():
                p.add_(torch.randn(p.shape), alpha=0.02)
        shape = (config.image_channels, config.resolution, config.resolution)
        self.trainer = Trainer(net, 0.00054 * math.sqrt(math.prod(shape)), compiled)
        self.grid = karras(11)
        self.cdf = pair_cdf(self.grid)
        self.bytes = torch.randint(0, 256, (batch, *shape), dtype=torch.uint8)
        self.labels = F.one_hot(torch.randint(config.classes, (batch,)), config.classes).float() if config.classes else None
        self.seconds = []

    def step(self):
        start = time.perf_counter()
        x = (self.bytes.float() / 127.5 - 1).contiguous(memory_format=self.format)
        z = torch.randn_like(x)
        u = torch.rand(len(x), dtype=torch.float64)
        i = torch.searchsorted(self.cdf, u, right=True).clamp_(max=len(self.cdf) - 1)
        loss = self.trainer.step(x, z, self.grid[i + 1], self.grid[i], self.labels)
        self.seconds.append(time.perf_counter() - start)
        return loss

    def warm_up(self, steps):
        """Returns the losses, from the same weights and draws for every variant of a network."""
        torch.manual_seed(1)
        losses = [self.step() for _ in range(steps)]
        self.seconds.clear()
        return losses

    def result(self, batch):
        q1, median, q3 = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return {
            "mode": "compile" if self.compiled else "eager",
            "layout": self.layout,
            "images_per_s": round(batch / median, 2),
            "ms_median": round(1e3 * median, 2),
            "ms_quartiles": [round(1e3 * q1, 2), round(1e3 * q3, 2)],
            "ms_min": round(1e3 * min(self.seconds), 2),
            "steps": len(self.seconds),
        }


def measure(config, args):
    variants, skipped, first = [], [], None
    for mode in args.modes.split(","):
        for layout in args.layouts.split(","):
            try:
                variant = Variant(config, args.batch, mode == "compile", layout)
                losses = variant.warm_up(args.warmup)
            except Exception as e:
                # A machine without a C++ compiler can still time the eager step.
                if mode != "compile":
                    raise
                skipped.append({"mode": mode, "layout": layout, "reason": f"{type(e).__name__}: {e}".splitlines()[0]})
                continue
            first = first or losses
            # Speed counts only where the numbers agree with those of the first variant.
            worst = max(abs(a - b) / abs(b) for a, b in zip(losses, first))
            if not worst < 1e-3:
                raise SystemExit(f"torch_step: {mode} {layout}: losses {losses}, want {first}")
            variants.append(variant)
    for _ in range(args.rounds):
        for variant in variants:
            for _ in range(args.steps):
                variant.step()
    results = [v.result(args.batch) for v in variants]
    out = {"parameters": count(variants[0].trainer.net), "warmup_losses": first, "variants": results, "skipped": skipped}
    out["best"] = max(results, key=lambda r: r["images_per_s"])
    return out


def cpu_model():
    try:
        with open("/proc/cpuinfo") as f:
            return next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main():
    p = argparse.ArgumentParser(description="times the iCT training step of PyTorch in float32 on a CPU")
    p.add_argument("--network", default="all", choices=[*PRESETS, "all"])
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--modes", default="eager,compile")
    p.add_argument("--layouts", default="nchw,channels_last")
    p.add_argument("--warmup", type=int, default=3, help="steps of each variant before any is timed")
    p.add_argument("--rounds", type=int, default=5, help="turns of each variant")
    p.add_argument("--steps", type=int, default=3, help="timed steps in a turn")
    args = p.parse_args()
    if min(args.batch, args.threads, args.warmup, args.rounds, args.steps) < 1 or args.rounds * args.steps < 2:
        p.error("batch, threads, warmup, rounds, steps: want positive numbers and at least two timed steps")
    if not set(args.modes.split(",")) <= {"eager", "compile"}:
        p.error(f"--modes: got {args.modes}, want eager, compile or both with a comma")
    if not set(args.layouts.split(",")) <= {"nchw", "channels_last"}:
        p.error(f"--layouts: got {args.layouts}, want nchw, channels_last or both with a comma")

    torch.set_num_threads(args.threads)
    load = os.getloadavg()[0]
    names = list(PRESETS) if args.network == "all" else [args.network]
    report = {
        "torch": torch.__version__,
        "cpu": cpu_model(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "precision": "float32",
        "batch": args.batch,
        "networks": {name: measure(PRESETS[name], args) for name in names},
        "load_before": round(load, 2),  # processes of others that want the cores while this one starts
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
