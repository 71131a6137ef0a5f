"""Tensors out of TensorFlow's files, without TensorFlow: checkpoints of both formats and frozen graphs.

* the tensor bundle ("V2"): `NAME.index`, a table of what lies where, and `NAME.data-00000-of-00001`, the bare bytes;
* the older single file ("V1", `NAME.ckpt`): one table that holds the tensors themselves, in slices;
* the frozen graph (`.pb`): a GraphDef in which every variable has become a `Const` node;
* a SavedModel (`saved_model.pb` and `variables/`), whose variables are a tensor bundle.

Every size is compared with the file before anything is allocated, and every checksum that the file has is checked.
Nothing of a graph is executed.

Sources: tensorflow/core/protobuf/tensor_bundle.proto, core/util/saved_tensor_slice.proto, core/framework/{tensor,graph,
types}.proto, core/util/saved_tensor_slice_util.cc (keys of slices).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from torch import Tensor

from inceptions.errors import DataError
from inceptions.progress import track
from inceptions.weights import saved_model, sstable
from inceptions.weights.bundle import OBJECT, index_of, read_bundle
from inceptions.weights.checkpoint import Checkpoint
from inceptions.weights.tensor_protos import (
    ALL,
    Array,
    Extents,
    as_tensor,
    assemble,
    read_extents,
    read_shape,
    read_tensor,
)
from inceptions.weights.wire import as_bytes, as_int, as_text, fields

_MAX_GRAPH = 1 << 31  # bytes: protobuf's own limit for a message
_EXPANSION, _SLACK = 4, 16 << 20  # a graph's tensors take so many times its bytes, and so many more, in memory
_KINDS = (
    "weights", "biases", "depthwise_weights", "pointwise_weights", "gamma", "beta", "moving_mean", "moving_variance"
)  # fmt: skip
_VARIABLES = {kind: kind for kind in _KINDS} | {"conv2d_params": "weights", "kernel": "weights", "bias": "biases"}
"""What the last part of a network's variable may be, and what slim calls it; the graph of 2015 is older than slim, and
a head of somebody's own may have been made with `tf.layers`."""
_KERAS = (
    "kernel", "bias", "depthwise_kernel", "pointwise_kernel", "gamma", "beta", "moving_mean", "moving_variance"
)  # fmt: skip

_AVERAGE = "/ExponentialMovingAverage"
"""What follows a variable's name in the name of its moving average; what optimizers keep has other names."""


def is_tensorflow(path: Path) -> bool:
    """Whether `path` is a checkpoint (a bundle's index, a data file of it, or an old one) or is called a graph."""
    return index_of(path) is not None or path.suffix == ".pb" or (path.is_file() and sstable.is_table(path))


def read_tensorflow(path: Path) -> Checkpoint:
    """Reads a checkpoint or a frozen graph: the variables of its network, without what training adds to them.

    Args:
        path: a bundle's prefix (`model.ckpt`), its `.index` or a `.data-*` file of it, an old checkpoint, or a `.pb`.

    Raises:
        DataError: none of these, damaged, cut short, or its parts contradict each other.
        OSError: a file of it is missing or cannot be read.
    """
    if path.suffix == ".pb" and saved_model.is_saved_model(path):
        path = saved_model.checkpoint_in(path.parent) or path
    tensors = _read_frozen_graph(path) if path.suffix == ".pb" else read_checkpoint(path)
    kinds = {kind: kind for kind in _KERAS} if _is_keras(tensors) else _VARIABLES
    variables: dict[str, Tensor] = {}
    averages: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        bare = name.removesuffix(_AVERAGE)
        scope, _, kind = bare.rpartition("/")
        if kind in kinds:
            (variables if bare == name else averages)[f"{scope}/{kinds[kind]}"] = as_tensor(tensor)
    if not variables and not averages:
        raise DataError(f"{path}: {_nameless(tensors)}")
    if kinds is _VARIABLES:
        return Checkpoint(source=str(path), dialect="slim", tensors=variables, averages=averages)
    index = index_of(path)
    model = None if index is None else saved_model.keras_model(index)
    return Checkpoint(source=str(path), dialect="keras", tensors=variables, averages=averages, model=model)


def _is_keras(tensors: Iterable[str]) -> bool:
    """Whether most matrices and filters are called as Keras calls them, not slim."""
    kinds = Counter(name.rpartition("/")[2] for name in tensors)
    return kinds["kernel"] + kinds["depthwise_kernel"] > kinds["weights"] + kinds["depthwise_weights"]


def _nameless(tensors: Collection[str]) -> str:
    if any(name.endswith(OBJECT) for name in tensors):
        return (
            f"{len(tensors)} tensors of a SavedModel or of Keras's save_weights that are not called by their layers' "
            "names, so they cannot be identified without the program; load the model where it comes from, and give "
            "what model.save('model.keras') writes there"
        )
    return (
        f"{len(tensors)} tensors, and none is called like a layer's ({', '.join(_VARIABLES)}, {', '.join(_KERAS)}); "
        "save the network's variables by their names"
    )


def read_checkpoint(path: Path) -> dict[str, Array]:
    """All numeric tensors of a checkpoint by name; arguments and errors as of `read_tensorflow`."""
    index = index_of(path)
    try:
        if index is not None:
            return read_bundle(index)
        if path.is_file() and sstable.is_table(path):
            return _read_v1(path)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    if not path.exists():
        raise FileNotFoundError(f"{path}: neither this file nor {path.name}.index exists")
    raise DataError(
        f"{path}: not a TensorFlow checkpoint; give its prefix (model.ckpt, next to which model.ckpt.index and "
        "model.ckpt.data-* lie), or the single file of an old one"
    )


def _read_frozen_graph(path: Path) -> dict[str, Array]:
    """The values of a frozen graph's `Const` nodes by node name."""
    size = path.stat().st_size
    if size > _MAX_GRAPH:
        raise DataError(f"{path}: {size} bytes; a GraphDef has at most {_MAX_GRAPH}")
    try:
        graph = memoryview(path.read_bytes())
        nodes = [as_bytes(value, what="a node") for number, value in fields(graph) if number == 1]
        tensors: dict[str, Array] = {}
        left = _EXPANSION * size + _SLACK
        for node in track(nodes, description=f"reading {path.name}", unit="nodes"):
            left -= _read_node(node, tensors)
            if left < 0:
                raise ValueError("its tensors repeat their last values too often to believe")
    except ValueError as error:
        raise DataError(f"{path}: not a frozen TensorFlow graph, or damaged: {error}") from error
    if not tensors:
        raise DataError(f"{path}: no constants in this graph; freeze its variables, or give the checkpoint instead")
    return tensors


_Described = dict[str, tuple[int, tuple[int, ...]]]
"""Name to (DataType, shape) of an old checkpoint's tensors."""


def _read_v1(path: Path) -> dict[str, Array]:
    """Every tensor of an old checkpoint, which keeps them in slices and describes them all at its beginning."""
    described: _Described = {}
    parts: dict[str, list[tuple[Extents, Array]]] = {}
    for key, value in track(sstable.entries(path), description=f"reading {path.name}", unit="tensors"):
        for number, message in fields(value):
            content = as_bytes(message, what="an entry")
            if key == b"" and number == 1:
                described = _descriptions(content)
            elif key != b"" and number == 2:
                name, extents, part = _slice(content, described)
                if part is not None:
                    parts.setdefault(name, []).append((extents, part))
    return {name: assemble(name, described[name][1], pieces) for name, pieces in parts.items()}


def _descriptions(meta: memoryview) -> _Described:
    """A SavedTensorSliceMeta."""
    described: _Described = {}
    for number, tensor in fields(meta):
        if number == 1:
            name, dtype, shape = "", 0, tuple[int, ...]()
            for part, value in fields(as_bytes(tensor, what="a tensor's description")):
                if part == 1:
                    name = as_text(value, what="a tensor's name")
                elif part == 2:
                    shape = read_shape(as_bytes(value, what="a shape"))
                elif part == 3:
                    dtype = as_int(value, what="a tensor's type")
            described[name] = dtype, shape
    return described


def _slice(data: memoryview, described: _Described) -> tuple[str, Extents, Array | None]:
    """A SavedSlice: the tensor's name, where in it this part belongs, and the numbers (None: it holds none of ours)."""
    name, tensor = "", memoryview(b"")
    extents: Extents = ()
    for number, value in fields(data):
        if number == 1:
            name = as_text(value, what="a tensor's name")
        elif number == 2:
            extents = read_extents(as_bytes(value, what="a slice"))
        elif number == 3:
            tensor = as_bytes(value, what="a tensor")
    if name not in described or len(extents) != len(described[name][1]):
        raise ValueError(f"a slice of {name!r} fits no tensor that the file's beginning describes")
    dtype, whole = described[name]
    shape = tuple(size if length == ALL else length for size, (_, length) in zip(whole, extents, strict=True))
    part = read_tensor(tensor, (dtype, shape))
    return name, extents, None if part is None else part.copy()  # a copy lets go of the file's block


def _read_node(node: memoryview, tensors: dict[str, Array]) -> int:
    """Adds a NodeDef's value to `tensors` if it is a constant of numbers; returns the bytes of memory that it takes."""
    name, operation, value = "", "", None
    for number, content in fields(node):
        if number == 1:
            name = as_text(content, what="a node's name")
        elif number == 2:
            operation = as_text(content, what="a node's operation")
        elif number == 5:
            key, attribute = "", memoryview(b"")
            for part, item in fields(as_bytes(content, what="an attribute")):
                if part == 1:
                    key = as_text(item, what="an attribute's name")
                elif part == 2:
                    attribute = as_bytes(item, what="an attribute's value")
            if key == "value":
                value = attribute
    if operation != "Const" or value is None:
        return 0
    if name in tensors:
        raise ValueError(f"two nodes are named {name}")
    for number, content in fields(value):
        if number == 8:
            try:
                tensor = read_tensor(as_bytes(content, what="a tensor"))
            except ValueError as error:
                raise ValueError(f"node {name}: {error}") from error
            if tensor is not None:
                tensors[name] = tensor
    return tensors[name].nbytes if name in tensors and any(tensors[name].strides) else 0
