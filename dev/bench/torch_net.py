"""SongUNet in PyTorch: the network `ict` is timed against.

F(x, c_noise, labels) of NCSN++ and DDPM++ with their published layout, under EDM's parameter names. It is written to
be fast on a CPU: one fused attention call, depthwise convolutions for the FIR filter, no copies between layouts.

Images are NCHW (memory may be channels_last), labels one-hot rows [images, classes]. The 3C rows of `qkv` are in the
order (3, head, d); `rows_from_edm` converts EDM's (head, d, 3). Sources: [EDM] [ScoreSDE].
"""

import dataclasses
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

HALF = math.sqrt(0.5)


@dataclasses.dataclass(frozen=True)
class Config:
    """Shape of one network. `ncsnpp` means Fourier features, FIR filter and input pyramid, `ddpmpp` none of them."""

    arch: str = "ncsnpp"
    resolution: int = 32
    image_channels: int = 3
    channels: int = 128
    mult: tuple = (2, 2, 2)
    blocks: int = 4
    attention: tuple = (16,)
    classes: int = 0
    fourier_scale: float = 0.02

    def __post_init__(self):
        if self.arch not in ("ncsnpp", "ddpmpp"):
            raise ValueError(f"torch_net: arch: got {self.arch!r}, want 'ncsnpp' or 'ddpmpp'")
        if self.resolution % 2 ** (len(self.mult) - 1):
            raise ValueError(f"torch_net: resolution: {self.resolution} cannot be halved {len(self.mult) - 1} times")


# The two networks that are timed.
PRESETS = {
    "demo": Config(resolution=28, image_channels=1, channels=16, mult=(1, 2, 4), blocks=1, attention=(7,), classes=10),
    "ncsnpp28": Config(resolution=28, image_channels=1, channels=32, mult=(1, 2), blocks=2, attention=(14,)),
}


def xavier(weight, gain=1.0):
    """Uniform in ±gain·√(6/(fan_in + fan_out))."""
    fan = (weight.shape[0] + weight.shape[1]) * weight[0, 0].numel()
    with torch.no_grad():
        weight.uniform_(-1, 1).mul_(gain * math.sqrt(6 / fan))


def conv(cin, cout, size, gain=1.0, **kw):
    layer = nn.Conv2d(cin, cout, size, **kw)
    xavier(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def linear(cin, cout):
    layer = nn.Linear(cin, cout)
    xavier(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def norm(channels):
    return nn.GroupNorm(min(32, channels // 4), channels, eps=1e-6)


class Fourier(nn.Module):
    """[sin(2π w c), cos(2π w c)] of c_noise for fixed frequencies w ~ N(0, scale²)."""

    def __init__(self, features, scale):
        super().__init__()
        self.register_buffer("freqs", torch.randn(features // 2) * scale)

    def forward(self, c_noise):
        a = torch.outer(c_noise, 2 * math.pi * self.freqs)
        return torch.cat([a.sin(), a.cos()], dim=1)


class Positional(nn.Module):
    """[sin(w c), cos(w c)] of c_noise with w from 1 to 1/10000, both ends included."""

    def __init__(self, features):
        super().__init__()
        half = features // 2
        w = torch.arange(half, dtype=torch.float64).div(half - 1).mul(-math.log(10000)).exp()
        self.register_buffer("freqs", w, persistent=False)

    def forward(self, c_noise):
        a = torch.outer(c_noise, self.freqs.to(c_noise.dtype))
        return torch.cat([a.sin(), a.cos()], dim=1)


class Resample(nn.Module):
    """Halves, doubles or (`same`) smooths images: FIR [1, 3, 3, 1] per axis, or the box [1, 1] of DDPM++.

    Outside the image is zero. `same` pads by 2 and returns size + 1, what a 3x3 convolution of stride 2 without padding
    turns into size / 2.
    """

    def __init__(self, kind, channels, fir):
        super().__init__()
        self.kind, self.channels, self.fir = kind, channels, fir
        if fir:
            k = torch.tensor([1.0, 3.0, 3.0, 1.0]) / (4 if kind == "up" else 8)
            k = torch.outer(k, k).expand(channels, 1, 4, 4).contiguous()
            self.register_buffer("kernel", k, persistent=False)

    def forward(self, x):
        if self.fir:
            if self.kind == "up":
                return F.conv_transpose2d(x, self.kernel, stride=2, padding=1, groups=self.channels)
            stride, padding = (2, 1) if self.kind == "down" else (1, 2)
            return F.conv2d(x, self.kernel, stride=stride, padding=padding, groups=self.channels)
        return F.avg_pool2d(x, 2) if self.kind == "down" else F.interpolate(x, scale_factor=2, mode="nearest")


class Block(nn.Module):
    """Residual block with optional resampling, then self-attention with one head if asked for."""

    def __init__(self, cin, cout, embedding, resample=None, attention=False, fir=False):
        super().__init__()
        self.norm0 = norm(cin)
        self.resample = Resample(resample, cin, fir) if resample else None
        self.conv0 = conv(cin, cout, 3, padding=1)
        self.affine = linear(embedding, cout)
        self.norm1 = norm(cout)
        self.conv1 = conv(cout, cout, 3, gain=1e-5, padding=1)
        self.skip = conv(cin, cout, 1) if resample or cin != cout else None
        self.norm2 = None
        if attention:
            self.norm2 = norm(cout)
            self.qkv = conv(cout, 3 * cout, 1, gain=math.sqrt(0.2))
            self.proj = conv(cout, cout, 1, gain=1e-5)

    def forward(self, x, emb):
        h = F.silu(self.norm0(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = self.conv0(h) + self.affine(emb)[:, :, None, None]
        h = self.conv1(F.silu(self.norm1(h)))
        h = (h + (x if self.skip is None else self.skip(x))) * HALF
        return h if self.norm2 is None else self.attend(h)

    def attend(self, x):
        n, c, height, width = x.shape
        qkv = self.qkv(self.norm2(x)).permute(0, 2, 3, 1).reshape(n, 1, height * width, 3 * c)
        a = F.scaled_dot_product_attention(*qkv.split(c, dim=3))
        a = a.reshape(n, height, width, c).permute(0, 3, 1, 2)
        return (self.proj(a) + x) * HALF


class SongUNet(nn.Module):
    """The raw network F of a Config; images in and out are [n, image_channels, resolution, resolution]."""

    def __init__(self, config):
        super().__init__()
        base, fir = config.channels, config.arch == "ncsnpp"
        features, embedding = base * (2 if fir else 1), 4 * base
        self.map_noise = Fourier(features, config.fourier_scale) if fir else Positional(features)
        self.map_label = linear(config.classes, features) if config.classes else None
        self.map_layer0 = linear(features, embedding)
        self.map_layer1 = linear(embedding, embedding)

        def block(cin, cout, **kw):
            return Block(cin, cout, embedding, fir=fir, **kw)

        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        sizes = [config.resolution >> level for level in range(len(config.mult))]
        c, aux, skips = base, config.image_channels, [base]
        self.enc[f"{sizes[0]}x{sizes[0]}_conv"] = conv(config.image_channels, base, 3, padding=1)
        for size, mult in zip(sizes, config.mult):
            if size != sizes[0]:
                self.enc[f"{size}x{size}_down"] = block(c, c, resample="down")
                if fir:
                    self.enc[f"{size}x{size}_aux_filter"] = Resample("same", aux, fir)
                    self.enc[f"{size}x{size}_aux_residual"] = conv(aux, c, 3, stride=2)
                    aux = c
                skips.append(c)
            for i in range(config.blocks):
                self.enc[f"{size}x{size}_block{i}"] = block(c, base * mult, attention=size in config.attention)
                c = base * mult
                skips.append(c)
        for size, mult in zip(reversed(sizes), reversed(config.mult)):
            if size == sizes[-1]:
                self.dec[f"{size}x{size}_in0"] = block(c, c, attention=True)
                self.dec[f"{size}x{size}_in1"] = block(c, c)
            else:
                self.dec[f"{size}x{size}_up"] = block(c, c, resample="up")
            for i in range(config.blocks + 1):
                last = i == config.blocks and size in config.attention
                self.dec[f"{size}x{size}_block{i}"] = block(c + skips.pop(), base * mult, attention=last)
                c = base * mult
        self.dec[f"{sizes[0]}x{sizes[0]}_aux_norm"] = norm(c)
        self.dec[f"{sizes[0]}x{sizes[0]}_aux_conv"] = conv(c, config.image_channels, 3, gain=1e-5, padding=1)

    def forward(self, x, c_noise, labels=None):
        emb = self.map_noise(c_noise)
        if self.map_label is not None:
            emb = emb + self.map_label(labels * math.sqrt(labels.shape[1]))
        emb = F.silu(self.map_layer1(F.silu(self.map_layer0(emb))))

        h, aux, skips = x, x, []
        for name, layer in self.enc.items():
            if name.endswith("_aux_filter"):
                aux = layer(aux)
            elif name.endswith("_aux_residual"):
                # The sum with the pyramid takes the place of the skip of the block before it.
                h = aux = skips[-1] = (skips[-1] + layer(aux)) * HALF
            else:
                h = layer(h, emb) if isinstance(layer, Block) else layer(h)
                skips.append(h)
        for name, layer in self.dec.items():
            if "_block" in name:
                h = layer(torch.cat([h, skips.pop()], dim=1), emb)
            elif isinstance(layer, Block):
                h = layer(h, emb)
            elif name.endswith("_aux_norm"):
                h = F.silu(layer(h))
            else:
                h = layer(h)
        return h


def count(net):
    """Number of trained scalars; the Fourier frequencies are a buffer and do not count."""
    return sum(p.numel() for p in net.parameters())


def rows_from_edm(t):
    """Reorders the 3C rows of a `qkv` weight or bias from EDM's (d, 3) to (3, d), one head."""
    return t.reshape(-1, 3, *t.shape[1:]).transpose(0, 1).reshape(t.shape)
