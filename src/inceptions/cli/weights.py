"""`inceptions weights convert`: weights of any publisher become a model folder of ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from inceptions.cli.terminal import print_json, table

if TYPE_CHECKING:
    from inceptions.image import Preprocess

_INPUTS: dict[str, dict[str, Any]] = {
    "raw": {"mean": 0.0, "std": 1.0, "value_range": 255.0},
    "unit": {"mean": 0.0, "std": 1.0},
    "tf": {"mean": 0.5, "std": 0.5},
    "imagenet": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "caffe": {"mean": (104.0, 117.0, 123.0), "std": 1.0, "value_range": 255.0, "channel_order": "bgr"},
}
"""What a network is fed with, as fields of `Preprocess`; one number stands for every channel."""


def convert(
    source: str,
    output: Path,
    /,
    *,
    model: str | None = None,
    input: Literal["raw", "unit", "tf", "imagenet", "caffe"] | None = None,
    img_size: int | None = None,
    crop_pct: float | None = None,
    resize: Literal["short", "stretch"] | None = None,
    interpolation: Literal["nearest", "box", "bilinear", "bicubic", "lanczos", "tf1_bilinear", "tf2_bilinear"]
    | None = None,
    labels: str | None = None,
    weights_part: str | None = None,
    options: dict[str, str] | None = None,
    json: bool = False,
) -> None:
    """Convert weights of any publisher to a model folder: plain tensors, classes and preprocessing.

    The publisher is recognized by the names and shapes in the file, and with it the network's numeric options and the
    preprocessing. Flags state what a file does not; without them it is as published, and the log says so.

    Args:
        source: a file of PyTorch (.pth, .pt, .safetensors), Keras (.h5, .weights.h5, .keras), TensorFlow or Caffe, a
            model's folder, https://...#sha256:HEX, a catalogue name, or owner/name on the Hugging Face hub.
        output: the folder to write; a model that is there already is replaced.
        model: the network it must be; none: whichever it is.
        input: what the network is fed with: pixels from 0 to 255 (raw), 0 to 1 (unit), -1 to 1 (tf), less ImageNet's
            mean and divided by its deviation (imagenet), or blue-green-red less Caffe's mean (caffe).
        img_size: side of the images, px.
        crop_pct: share of each side that the center crop keeps, above 0 and at most 1.
        resize: short keeps the aspect (shorter side, then crop); stretch does not.
        interpolation: how images are resized. nearest is Keras's load_img, tf2_bilinear TensorFlow 2's image.resize
            and Keras's Resizing and image_dataset_from_directory, tf1_bilinear TensorFlow 1's (none of them smooths);
            the others are Pillow's, which do.
        labels: names of the classes in order: a,b,c, or a file with one a line, or a .json file with a list of them or
            {"0": name, ...}.
        weights_part: of a weight file with several networks: model (as trained), ema (their average), or what the names
            begin with, such as teacher; none: the average where there is one.
        options: of the network, such as `--options.aux true`.
        json: print one JSON object instead of a table.
    """
    from inceptions.weights import artifact, load_weights, tell_assumed
    from inceptions.zoo import parse_options

    loaded = load_weights(source, network=model, options=parse_options(options or {}), part=weights_part)
    net = loaded.net
    if loaded.new_head or net.preprocess is None:
        raise ValueError(
            f"{source} has no classifier head that can be kept, so it cannot predict; "
            f"train one on your images: inceptions train DATA --model {net.name} --weights {source}"
        )
    if input is not None and input != "raw" and loaded.scales_pixels:
        raise ValueError(f"{source} scales the pixels itself, so it is fed with raw ones: leave --input {input} out")
    scaled = loaded.scales_pixels or input is None
    changes = {} if scaled or input is None else _pixels(input, net.preprocess)
    changes |= {"size": (img_size, img_size)} if img_size is not None else {}
    changes |= {"crop_pct": crop_pct} if crop_pct is not None else {}
    changes |= {"resize": resize} if resize is not None else {}
    changes |= {"interpolation": interpolation} if interpolation is not None else {}
    net.preprocess = replace(net.preprocess, **changes)
    net.classes = net.classes if labels is None else _names(labels, net.num_classes)
    tell_assumed(net, [name for name in loaded.assumed if name not in changes])
    artifact.save(net, output, provenance=loaded.provenance)
    facts = {
        "output": str(output),
        "model": net.name,
        **loaded.provenance,
        "classes": list(net.classes or ()),
        "preprocess": net.preprocess.to_dict(),
    }
    _tell(facts, net.num_classes, json=json)


def _tell(facts: dict[str, Any], count: int, *, json: bool) -> None:
    if json:
        print_json(facts)
        return
    few = ", ".join(facts["classes"][:8]) + (" ..." if count > 8 else "")
    rows = {**facts, "classes": f"{count}: {few}", **facts["preprocess"]}
    table([(key, str(value)) for key, value in rows.items() if key != "preprocess"], ("fact", ""))


def _pixels(kind: str, preprocess: Preprocess) -> dict[str, Any]:
    fields = {"value_range": 1.0, "channel_order": "rgb", **_INPUTS[kind]}
    for name in ("mean", "std"):
        value = fields[name]
        fields[name] = (value,) * preprocess.channels if isinstance(value, float) else value
    return fields


def _names(labels: str, count: int) -> tuple[str, ...]:
    from inceptions.data.text import read_names

    names = read_names(labels)
    if len(names) != count:
        came = f"the file {labels}" if Path(labels).exists() else f"{labels!r}, which is not a file,"
        raise ValueError(f"--labels: {came} names {len(names)} classes; the network has {count}")
    return names
