"""Golden files of package data: small image sets in the array forms that the field's programs write.

    pip install numpy==2.4.6
    python dev/golden/sets.py            # writes data/testdata/sets

Images are a formula (`picture`), so that they compress and a test can make them again. `expected.json` holds, for each path
that can be opened, shape, labels, class names and the SHA-256 of all images as bytes (N,H,W,C), as numpy lays them out.

CIFAR's published archives were pickled by Python 2. `Python2` writes what Python 2's cPickle wrote with protocol 2: strings
as BINSTRING, numpy's functions under their old module names.
"""

import gzip
import hashlib
import io
import json
import pathlib
import pickle
import shutil
import tarfile

import numpy as np

assert np.__version__ == "2.4.6", np.__version__
OUT = pathlib.Path(__file__).resolve().parents[2] / "data" / "testdata" / "sets"
CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck".split()
expected = {}


def picture(i, size):
    """Image i, bytes (3,size,size): the planes that CIFAR and the downsampled ImageNet store."""
    k, y, x = np.ogrid[:3, :size, :size]
    return ((7 * x + 11 * y + 60 * k + 13 * i + (x * y) // 5) % 256).astype(np.uint8)


def pictures(first, n, size):
    return np.stack([picture(first + i, size) for i in range(n)])


def expect(path, planes, labels, names):
    images = planes.transpose(0, 2, 3, 1)
    expected[path] = dict(
        shape=list(images.shape), labels=labels, names=names, sha256=hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()
    )


class Python2(pickle._Pickler):
    """Protocol 2 as Python 2 wrote it. Its str was a string of bytes."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_str2(self, s):
        b = s.encode("latin1") if isinstance(s, str) else s
        self.write(b"U" + bytes([len(b)]) + b if len(b) < 256 else b"T" + len(b).to_bytes(4, "little") + b)
        self.memoize(s)

    dispatch[bytes] = dispatch[str] = save_str2

    def save_global(self, obj, name=None):
        module, name = obj.__module__.replace("numpy._core", "numpy.core"), name or obj.__qualname__
        self.write(f"c{module}\n{name}\n".encode())
        self.memoize(obj)

    dispatch[type(np.array)] = dispatch[type(lambda: 0)] = dispatch[type] = save_global


def python2(obj):
    f = io.BytesIO()
    Python2(f, 2).dump(obj)
    return f.getvalue()


def tar_gz(path, members):
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, 0) as z, tarfile.open(fileobj=z, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        folder = tarfile.TarInfo(pathlib.PurePath(next(iter(members))).parent.as_posix())
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def write(path, content):
    path = OUT / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def cifar10():
    per = 3
    labels = [(3 * i + 1) % 10 for i in range(6 * per)]
    images = pictures(0, 6 * per, 32)
    binary, batches = {}, {}
    for b in range(6):
        rows = slice(b * per, (b + 1) * per)
        name = f"data_batch_{b + 1}" if b < 5 else "test_batch"
        flat = images[rows].reshape(per, -1)
        binary[f"cifar-10-batches-bin/{name}.bin"] = b"".join(bytes([k]) + row.tobytes() for k, row in zip(labels[rows], flat))
        batches[f"cifar-10-batches-py/{name}"] = python2(
            {
                "batch_label": f"training batch {b + 1} of 5",
                "labels": labels[rows],
                "data": flat,
                "filenames": [f"picture_s_{i:06d}.png" for i in range(per)],
            }
        )
    binary["cifar-10-batches-bin/batches.meta.txt"] = ("\n".join(CIFAR10) + "\n\n").encode()
    batches["cifar-10-batches-py/batches.meta"] = python2({"num_cases_per_batch": per, "label_names": CIFAR10, "num_vis": 3072})
    batches["cifar-10-batches-py/readme.html"] = b"<html></html>\n"
    tar_gz(OUT / "cifar-10-binary.tar.gz", dict(reversed(binary.items())))  # the order in an archive is not that of the set
    tar_gz(OUT / "cifar-10-python.tar.gz", batches)
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        write("py/" + name, batches["cifar-10-batches-py/" + name])
    write("bin/test_batch.bin", binary["cifar-10-batches-bin/test_batch.bin"])
    train = slice(0, 5 * per)
    for path in ("cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"):
        expect(path, images[train], labels[train], CIFAR10)
    expect("py/data_batch_1", images[:per], labels[:per], CIFAR10)
    expect("py/test_batch", images[5 * per :], labels[5 * per :], CIFAR10)
    expect("bin/test_batch.bin", images[5 * per :], labels[5 * per :], [str(i) for i in range(10)])


def cifar100():
    images, fine, names = pictures(100, 4, 32), [99, 0, 7, 7], [f"thing_{i}" for i in range(100)]
    meta = {"fine_label_names": names, "coarse_label_names": [f"kind_{i}" for i in range(20)]}
    for name, rows in dict(train=slice(0, 3), test=slice(3, 4)).items():
        batch = {"filenames": ["x.png"] * 4, "batch_label": name, "fine_labels": fine[rows], "coarse_labels": [k // 5 for k in fine[rows]]}
        write(f"cifar-100-python/{name}", python2(batch | {"data": images[rows].reshape(-1, 3072)}))
        record = [bytes([k // 5, k]) + img.tobytes() for k, img in zip(fine[rows], images[rows])]
        write(f"cifar-100-binary/{name}.bin", b"".join(record))
    write("cifar-100-python/meta", python2(meta))
    write("cifar-100-binary/fine_label_names.txt", "\n".join(names).encode())
    for form in ("cifar-100-python", "cifar-100-binary"):
        expect(form, images[:3], fine[:3], names)
    expect("cifar-100-binary/test.bin", images[3:], fine[3:], names)
    expect("cifar-100-python/test", images[3:], fine[3:], names)


def downsampled():
    """Batches of a downsampled ImageNet: labels from 1; the mean image is in them too."""
    size, names = 8, [str(i + 1) for i in range(5)]
    images, labels = pictures(200, 6, size), [5, 1, 2, 2, 4, 3]
    batch = {"data": images.reshape(6, -1), "labels": labels, "mean": images.reshape(6, -1).mean(0)}
    zero = [k - 1 for k in labels]
    for protocol in (2, 3, 4, 5):
        write(f"pickles/protocol{protocol}", pickle.dumps(batch, protocol))
        expect(f"pickles/protocol{protocol}", images, zero, names)
    write("pickles/arrays", pickle.dumps(batch | {"labels": np.array(labels, ">i2")}, 4))
    write("pickles/scalars", pickle.dumps(batch | {"labels": list(np.array(labels, np.int64))}, 4))
    for name in ("arrays", "scalars"):
        expect("pickles/" + name, images, zero, names)
    for form in ("pickle", "npz"):
        for b in range(3):
            rows = slice(2 * b, 2 * b + 2)
            part = dict(data=images[rows].reshape(2, -1), labels=labels[rows], mean=batch["mean"])
            f = io.BytesIO()
            if form == "npz":
                (np.savez_compressed if b == 1 else np.savez)(f, **part)
            else:
                pickle.dump(part, f, 3)
            write(f"imagenet-{form}/train_data_batch_{b + 1}" + (".npz" if form == "npz" else ""), f.getvalue())
        expect(f"imagenet-{form}", images, zero, names)


def arrays():
    images, labels = pictures(300, 5, 6), [2, 0, 1, 1, 3]
    nhwc = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    for name, save in dict(stored=np.savez, deflated=np.savez_compressed).items():
        save(OUT / f"{name}.npz", nhwc, np.array(labels))
        expect(f"{name}.npz", images, labels, ["0", "1", "2", "3"])
    np.savez(OUT / "unlabelled.npz", nhwc)
    np.save(OUT / "images.npy", nhwc)
    expect("unlabelled.npz", images, [-1] * 5, None)
    expect("images.npy", images, [-1] * 5, None)
    gray = images[:, :1]
    np.savez(OUT / "gray.npz", np.ascontiguousarray(gray.transpose(0, 2, 3, 1)), np.array(labels, np.int32))
    expect("gray.npz", gray, labels, ["0", "1", "2", "3"])


shutil.rmtree(OUT, ignore_errors=True)
OUT.mkdir(parents=True)
for make in (cifar10, cifar100, downsampled, arrays):
    make()
lines = ",\n".join(json.dumps(dict(path=path, **case)) for path, case in expected.items())
(OUT / "expected.json").write_text(f"[\n{lines}\n]\n")
