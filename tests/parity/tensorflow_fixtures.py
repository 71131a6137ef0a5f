"""Writes the TensorFlow weight files and golden logits that tests/test_tensorflow.py compares against.

    make fixtures                                                         all four programs
    .parity/bin/python tests/parity/tensorflow_fixtures.py [FOLDER [NETWORK]]   this one

Everything in the files comes from TensorFlow; `tensorflow_networks.py` has the networks. All are 8 channels wide, which
is as narrow as this project's `width=0.01`; weights are multiples of small powers of two, so that the archives stay at
kilobytes.
"""

from __future__ import annotations

import gzip
import json
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parents[1]))
from parity.tensorflow_networks import NETWORKS, Network, v1

GOLDEN = Path(__file__).parents[1] / "golden" / "tensorflow"


def images(size: tuple[int, int], start: int = 0) -> np.ndarray:
    """One image (1, H, W, 3) of pseudo-random integers 0..255; the tests build the same by the same formula."""
    numbers = np.arange(start, start + size[0] * size[1] * 3, dtype=np.int64)
    return (numbers * 7919 % 2003 % 256).reshape(1, *size, 3)


def random_values(variables: list[tf.Variable]) -> dict[tf.Variable, np.ndarray]:
    """Coarse random weights, and batch-norm statistics with variances down to a 64th, where epsilon shows."""
    rng = np.random.default_rng(20151205)
    values = {}
    for variable in sorted(variables, key=lambda variable: variable.op.name):
        shape, kind = variable.shape.as_list(), variable.op.name.rsplit("/", 1)[-1]
        if kind in ("moving_variance", "variance"):
            value = rng.choice([1 / 64, 1 / 8, 1 / 2, 1], size=shape)
        elif kind in ("beta", "moving_mean", "bias", "biases"):
            value = rng.integers(-4, 5, size=shape) / 16
        elif kind == "gamma":
            value = rng.integers(4, 13, size=shape) / 8
        else:
            fan_in = np.prod(shape[:2] if "depthwise" in variable.op.name else shape[:-1])
            # with these variances a layer then keeps the size of its input, and deep logits still depend on it
            value = rng.integers(-7, 8, size=shape) / 8 * 2.0 ** -np.round(np.log2(fan_in) / 2)
        values[variable] = np.asarray(value, dtype=np.float32)
    return values


def assign(session: tf.compat.v1.Session, values: dict[tf.Variable, np.ndarray]) -> None:
    """All at once: `Variable.load` would prepare the graph again for every variable."""
    initializers = [variable.initializer for variable in values]
    session.run(initializers, {op.inputs[1]: value for op, value in zip(initializers, values.values(), strict=True)})


def evaluate(
    network: Network, size: tuple[int, int], values: dict[str, np.ndarray], start: int = 0
) -> dict[str, list[float]]:
    """Logits by name, of a fresh graph that holds `values` and reads `images(size, start)`."""
    with v1.Graph().as_default(), v1.Session() as session:
        outputs = network(tf.constant(images(size, start), tf.float32), size[0])
        assign(session, {variable: values[variable.op.name] for variable in v1.global_variables()})
        return {name: [float(x) for x in np.ravel(logits)] for name, logits in session.run(outputs).items()}


def write(
    folder: Path, name: str, network: Network, sizes: list[tuple[int, int]], form: str, extra: Callable[[], None] = int
) -> None:
    """An archive like the published ones, and the logits beside it."""
    with tempfile.TemporaryDirectory() as temporary:
        with v1.Graph().as_default(), v1.Session() as session:
            v1.train.create_global_step()
            outputs = network(tf.constant(images(sizes[0]), tf.float32), sizes[0][0])
            extra()
            session.run(v1.global_variables_initializer())
            leftovers = ("global_step", "Momentum", "ExponentialMovingAverage")
            model = [variable for variable in v1.global_variables() if not variable.op.name.endswith(leftovers)]
            values = random_values(model)
            assign(session, values)
            place = Path(temporary) / f"{name}.ckpt"
            if form == "pb":
                nodes = [tensor.op.name for tensor in outputs.values()]
                graph = v1.graph_util.convert_variables_to_constants(session, session.graph_def, nodes)
                (Path(temporary) / f"{name}.pb").write_bytes(graph.SerializeToString(deterministic=True))
            else:
                saver = v1.train.Saver(write_version=v1.train.SaverDef.V1 if form == "V1" else v1.train.SaverDef.V2)
                saver.save(session, str(place), write_meta_graph=False, write_state=False)
        with (
            (folder / f"{name}.tar.gz").open("wb") as target,
            gzip.GzipFile("", "wb", fileobj=target, mtime=0) as stream,
            tarfile.open(fileobj=stream, mode="w") as archive,
        ):
            for file in sorted(Path(temporary).iterdir()):
                archive.add(file, file.name, filter=_anonymous)
    by_name = {variable.op.name: value for variable, value in values.items()}
    golden = [{"size": size, **_short(evaluate(network, size, by_name))} for size in sizes]
    other = _short(evaluate(network, sizes[-1], by_name, start=1))["logits"]
    change = np.linalg.norm(np.subtract(other, golden[-1]["logits"])) / np.linalg.norm(other)
    assert change > 1e-3, f"{name}: the logits hardly depend on the image ({change})"
    (folder / f"{name}.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(name, (folder / f"{name}.tar.gz").stat().st_size, change, golden[0]["logits"][:3])


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


def _short(logits: dict[str, list[float]]) -> dict[str, Any]:
    """The first and last logits: enough to notice a wrong offset, and 1001 of them need no place in a repository."""
    return {name: [*values[:8], *values[-4:]] for name, values in logits.items()}


def training_leftovers() -> None:
    """What else a training run leaves in a checkpoint: a momentum slot, an average, a partitioned variable."""
    with v1.variable_scope("InceptionV2"):
        v1.get_variable("Conv2d_2b_1x1/weights/Momentum", initializer=tf.ones([1, 1, 8, 8]))
        v1.get_variable("Conv2d_2b_1x1/BatchNorm/beta/ExponentialMovingAverage", initializer=tf.ones([8]))


def odds_and_ends(folder: Path) -> None:
    """Small checkpoints of each format, with every type of number, partitions and shards."""
    rng = np.random.default_rng(7)

    def elsewhere(name: str, value: Any) -> tf.Variable:
        with v1.device("/cpu:1"):  # a sharded saver writes one data file for each device
            return v1.get_variable(name, initializer=value)

    with v1.Graph().as_default(), v1.Session(config=v1.ConfigProto(device_count={"CPU": 2})) as session:
        numbers = {
            "float": v1.get_variable("float", initializer=(rng.integers(-9, 9, (3, 200, 2)) / 8).astype(np.float32)),
            "double": elsewhere("double", np.float64(0.1)),
            "int": v1.get_variable("int", initializer=np.array([-1, 2**31 - 1], np.int32)),
            "long": v1.get_variable("long", initializer=np.int64(-(2**40))),
            "empty": v1.get_variable("empty", initializer=np.zeros((0, 4), np.float32)),
        }
        short = {
            "half": v1.get_variable("half", initializer=np.array([0.5, -2], np.float16)),
            "brain": v1.get_variable("brain", initializer=tf.constant([1.5, -3], tf.bfloat16)),
            "yes": v1.get_variable("yes", initializer=np.array([True, False])),
        }
        text = v1.get_variable("text", initializer=tf.constant("not a number"))
        part = v1.get_variable(
            "part", initializer=tf.constant(rng.integers(-9, 9, (200, 3)) / 4, tf.float32),
            partitioner=v1.fixed_size_partitioner(3),
        )  # fmt: skip
        session.run(v1.global_variables_initializer())
        expected = {name: np.ravel(session.run(v)).astype(float).tolist() for name, v in {**numbers, **short}.items()}
        expected["part"] = np.ravel(session.run(tf.concat(list(part), 0))).tolist()
        for name, version, variables in (("v1", 1, numbers), ("v2", 2, {**numbers, **short, "text": text})):
            saver = v1.train.Saver([*variables.values(), part], write_version=version)
            saver.save(session, str(folder / f"{name}.ckpt"), write_meta_graph=False, write_state=False)
        v1.train.Saver([*numbers.values(), part], sharded=True).save(
            session, str(folder / "sharded.ckpt"), write_meta_graph=False, write_state=False
        )
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


def objects(folder: Path) -> None:
    """What TensorFlow 2's `tf.train.Checkpoint` writes: keys are paths through objects, names stand in a graph."""

    class Block(tf.Module):
        def __init__(self) -> None:
            super().__init__(name="InceptionV1")
            with v1.variable_scope("InceptionV1/Conv2d_1a_7x7"):
                self.kernel = v1.get_variable("weights", initializer=tf.ones([1, 1, 2, 2]), use_resource=True)

    with v1.Graph().as_default(), v1.Session() as session:
        block = Block()
        session.run(v1.global_variables_initializer())
        v1.train.Checkpoint(model=block).save(str(folder / "objects"), session=session)
    (folder / "checkpoint").unlink()  # TensorFlow's note of the newest one


def main(folder: Path = GOLDEN, only: str = "") -> None:
    """Writes everything, or of the networks the one that is named."""
    folder.mkdir(parents=True, exist_ok=True)
    large, small = (299, 299), (139, 170)
    rows: list[tuple[Any, ...]] = [
        ("inception_v1", NETWORKS["inception_v1"], [(224, 224), (203, 217)], "V1"),
        ("inception_v2", NETWORKS["inception_v2"], [(224, 224), (203, 217)], "V2", training_leftovers),
        ("inception_v3", NETWORKS["inception_v3"], [large, small], "V2"),
        ("inception_v3_frozen", NETWORKS["inception_v3"], [small], "pb"),
        ("inception_v4", NETWORKS["inception_v4"], [large, small], "V2"),
        ("inception_resnet_v2", NETWORKS["inception_resnet_v2"], [large, small], "V1"),
        ("facenet", NETWORKS["facenet"], [(160, 160)], "V2"),
        ("xception_41", NETWORKS["xception_41"], [large, (128, 99)], "V2"),
        ("inception_2015", NETWORKS["inception_2015"], [large, (231, 187)], "pb"),
    ]
    for row in rows:
        if only in ("", row[0]):
            write(folder, *row)
    odds_and_ends(folder)
    objects(folder)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]), *sys.argv[2:])
