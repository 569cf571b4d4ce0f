#!/bin/sh
# fetch-openblas.sh DEST puts a current OpenBLAS, libscipy_openblas.so, and its licence into DEST.
#
# It is the one that SciPy ships: one self-contained library for x86-64 and arm64 Linux, no root needed. A library that is
# there already is left alone.
set -eu

package=scipy-openblas32
version=0.3.34.481.3

fail() {
	echo "fetch-openblas: $*" >&2
	echo "fetch-openblas: ict works without it, several times slower; or install OpenBLAS and name it in ICT_BLAS" >&2
	exit 1
}

[ $# -eq 1 ] || { echo "usage: fetch-openblas.sh DEST" >&2; exit 2; }
dest=$1
library=$dest/libscipy_openblas.so
stamp=$dest/openblas.version
if [ -f "$library" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$version" ]; then
	exit 0
fi

[ "$(uname -s)" = Linux ] || fail "the library is for Linux, this is $(uname -s)"
python=$(command -v python3) || fail "needs python3 to unpack the library"
if "$python" -m pip --version >/dev/null 2>&1; then
	pip="$python -m pip"
elif command -v pip >/dev/null 2>&1; then
	pip=pip
else
	fail "needs pip (python3 -m pip) to download the library"
fi

mkdir -p "$dest" || fail "cannot make $dest"
tmp=$(mktemp -d "$dest/openblas.XXXXXX") || fail "cannot write to $dest"
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM

$pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$tmp" "$package==$version" >&2 ||
	fail "cannot download $package $version"

"$python" - "$tmp" <<'PYTHON' || fail "the download is not what it should be"
import glob, os, sys, zipfile

tmp = sys.argv[1]
wheel, = glob.glob(os.path.join(tmp, "*.whl"))
wanted = {"libscipy_openblas.so": "/lib/libscipy_openblas.so", "LICENSE-OpenBLAS.txt": "/LICENSE.txt"}
with zipfile.ZipFile(wheel) as z:
    for name, end in wanted.items():
        found = [n for n in z.namelist() if n.endswith(end)]
        if len(found) != 1:
            sys.exit(f"{os.path.basename(wheel)}: got {found} for {end}, want one file")
        with z.open(found[0]) as src, open(os.path.join(tmp, name), "wb") as dst:
            dst.write(src.read())
PYTHON

mv "$tmp/LICENSE-OpenBLAS.txt" "$dest/" && mv "$tmp/libscipy_openblas.so" "$library" && echo "$version" >"$stamp" ||
	fail "cannot write to $dest"
