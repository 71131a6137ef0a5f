"""The input pipelines per core: ours, torchvision's on Pillow, timm's and Keras's, in one run, by turns.

    python bench/data.py [--data FOLDER] [--size 299] [--rounds 9] [--seconds 2]

Needs the competitors' environment (`make parity`). All turn the same JPEG files (about 110 kB each, ImageNet's average)
into batches of randomly cropped, mirrored training images, each in a process of its own that stays on one core and
has no workers; compared is CPU time. torchvision's and Keras's end in normalized float32, timm's and ours in uint8,
which the device normalizes. bench/peers.py says what each does. The last line is ours through worker processes.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from turns import PEERS, Competitor, medians, ratio, write

WANTED = 110_000  # bytes an image
OURS = {"ours": "data", "ours, color jitter": "data-jitter"}
THEIRS = {
    "torchvision on Pillow": "torchvision-data",
    "timm, color jitter (its default)": "timm-data",
    "timm, no color jitter": "timm-plain-data",
    "keras": "keras-data",
}
COUNTERPART = {"timm, color jitter (its default)": "ours, color jitter"}
"""What a competitor is compared with, where that is not "ours"."""


def images(folder: Path, source: Path | None, size: tuple[int, int], count: int) -> list[Path]:
    """Writes `count` JPEG files of about 110 kB in two classes: photographs of `source`, else noise."""
    given = [] if source is None else sorted(source.rglob("*.jpg"))[:count]
    written = []
    for i in range(count):
        if given:
            image = Image.open(given[i % len(given)]).convert("RGB").resize(size, Image.Resampling.LANCZOS)
        else:
            image = noise(i, size)
        path = folder / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(min((jpeg(image, q) for q in range(60, 100, 3)), key=lambda data: abs(len(data) - WANTED)))
        written.append(path)
    return written


def noise(seed: int, size: tuple[int, int]) -> Image.Image:
    """An image with a photograph's spectrum: amplitude 1 / frequency."""
    width, height = size
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    planes = []
    for _ in range(3):
        plane = np.fft.irfft2(np.fft.rfft2(generator.standard_normal((height, width))) / frequency, s=(height, width))
        planes.append(128 + 45 * plane / plane.std())
    return Image.fromarray(np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> bytes:
    """The image encoded."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def main() -> None:
    """Measure, print, write bench/results/data.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="take photographs from here (default: noise with their spectrum)")
    parser.add_argument("--size", type=int, default=299)
    parser.add_argument("--source-size", type=int, nargs=2, default=(500, 375), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--images", type=int, default=64, help="a multiple of 32, the batch")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one turn")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = images(Path(folder), options.data, tuple(options.source_size), options.images)
        size = statistics.mean(path.stat().st_size for path in files)
        work = (folder, str(options.size))
        everybody = {name: Competitor(name, sys.executable, "ours.py", kind, *work) for name, kind in OURS.items()}
        everybody |= {name: Competitor(name, PEERS, "peers.py", kind, *work) for name, kind in THEIRS.items()}
        found = medians(list(everybody.values()), rounds=options.rounds, seconds=options.seconds)
        for competitor in everybody.values():
            competitor.close()
        workers = Competitor("ours, worker processes", sys.executable, "ours.py", "data-workers", *work)
        pooled = medians([workers], rounds=3, seconds=options.seconds)[workers.name]
        workers.close()
    result = {}
    for name, competitor in everybody.items():
        spent = 1e3 * found[name] / len(files)
        result[name] = {"ms_per_image": spent, "versions": competitor.facts}
        line = f"{name:34} {spent:6.2f} ms an image and core"
        if name in THEIRS:
            mine = everybody[COUNTERPART.get(name, "ours")]
            result[name]["ours_is_faster"] = {mine.name: ratio(competitor, mine)}
            line += f"   {mine.name} is {ratio(competitor, mine):5.2f} x as fast"
        print(line)
    rate = 8 * len(files) / pooled
    print(f"{workers.name:34} {rate:6.1f} images/s with {os.cpu_count()} workers on {os.cpu_count()} cores")
    facts = {"bytes_per_image": size, "source_size": options.source_size, "size": options.size}
    facts |= {"images": len(files), "rounds": options.rounds, "workers_images_per_second": rate}
    print("written:", write("data", {**facts, "competitors": result}))


if __name__ == "__main__":
    main()
