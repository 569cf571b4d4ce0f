"""Checks that the timed PyTorch network and step are the ones `ict` computes.

    python dev/golden/check_torch_net.py DIR

DIR holds parity files (`*.safetensors`, format ict-parity-1). Every SongUNet file of kind network, step and train and
the optimiser's is recomputed in float32 with dev/bench/torch_net.py and torch_step.py and judged by its own fp32
ceilings; step and network files in both memory layouts. Parameter counts are those of the published networks. Needs
torch 2.9.1 and nothing else. Exit status 1 if anything is off.
"""

import json
import math
import pathlib
import struct
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "bench"))
import torch_net
import torch_step
from torch_net import Config

# Trained scalars, golden numbers M-1; the last two are the networks that are timed.
COUNTS = [
    (Config(), 56_395_523),
    (Config(arch="ddpmpp"), 55_732_739),
    (Config(classes=10), 56_398_339),
    (Config(blocks=8), 97_610_499),
    (Config(mult=(1, 2, 2, 2)), 62_758_787),
    (Config(channels=64, mult=(1, 2, 2), blocks=2), 7_081_923),
    (Config(resolution=16, channels=32, mult=(1, 2), blocks=1, attention=(8,)), 754_883),
    (torch_net.PRESETS["ncsnpp28"], 1_036_769),
    (torch_net.PRESETS["demo"], 750_401),
]

LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}


def load(path):
    """Metadata and float32 or integer tensors of a safetensors file."""
    data = path.read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    meta = {k: json.loads(v) if v.startswith("{") else v for k, v in header.pop("__metadata__").items()}
    kinds = {"F32": torch.float32, "F64": torch.float64, "I32": torch.int32, "I64": torch.int64}
    body, tensors = bytearray(data[8 + size :]), {}
    for name, t in header.items():
        begin, end = t["data_offsets"]
        kind = kinds[t["dtype"]]
        tensors[name] = torch.frombuffer(body, dtype=kind, offset=begin, count=(end - begin) // kind.itemsize).view(t["shape"])
    return meta, tensors


def config_of(model):
    """Config of a file's `model`; fields that SongUNet here does not vary must have the value it assumes."""
    arch = "ncsnpp" if model["embedding_type"] == "fourier" else "ddpmpp"
    want = {
        "ncsnpp": dict(channel_mult_noise=2, encoder_type="residual", resample_filter=[1, 3, 3, 1]),
        "ddpmpp": dict(channel_mult_noise=1, encoder_type="standard", resample_filter=[1, 1]),
    }[arch]
    want |= dict(decoder_type="standard", noise_factor=0.25, out_channels=model["in_channels"])
    for field, value in want.items():
        if model[field] != value:
            raise ValueError(f"check_torch_net: {field}: got {model[field]!r}, want {value!r}")
    return Config(
        arch=arch,
        resolution=model["img_resolution"],
        image_channels=model["in_channels"],
        channels=model["model_channels"],
        mult=tuple(model["channel_mult"]),
        blocks=model["num_blocks"],
        attention=tuple(model["attn_resolutions"]),
        classes=model["label_dim"],
        fourier_scale=model["fourier_scale"],
    )


def under(tensors, prefix):
    """The tensors whose names start with prefix, without it and with the network's order of qkv rows."""
    found = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
    return {k: torch_net.rows_from_edm(v) if ".qkv." in k else v for k, v in found.items()}


def network(meta, tensors, layout):
    net = torch_net.SongUNet(config_of(meta["model"]))
    net.load_state_dict(under(tensors, "param/"))
    return net.to(memory_format=LAYOUTS[layout])


def error(got, ref):
    """‖got − ref‖ / ‖ref‖ in float64."""
    got, ref = got.detach().double(), ref.double()
    return ((got - ref).norm() / ref.norm()).item()


def worst(pairs):
    return max(error(got, ref) for got, ref in pairs)


def gradient_pairs(net, tensors):
    grads = under(tensors, "grad/")
    grads.pop("x", None)
    got = {k: p.grad for k, p in net.named_parameters()}
    if got.keys() != grads.keys():
        raise ValueError(f"check_torch_net: parameters: {sorted(got.keys() ^ grads.keys())} on one side only")
    return [(got[k], ref) for k, ref in grads.items()]


def check_network(meta, tensors, layout):
    net = network(meta, tensors, layout)
    x = tensors["in/x"].clone(memory_format=LAYOUTS[layout]).requires_grad_()
    out = net(x, tensors["in/c_noise"], tensors.get("in/labels"))
    out.backward(tensors["in/dy"])
    pairs = gradient_pairs(net, tensors) + [(x.grad, tensors["grad/x"])]
    return {"out": error(out, tensors["out/F"]), "grad": worst(pairs)}


def check_step(meta, tensors, layout):
    net = network(meta, tensors, layout)
    trainer = torch_step.Trainer(net, meta["objective"]["huber_c"])
    x, z = (tensors[k].contiguous(memory_format=LAYOUTS[layout]) for k in ("in/x", "in/z"))
    grid, i = torch_step.karras(meta["objective"]["grid_points"]), tensors["in/i"].long()
    student, teacher, loss = trainer.losses(x, z, grid[i], grid[i - 1], tensors.get("in/labels"))
    loss.mean().backward()
    return {
        "out": max(error(student, tensors["out/student"]), error(teacher, tensors["out/teacher"])),
        "loss": error(loss, tensors["out/loss"]),
        "grad": worst(gradient_pairs(net, tensors)),
    }


def check_train(meta, tensors, layout):
    net = network(meta, tensors, layout)
    start = under(tensors, "param/")
    trainer = torch_step.Trainer(net, meta["objective"]["huber_c"])
    use_optimizer(trainer, meta["optimizer"])
    labels, losses = tensors.get("in/labels"), []
    for k, points in enumerate(meta["objective"]["grid_points"]):
        grid, i = torch_step.karras(points), tensors["in/i"][k].long()
        rows = labels[k] if labels is not None else None
        losses.append(trainer.step(tensors["in/x"][k], tensors["in/z"][k], grid[i], grid[i - 1], rows))
    names = [k for k, _ in net.named_parameters()]
    ref, ema = under(tensors, "out/param/"), under(tensors, "out/ema/")

    def flat(values):
        return torch.cat([v.detach().double().flatten() for v in values])

    got, want, before = flat(trainer.params), flat(ref[k] for k in names), flat(start[k] for k in names)
    return {
        "loss": error(torch.tensor(losses), tensors["out/loss"]),
        "change": ((got - want).norm() / (want - before).norm()).item(),
        "ema": error(flat(trainer.average), flat(ema[k] for k in names)),
    }


def use_optimizer(trainer, o):
    for group in trainer.optimizer.param_groups:
        group.update(lr=o["lr"], betas=(o["beta1"], o["beta2"]), eps=o["eps"])
    trainer.ema = o["ema"]


class Vector(torch.nn.Module):
    def __init__(self, theta):
        super().__init__()
        self.theta = torch.nn.Parameter(theta.clone())


def check_optimizer(meta, tensors, layout):
    trainer = torch_step.Trainer(Vector(tensors["in/theta0"]), 0.0)
    use_optimizer(trainer, meta["optimizer"])
    pairs = []
    for k, grad in enumerate(tensors["in/grads"]):
        trainer.params[0].grad = grad.clone()
        trainer.update()
        pairs.append((trainer.params[0].detach().clone(), tensors["out/theta"][k]))
        pairs.append((trainer.average[0].clone(), tensors["out/ema"][k]))
    return {"out": worst(pairs)}


CHECKS = {
    "network": (check_network, LAYOUTS),
    "step": (check_step, LAYOUTS),
    "train": (check_train, ["nchw"]),
    "optimizer": (check_optimizer, ["nchw"]),
}


def describe(c):
    text = f"{c.arch} {c.resolution}x{c.resolution}x{c.image_channels}, {c.channels} channels, {c.mult}, {c.blocks} blocks"
    return f"{text}, attention at {c.attention}, {c.classes} classes"


def main():
    if len(sys.argv) != 2:
        raise SystemExit("usage: check_torch_net.py DIR")
    torch.manual_seed(0)
    bad = checked = 0
    for config, want in COUNTS:
        with torch.device("meta"):
            got = torch_net.count(torch_net.SongUNet(config))
        ok = got == want
        bad += not ok
        print(f"{'ok  ' if ok else 'BAD '} parameters {got:>11,} want {want:>11,}  {describe(config)}")
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.safetensors")):
        meta, tensors = load(path)
        if meta["kind"] not in CHECKS or meta.get("model", {}).get("arch", "song") != "song":
            print(f"     {path.name}: {meta['kind']} of {meta.get('model', {}).get('arch', '-')}: not this script's")
            continue
        check, layouts = CHECKS[meta["kind"]]
        for layout in layouts:
            for group, got in check(meta, tensors, layout).items():
                ceiling = meta["tolerance"]["fp32"][group]
                ok = math.isfinite(got) if ceiling is None else got <= ceiling
                bad += not ok
                checked += 1
                print(f"{'ok  ' if ok else 'BAD '} {path.stem} {layout}: {group} {got:.2e}, ceiling {ceiling}")
    if not checked:
        raise SystemExit(f"check_torch_net: {sys.argv[1]}: no parity file of a SongUNet")
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
