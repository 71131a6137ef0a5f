"""Writes tests/golden/weights/*.gz: Keras's own files of Keras's own networks, and the logits Keras gives with them.

    make fixtures                                                    all four programs
    .parity/bin/python tests/parity/keras_fixtures.py [FOLDER]       this one

The networks are `keras.applications`'; only the number of filters that a layer is asked for is changed on the way, to
what `width=0.01` has here (mostly 8). Values are multiples of small powers of two, so that the files stay at kilobytes.
The clock stands still and objects are counted, so that the same files come out each time.
"""

from __future__ import annotations

import datetime
import gzip
import hashlib
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"
import h5py
import keras
import numpy as np
from keras import layers
from keras.src.applications import inception_resnet_v2, inception_v3, xception
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group
from keras.src.saving import saving_lib, serialization_lib

sys.path.insert(0, str(Path(__file__).parents[1]))
from inceptions.layers import scale_width
from parity.recipe import pixels, splitmix

GOLDEN = Path(__file__).parents[1] / "golden" / "weights"
KITCHEN = Path(__file__).parents[3] / "shared" / "weights" / "xception_imagenet_with_custom_head.keras"
SIZE = (107, 96)


class Stopped(datetime.datetime):
    """A clock that shows the day of the FID's graph."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Stopped:
        return cls(2015, 12, 5, tzinfo=tz)


saving_lib.datetime = SimpleNamespace(datetime=Stopped)
_counted: dict[int, tuple[int, object]] = {}
serialization_lib.id = lambda item: _counted.setdefault(id(item), (len(_counted), item))[0]
zipfile.time = SimpleNamespace(time=float, localtime=lambda _: Stopped.now().timetuple())  # type: ignore[attr-defined]


class Narrow:
    """`keras.layers` with few filters."""

    def __getattr__(self, name: str) -> Any:
        return getattr(layers, name)

    def Conv2D(self, filters: int, *arguments: Any, **options: Any) -> Any:  # noqa: N802 (Keras's name)
        residual = options.get("use_bias") and str(options.get("name")).startswith("block")  # as wide as its input
        return layers.Conv2D(filters if residual else scale_width(filters, 0.01), *arguments, **options)

    def SeparableConv2D(self, filters: int, *arguments: Any, **options: Any) -> Any:  # noqa: N802
        return layers.SeparableConv2D(scale_width(filters, 0.01), *arguments, **options)


for module in (inception_v3, inception_resnet_v2, xception):
    module.layers = Narrow()


def values(model: keras.Model) -> None:
    """Coarse random weights, and batch norms whose variances go down to a 64th, where epsilon shows."""
    for index, variable in enumerate(model.weights):
        shape, kind = tuple(variable.shape), variable.name
        u = splitmix(int(np.prod(shape)), index + 1).reshape(shape)
        if kind == "moving_variance":
            value = np.array([1 / 64, 1 / 8, 1 / 2, 1])[(u * 4).astype(int)]
        elif kind in ("gamma", "beta", "moving_mean", "bias"):
            value = np.floor(u * 9 - 4) / 16 + (kind == "gamma")
        elif kind in ("kernel", "depthwise_kernel", "pointwise_kernel"):
            fan_in = int(np.prod(shape[:2] if kind == "depthwise_kernel" else shape[:-1]))
            value = np.floor(u * 9 - 4) / 2.0 ** round(np.log2(2.6 * np.sqrt(fan_in / 0.4)))
        else:
            raise ValueError(f"{variable.path} is unknown")
        variable.assign(value)


def image(size: tuple[int, int]) -> np.ndarray:
    """One image (1, H, W, 3) of whole numbers 0..255."""
    return np.floor(splitmix(size[0] * size[1] * 3, 7) * 256).reshape(1, *size, 3).astype(np.float32)


def nested(base: Any, size: tuple[int | None, int | None], head: list[Any], entrance: list[Any]) -> Any:
    """A user's model around a base."""
    inputs = keras.Input((*size, 3))
    features = inputs
    for layer in entrance:
        features = layer(features)
    features = base(features, training=False)
    for layer in head:
        features = layer(features)
    return keras.Model(inputs, features)


def in_line(base: Any, head: list[Any]) -> Any:
    """A user's model that goes on from the base's output."""
    features = base.output
    for layer in head:
        features = layer(features)
    return keras.Model(base.input, features)


def legacy_weights(model: Any, path: Path) -> None:
    """What `save_weights("x.h5")` wrote before Keras 3, by Keras's own code for it."""
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)


def xception_nested() -> Any:
    keras.applications.InceptionV3(weights=None)  # an earlier model in the session: names do not count from zero
    base = keras.applications.Xception(weights=None, include_top=False, input_shape=(*SIZE, 3))
    head = [layers.GlobalAveragePooling2D(), layers.Dropout(0.3), layers.Dense(5, activation="softmax")]
    return nested(base, SIZE, head, [layers.RandomFlip(), layers.Rescaling(1 / 127.5, offset=-1.0)])


def xception_hidden() -> Any:
    base = keras.applications.Xception(weights=None, include_top=False, pooling="avg")
    head = [layers.Dense(12, activation="relu"), layers.Dropout(0.2), layers.Dense(4)]
    return keras.Sequential([keras.Input((*SIZE, 3)), base, *head])


def v3_binary() -> Any:
    base = keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(*SIZE, 3))
    inputs = keras.Input((*SIZE, 3))
    features = base(inputs / 127.5 - 1.0)
    outputs = layers.Dense(1, activation="sigmoid")(layers.GlobalAveragePooling2D()(features))
    return keras.Model(inputs, outputs)


def v3_top() -> Any:
    return keras.applications.InceptionV3(weights=None, input_shape=(*SIZE, 3), classes=7, classifier_activation=None)


def v3_in_line() -> Any:
    base = keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(*SIZE, 3))
    return in_line(base, [layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")])


def xception_flattened() -> Any:
    base = keras.applications.Xception(weights=None, include_top=False, input_shape=(*SIZE, 3))
    return nested(base, SIZE, [layers.Flatten(), layers.Dense(3)], [])


def resnet_top() -> Any:
    return keras.applications.InceptionResNetV2(
        weights=None, input_shape=(*SIZE, 3), classes=6, classifier_activation=None
    )


def xception_base() -> Any:
    return keras.applications.Xception(weights=None, include_top=False)


FIXTURES: dict[str, tuple[Callable[[], Any], Callable[[Any, Path], None] | None]] = {
    "xception_nested.keras": (xception_nested, None),
    "xception_hidden.h5": (xception_hidden, None),
    "inception_v3_binary.keras": (v3_binary, None),
    "inception_v3_top.weights.h5": (v3_top, None),
    "inception_v3_top.h5": (v3_top, legacy_weights),
    "inception_v3_in_line.h5": (v3_in_line, None),
    "xception_flattened.keras": (xception_flattened, None),
    "inception_resnet_v2_top.keras": (resnet_top, None),
    "xception_base.weights.h5": (xception_base, None),
}
"""File -> (the model, what writes it where it is not `save` or `save_weights`)."""


def logits(model: Any, images: np.ndarray) -> list[float]:
    """What a model says before its last activation, or the mean of its feature maps where it has no head."""
    last = model.layers[-1]
    if isinstance(last, layers.Dense):
        last.activation = keras.activations.linear
    said = keras.ops.convert_to_numpy(model(images))
    said = said.mean((1, 2)) if said.ndim == 4 else said
    return [float(value) for value in said[0]]


def main(folder: Path = GOLDEN) -> None:
    """Writes the files."""
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    said = {}
    for name, (build, write) in FIXTURES.items():
        keras.backend.clear_session()
        model = build()
        values(model)
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / name
            if write is not None:
                write(model, path)
            elif name.endswith(".weights.h5"):
                model.save_weights(path)
            else:
                model.save(path)
            (folder / f"{name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        said[name] = logits(model, image(SIZE))
    content = {"keras": keras.__version__, "size": SIZE, "logits": said}
    (folder / "keras.json").write_text(json.dumps(content, indent=1) + "\n")
    if KITCHEN.is_file():  # a real file, too large to be kept here
        model = keras.models.load_model(KITCHEN)
        said = {kind: logits(model, pixels(kind)[None].astype(np.float32)) for kind in ("noise", "waves")}
        digest = hashlib.sha256(KITCHEN.read_bytes()).hexdigest()
        content = {"keras": keras.__version__, "sha256": digest, "logits": said}
        (folder / "kitchen.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
