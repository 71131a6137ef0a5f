"""The main job from end to end, on handwritten digits: `make demo`.

Writes the digits that scikit-learn ships as a folder of images, in the layout your own folder would have, and then
runs the commands you would type: train, val, predict. Everything lands in `demo/`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

DEMO = Path("demo")
IMAGES = DEMO / "digits"
RUN = DEMO / "run"
PARTS = {"train": 0.6, "val": 0.2, "test": 0.2}
TRAIN = (  # a mirrored digit is none, and all are of about one size: no flip, gentle crops
    f"inceptions train {IMAGES} --model bn_inception --width 0.125 --stem small --img-size 32"
    f" --no-flip --scale 0.7 1 --ratio 0.85 1.18 --epochs 12 --output {RUN}"
)


def main() -> int:
    """Returns the exit code of the first command that fails, or 0."""
    started = time.perf_counter()
    shutil.rmtree(DEMO, ignore_errors=True)
    held_out = write_images()
    commands = [
        TRAIN,
        f"inceptions val {RUN} {IMAGES / 'test'} --min-top1 0.97",
        f"inceptions predict {RUN} {shlex.join(map(str, held_out))} --top-k 3",
    ]
    print("The main job on handwritten digits. For a folder of your own images you would type the same, beginning with")
    print("\n$ inceptions train IMAGES --output runs/mine")
    # The network is so small that a second thread waits more than it helps, above all on a busy machine.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for command in commands:
        print(f"\n$ {command}", flush=True)
        code = subprocess.run([sys.executable, "-m", *shlex.split(command)], env=environment).returncode
        if code:
            return code
    print(f"\nWritten in {time.perf_counter() - started:.0f} s:")
    for path in sorted([*RUN.iterdir(), *(RUN / "model").iterdir()]):
        print(f"  {path}{'/' if path.is_dir() else ''}")
    return 0


def write_images() -> list[Path]:
    """Writes 1,797 gray PNGs of 8 x 8 pixels as PART/DIGIT/NUMBER.png; returns five of the part `test`.

    Each digit is divided by `PARTS`, in an order shuffled by a fixed seed.
    """
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    for digit in range(10):
        mine = order[digits.target[order] == digit]
        ends = np.cumsum([round(share * len(mine)) for share in PARTS.values()])
        for part, numbers in zip(PARTS, np.split(mine, ends[:-1]), strict=True):
            folder = IMAGES / part / str(digit)
            folder.mkdir(parents=True)
            for number in numbers:
                gray = (digits.images[number] * 255 / 16).round().astype(np.uint8)  # 0..16 as scanned
                Image.fromarray(gray).save(folder / f"{number:04d}.png")
    return [min((IMAGES / "test" / str(digit)).iterdir()) for digit in (0, 2, 4, 6, 8)]


if __name__ == "__main__":
    sys.exit(main())
