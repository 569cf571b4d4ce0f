"""Golden files of package data, made with Pillow: resizing, EXIF orientation, and one small file per image format.

    pip install pillow==12.3.0 numpy==2.4.6
    python dev/golden/data.py            # writes data/testdata/resize.json, orientation.json, images.json

Not Pillow 13: it resamples columns before rows where that is cheaper, other bytes than those of the versions that the
field's data sets and reference statistics were made with. The test makes the inputs of resize.json again from the same
generator, so only the results are stored.
"""

import base64
import io
import json
import pathlib
import struct
import zlib

import numpy as np
import PIL
from PIL import Image, ImageOps

assert PIL.__version__ == "12.3.0", PIL.__version__
OUT = pathlib.Path(__file__).resolve().parents[2] / "data" / "testdata"


def pattern(w, h, c):
    """A gradient in the left half, noise of a linear congruential generator in the right one."""
    state, out = 1, np.zeros((h, w, c), np.uint8)
    for y in range(h):
        for x in range(w):
            for k in range(c):
                state = (state * 1664525 + 1013904223) % 2**32
                out[y, x, k] = (7 * x + 11 * y + 60 * k) % 256 if 2 * x < w else state >> 24
    return out


def image(a):
    return Image.fromarray(a[:, :, 0] if a.shape[2] == 1 else a)


def dhariwal(img, size):
    while min(img.size) >= 2 * size:
        img = img.resize((img.width // 2, img.height // 2), Image.Resampling.BOX)
    scale = size / min(img.size)
    img = img.resize((round(img.width * scale), round(img.height * scale)), Image.Resampling.BICUBIC)
    x, y = (img.width - size) // 2, (img.height - size) // 2
    return img.crop((x, y, x + size, y + size))


def center(img, size):
    side = min(img.size)
    x, y = (img.width - side) // 2, (img.height - side) // 2
    return img.crop((x, y, x + side, y + side)).resize((size, size), Image.Resampling.LANCZOS)


def fit(img, size):
    return img.resize((size, size), Image.Resampling.LANCZOS)


def resize():
    cases = []
    sizes = [(37, 23, 3, 8), (50, 75, 3, 9), (16, 16, 1, 16), (5, 9, 1, 12), (101, 33, 3, 16), (64, 64, 3, 16), (13, 40, 1, 5), (20, 16, 3, 10), (15, 21, 1, 8)]
    for w, h, c, size in sizes:
        for crop in (dhariwal, center, fit):
            got = np.asarray(crop(image(pattern(w, h, c)), size))
            cases.append(dict(crop=crop.__name__, w=w, h=h, c=c, size=size, pixels=got.tobytes().hex()))
    return cases


def orientation():
    """What each orientation shows of the 3x2 image 0 1 2 / 3 4 5."""
    cases = []
    for o in range(1, 9):
        img = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
        img.getexif()[0x0112] = o
        got = np.asarray(ImageOps.exif_transpose(img))
        cases.append(dict(orientation=o, w=got.shape[1], h=got.shape[0], pixels=got.flatten().tolist()))
    return cases


def images():
    """Files, the RGB that Pillow reads from them (upright, over white), and how far a decoder may be off."""
    rgb, gray = image(pattern(9, 6, 3)), image(pattern(9, 6, 1))
    smooth = Image.fromarray(np.stack([np.add.outer(5 * np.arange(16), 9 * np.arange(16) + 20 * k) for k in range(3)], 2).astype(np.uint8))
    veiled = smooth.copy()
    veiled.putalpha(Image.linear_gradient("L").resize((16, 16)))
    turned = Image.Exif()
    turned[0x0112] = 6
    out = []

    def add(name, img, tolerance=0, **options):
        f = io.BytesIO()
        img.save(f, name.split(".")[-1], **options)
        back = ImageOps.exif_transpose(Image.open(io.BytesIO(f.getvalue())))
        if back.has_transparency_data:
            back = Image.alpha_composite(Image.new("RGBA", back.size, "white"), back.convert("RGBA"))
        back = back.convert("RGB")
        out.append(dict(name=name, tolerance=tolerance, w=back.width, h=back.height,
                        file=base64.b64encode(f.getvalue()).decode(), pixels=back.tobytes().hex()))

    add("rgb.png", rgb)
    add("gray.png", gray)
    add("palette.png", rgb.quantize(16))
    add("bits.png", gray.convert("1"))
    add("alpha.png", veiled)
    add("grayalpha.png", veiled.convert("LA"))
    add("alpha.tiff", veiled)
    add("alpha.webp", veiled, 2, quality=95)
    add("turned.png", rgb, exif=turned)
    add("palette.gif", rgb.quantize(16))
    add("rgb.bmp", rgb)
    add("rgb.tiff", rgb, compression="tiff_lzw")
    add("gray.tiff", gray)
    for name in ("group3", "group4"):  # 0 is black, then white
        add(f"{name}.tiff", gray.convert("1"), compression=name)
        add(f"{name}white.tiff", gray.convert("1"), compression=name, tiffinfo={262: 0})
    add("turned.tiff", rgb, exif=turned)
    add("lossless.webp", rgb, lossless=True)
    add("turned.webp", rgb, lossless=True, exif=turned)
    add("lossy.webp", smooth, 2, quality=95)
    add("rgb.jpeg", smooth, 2, quality=95, subsampling=0)
    add("turned.jpeg", smooth, 2, quality=95, subsampling=0, exif=turned)
    add("gray.jpeg", smooth.convert("L"), 2, quality=95)
    add("progressive.jpeg", smooth, 2, quality=95, subsampling=0, progressive=True)
    add("cmyk.jpeg", smooth.convert("CMYK"), 2, quality=95)

    def file(name, content, tolerance=0):
        """A file that Pillow cannot write, and what it reads from it."""
        back = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
        if back.has_transparency_data:
            back = Image.alpha_composite(Image.new("RGBA", back.size, "white"), back.convert("RGBA"))
        back = back.convert("RGB")
        out.append(dict(name=name, tolerance=tolerance, w=back.width, h=back.height,
                        file=base64.b64encode(content).decode(), pixels=back.tobytes().hex()))

    # YCCK: the CMYK file with the transform of its Adobe segment changed, so that the same numbers mean other colours.
    f = io.BytesIO()
    smooth.convert("CMYK").save(f, "jpeg", quality=95)
    cmyk = bytearray(f.getvalue())
    cmyk[cmyk.index(b"Adobe") + 11] = 2
    file("ycck.jpeg", bytes(cmyk), 3)

    # 16 bits, of which Pillow keeps the high eight; rounding is one off at most.
    deep = pattern(9, 6, 6)
    for name, kind, channels in (("rgb16.png", 2, 3), ("rgba16.png", 6, 4)):
        rows = b"".join(b"\0" + row[:, :2 * channels].tobytes() for row in np.concatenate([deep, 255 - deep[:, :, :2]], 2))
        file(name, png(9, 6, 16, kind, rows), 1)

    # A palette with half transparent entries.
    clear = rgb.quantize(4)
    add("clear.png", clear, 1, transparency=bytes([255, 128, 0, 255]))
    add("clear.gif", clear, transparency=1)

    # EXIF that says nothing usable: no such orientation, cut in the middle.
    for name, change in (("nine.jpeg", lambda e: e.replace(b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06", b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x09")),
                         ("cut.jpeg", lambda e: e[:20])):
        add(name, smooth.resize((16, 8)), 2, quality=95, subsampling=0, exif=change(turned.tobytes()))
    return out


def png(w, h, bits, kind, rows):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    head = struct.pack(">IIBBBBB", w, h, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


for name, make in dict(resize=resize, orientation=orientation, images=images).items():
    lines = ",\n".join(json.dumps(case) for case in make())
    (OUT / f"{name}.json").write_text(f"[\n{lines}\n]\n")
