"""The input pipeline on one core: ours beside the usual one (torchvision's transforms on Pillow, restated).

    python bench/data.py [--data FOLDER] [--size 299] [--rounds 9]

Both turn the same JPEG files (about 110 kB each, ImageNet's average) into randomly cropped, mirrored training pictures.
The usual pipeline decodes in full, crops, resizes, makes a float tensor and normalises it in the worker; ours decodes
no more than the crop needs, resizes from the crop's box, and ends in uint8, which the device normalises. The rounds
alternate between the two in one process, so that whatever else the machine does meets both; ratios are of CPU time.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image

from inceptions.data import Augment, augmented, batches, load
from inceptions.image import Preprocess

WANTED = 110_000  # bytes a picture
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def usual(path: Path, size: int) -> torch.Tensor:
    """RandomResizedCrop, RandomHorizontalFlip, ToTensor and Normalize, as torchvision does them on a PIL picture."""
    with path.open("rb") as file:
        image = Image.open(file).convert("RGB")
    width, height = image.size
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1.0)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = random.randint(0, height - h), random.randint(0, width - w)
            break
    else:
        w = h = min(width, height)
        top, left = (height - h) // 2, (width - w) // 2
    image = image.crop((left, top, left + w, top + h)).resize((size, size), Image.Resampling.BILINEAR)
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = torch.from_numpy(np.array(image, copy=True)).permute(2, 0, 1).contiguous()
    values = pixels.to(torch.float32).div(255)
    mean, std = torch.tensor(MEAN).view(-1, 1, 1), torch.tensor(STD).view(-1, 1, 1)
    return values.clone().sub_(mean).div_(std)


def pictures(folder: Path, source: Path | None, size: tuple[int, int], count: int) -> list[Path]:
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
    """A picture with a photograph's spectrum: amplitude 1 / frequency."""
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
    """The picture encoded."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def seconds(work: Callable[[int], object], number: int) -> float:
    """CPU time of one call."""
    start = time.process_time()
    work(number)
    return time.process_time() - start


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="take photographs from here (default: noise with their spectrum)")
    parser.add_argument("--size", type=int, default=299)
    parser.add_argument("--source-size", type=int, nargs=2, default=(500, 375), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(1)
    preprocess, augment = Preprocess(size=(options.size, options.size), mean=MEAN, std=STD), Augment()
    with tempfile.TemporaryDirectory() as folder:
        files = pictures(Path(folder), options.data, tuple(options.source_size), options.pictures)

        def ours(epoch: int) -> None:
            for i, path in enumerate(files):
                torch.from_numpy(augmented(path, preprocess, augment, seed=0, epoch=epoch, index=i))

        def theirs(_: int) -> None:
            for path in files:
                usual(path, options.size)

        pairs = [(seconds(ours, number), seconds(theirs, number)) for number in range(options.rounds + 1)]
        pairs = pairs[1:]  # the first reads the files and warms up
        data = load(folder, val_fraction=0).splits["train"]
        order = np.tile(np.arange(len(data)), 8)
        feed = batches(data, preprocess, batch_size=32, workers=options.workers, augment=augment, order=order)
        next(feed)
        start = time.perf_counter()
        made = sum(len(batch) for batch in feed)
        rate = made / (time.perf_counter() - start)
        ratios = sorted(b / a for a, b in pairs)
        print(
            json.dumps(
                {
                    "bytes a picture": round(statistics.mean(path.stat().st_size for path in files)),
                    "source": options.source_size,
                    "size": options.size,
                    "n": len(files) * options.rounds,
                    "ours ms": round(statistics.median(a for a, _ in pairs) / len(files) * 1e3, 3),
                    "usual ms": round(statistics.median(b for _, b in pairs) / len(files) * 1e3, 3),
                    "ratio": round(statistics.median(ratios), 3),
                    "ratio lowest, highest": [round(ratios[0], 3), round(ratios[-1], 3)],
                    "pictures/s of batches()": round(rate, 1),
                    "workers": options.workers,
                    "cores": os.cpu_count(),
                    "machine": platform.processor() or platform.machine(),
                    "pillow": PIL.__version__,
                    "torch": torch.__version__,
                }
            )
        )


if __name__ == "__main__":
    main()
