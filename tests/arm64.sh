#!/usr/bin/env bash
# Every network's golden numbers on arm64, emulated. Needs Debian, root, 10 GB of disk, and much patience:
#     apt-get install debootstrap qemu-user-static && pip install uv && tests/arm64.sh
# With arguments it runs these instead, in the root of a copy of the project: tests/arm64.sh -m inceptions predict ...
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD/.matrix/arm64

# Packages are only unpacked: their set-up scripts take long under emulation, and Python runs without.
if [ ! -x "$root/usr/bin/python3.11" ]; then
    debootstrap --arch=arm64 --foreign --variant=minbase --include=python3 bookworm "$root"
    for package in "$root"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
    cp "$(command -v qemu-aarch64-static)" "$root/usr/bin/"
fi

# Wheels need no emulation either. For arm64, too, PyPI has torch only with CUDA's libraries.
if [ ! -d "$root/site" ]; then
    uv pip install --python-platform aarch64-manylinux_2_28 --python-version 3.11 --only-binary :all: \
        --target "$root/site" --constraint constraints.txt --requirement pyproject.toml pytest
fi

# Torch asks what the processor is, and ends with a segmentation fault when it reads of another family's: say it.
mkdir -p "$root/sys/devices/system/cpu" "$root/project"
echo 0 | tee "$root/sys/devices/system/cpu/possible" >"$root/sys/devices/system/cpu/present"
printf '%s\n' 'processor : 0' 'Features : fp asimd' 'CPU implementer : 0x41' 'CPU architecture: 8' \
    'CPU variant : 0x0' 'CPU part : 0xd08' 'CPU revision : 3' >"$root/cpuinfo"
mount -t proc proc "$root/proc"
trap 'umount --recursive "$root/proc"' EXIT
mount --bind "$root/cpuinfo" "$root/proc/cpuinfo"

cp -r src tests docs pyproject.toml "$root/project/"
[ $# -gt 0 ] || set -- -m pytest -p no:cacheprovider --durations=0 tests/test_parity.py -k 'numbers_of_its_peer'
chroot=$(command -v chroot)
time env -i PATH=/usr/bin:/bin HOME=/tmp LC_ALL=C.UTF-8 OMP_NUM_THREADS=1 PYTHONPATH=/project/src:/site \
    "$chroot" "$root" /usr/bin/qemu-aarch64-static -cpu cortex-a72 /usr/bin/python3.11 -c '
import os, runpy, sys
os.chdir("/project")
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)' "$@"
