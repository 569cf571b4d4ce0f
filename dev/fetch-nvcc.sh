#!/bin/bash
# fetch-nvcc.sh DEST: NVIDIA's compiler without an installed toolkit, from its pinned wheels, into DEST (DEST/bin/nvcc,
# DEST/include, DEST/lib, and the disassemblers). 105 MB of downloads; what is there already is kept. To change a version,
# change its line: name, version, sha256 of the wheel for x86-64.
set -euo pipefail
dest=${1:?usage: dev/fetch-nvcc.sh DEST}
wheels='
nvidia-cuda-nvcc 13.0.88 56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03
nvidia-cuda-crt 13.0.88 2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4
nvidia-nvvm 13.0.88 c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0
nvidia-cuda-runtime 13.0.96 7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-cccl 13.0.85 e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649
nvidia-cuda-cuobjdump 13.2.78 394087411405b846bf43aa52ca2ff603bbe18b3b8a1257cda0903e23c17bdbf3
nvidia-cuda-nvdisasm 13.2.78 b4ebcd3c5046bf8039ac52675b9dbefd843600969649ecaab0a42b0713a61dae
'
[ "$(uname -sm)" = "Linux x86_64" ] || { echo "fetch-nvcc: wheels are pinned for Linux on x86-64; install a CUDA toolkit instead" >&2; exit 1; }
stamp=$(echo "$wheels" | sha256sum | cut -c1-16)
[ "$(cat "$dest/.wheels" 2>/dev/null)" = "$stamp" ] && [ -x "$dest/bin/nvcc" ] && exit 0

mkdir -p "$(dirname "$dest")"
tmp=$(mktemp -d "$(dirname "$dest")/fetch-nvcc.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
lines=$(echo "$wheels" | awk 'NF == 3')
while read -r name version hash; do
	echo "$name==$version --hash=sha256:$hash"
done <<<"$lines" >"$tmp/requirements.txt"
python3 -m pip download --quiet --no-deps --only-binary :all: --require-hashes --dest "$tmp/wheels" -r "$tmp/requirements.txt"
# pip compared the hashes; once more, of the files as they lie here.
while read -r name version hash; do
	file=$(ls "$tmp/wheels/${name//-/_}-$version"-*.whl)
	echo "$hash  $file" | sha256sum --check --quiet
	python3 -m zipfile -e "$file" "$tmp/unpacked"
done <<<"$lines"
root=$(dirname "$(dirname "$(find "$tmp/unpacked" -path '*/bin/nvcc')")")
chmod +x "$root"/bin/* "$root"/nvvm/bin/*
echo "$stamp" >"$root/.wheels"
rm -rf "$dest"
mv "$root" "$dest"
"$dest/bin/nvcc" --version | tail -1
