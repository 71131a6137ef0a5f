"""`create_model`: a network as its weights want it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from inceptions.image import Preprocess
from inceptions.progress import log
from inceptions.weights import artifact
from inceptions.weights.channels import channels_of, for_channels, with_channels
from inceptions.weights.checkpoint import some_of
from inceptions.weights.classifier import aux_state, fresh_head, head_state, two_classes, without_background
from inceptions.weights.convert import State, materialize, part_state
from inceptions.weights.defaults import class_names, default_preprocess
from inceptions.weights.described import Loaded, ModelFacts
from inceptions.weights.keras_graph import KerasModel
from inceptions.weights.layouts import LAYOUTS, FileHead, Match, choose, find_head, recognize, white
from inceptions.weights.locate import Facts, catalogue_facts, hub_facts, hub_file, is_none, locate, read
from inceptions.zoo import MEMBERS, Network, build, resolve

FREE = frozenset(
    (
        "num_classes",
        "in_channels",
        "width",
        "depth",
        "drop_rate",
        "aux",
        "hidden",
        "bottleneck",
        "norm_momentum",
        "conv_bias",
    )
)
"""Options that a checkpoint leaves open: they do not change what its network computes, or the tensors' shapes tell."""


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    weights: str | Path | None = None,
    weights_part: str | None = None,
    **options: Any,
) -> Network:
    """Builds a member of the family, with published or own weights on request.

    A checkpoint decides more than tensors: the network's numeric options (batch norm's epsilon, the borders of pools,
    ...), the preprocessing and the class names come with it.

    Args:
        name: one of `list_models()`, or an alias.
        num_classes: outputs; None: as in the weights, or as published. A head that fits is kept, any other is new.
        weights: a path, `https://...#sha256:HEX`, a catalogue name, `owner/name` on the Hugging Face hub, or None.
        weights_part: of a file with several networks: "model" (the weights as trained), "ema" (their average), or what
            its names begin with ("teacher"); None: the average where there is one.
        options: of the network (see `MEMBERS[name].options`).

    Returns:
        The network, in evaluation mode where it has weights, with `preprocess` and, where they are known, `classes`.

    Raises:
        ValueError: an unknown name or option, an option that contradicts the weights, weights of another network.
        DataError: the file is damaged, hostile or of no known layout (a ValueError).
        FileNotFoundError: there are no such weights.
    """
    if weights is None or is_none(weights):
        net = build(name, **options, **({} if num_classes is None else {"num_classes": num_classes}))
        net.preprocess = default_preprocess(net)
        return net
    loaded = load_weights(weights, network=name, num_classes=num_classes, options=options, part=weights_part)
    tell_assumed(loaded.net, loaded.assumed)
    return loaded.net


def tell_assumed(net: Network, assumed: Iterable[str]) -> None:
    """Logs in one line which of the preprocessing is as published, because the weights do not say."""
    if facts := ", ".join(f"{name} {getattr(net.preprocess, name)}" for name in assumed):
        log.info("preprocessing as published with %s, the file does not say: %s", net.name, facts)


def load_weights(
    source: str | Path,
    *,
    network: str | None = None,
    num_classes: int | None = None,
    options: Mapping[str, Any] | None = None,
    part: str | None = None,
) -> Loaded:
    """Reads weights from any SOURCE and builds the network they are for.

    Args:
        source: as `weights` of `create_model`.
        network: the member it must be; None: whichever it is.
        num_classes: as in `create_model`.
        options: given by hand; those that contradict the weights are an error.
        part: as `weights_part` of `create_model`.

    Raises:
        As `create_model`.
    """
    network = None if network is None else resolve(network)
    if num_classes is not None and num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; at least 1 is needed")
    path, options = locate(source), dict(options or {})
    if artifact.is_artifact(path):
        _refuse_part(part, path)
        return _from_artifact(path, network, num_classes, options)
    facts = hub_facts(path) if path.is_dir() else catalogue_facts(source)
    file = hub_file(path) if path.is_dir() else path
    chosen = choose(read(file), LAYOUTS, part, network)
    match = recognize(chosen.checkpoint, network, new_head=num_classes is not None)
    for note in chosen.notes:
        log.info("%s", note)
    loaded = _from_checkpoint(match, num_classes, options, facts)
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    provenance = {"source": str(source), "sha256": digest, **loaded.provenance}
    provenance |= {} if chosen.part is None else {"weights_part": chosen.part}
    return replace(loaded, provenance=provenance, facts=replace(loaded.facts, provenance=provenance))


def network_in(source: str | Path, part: str | None = None) -> str:
    """The member of the family that weights are for, without building it; arguments and errors as of `load_weights`."""
    path = locate(source)
    if artifact.is_artifact(path):
        return artifact.describe(path).facts.name
    chosen = choose(read(hub_file(path) if path.is_dir() else path), LAYOUTS, part)
    return recognize(chosen.checkpoint, new_head=True).layout.network


def _refuse_part(part: str | None, path: Path) -> None:
    if part not in (None, "model"):
        raise ValueError(f"{path} is a model of ours, which holds one network: leave --weights-part {part} out")


# --- our own artifacts ----------------------------------------------------------------------------------------------


def _from_artifact(path: Path, network: str | None, num_classes: int | None, options: dict[str, Any]) -> Loaded:
    stored, described = artifact.read(path)
    if network is not None and stored.name != network:
        raise ValueError(f"{path} holds {stored.name}, not {network}")
    open_ = ("aux", "drop_rate", "norm_momentum")
    fixed = {name: value for name, value in stored.options.items() if name not in open_}
    _refuse_contradictions(options, fixed, f"{path} ({stored.name})")
    with torch.device("meta"):
        net = build(stored.name, **{**stored.options, **options})
    wanted = net.state_dict()
    state = {name: tensor for name, tensor in stored.state_dict().items() if name in wanted}
    new_head = num_classes is not None and num_classes != stored.num_classes
    if num_classes is not None and new_head:
        state = fresh_head(net, state, num_classes, f"{path} has {stored.num_classes}")
    else:
        net.classes, net.temperature = stored.classes, stored.temperature
    materialize(net, state)
    net.preprocess = stored.preprocess
    facts = ModelFacts.of(net) if new_head else replace(described.facts, options=net.options)
    return Loaded(net=net.eval(), provenance={"source": str(path)}, facts=facts, new_head=new_head)


# --- others' checkpoints --------------------------------------------------------------------------------------------


def _from_checkpoint(match: Match, num_classes: int | None, options: dict[str, Any], facts: Facts) -> Loaded:
    layout, source, model = match.layout, match.checkpoint.source, match.checkpoint.model
    defaults = {**MEMBERS[layout.network].options, **layout.options}
    fixed = {name: value for name, value in defaults.items() if name not in FREE}
    _refuse_contradictions(options, fixed, f"{source} ({layout.title})")
    stored = channels_of(match) or defaults["in_channels"]
    settings = {**defaults, "in_channels": stored, **options}

    head = _usable_head(
        match, {**settings, "in_channels": stored}, num_classes, own="bottleneck" in options or "hidden" in options
    )
    outputs = head.outputs if head else None
    background = head is not None and head.background and num_classes == head.outputs - 1
    kept = head is not None and (background or num_classes in (None, outputs))
    wanted = defaults["num_classes"] if num_classes is None else num_classes
    settings["num_classes"] = wanted if head is None else head.rows  # as in the file first: every tensor is compared
    if head is not None and kept:
        settings["hidden"] = tuple(layer.rows for layer in head.hidden)
        if head.drop_rate is not None:
            settings["drop_rate"] = options.get("drop_rate", head.drop_rate)

    net, state = _network_and_body(match, settings, stored)
    state |= aux_state(match, net)
    if net.options.get("bottleneck") and all(module in match.names for module in layout.bottleneck):
        state |= part_state(match, "head.bottleneck", net.head.bottleneck, layout.bottleneck)
    if head is not None and kept:
        state |= head_state(match, net, head)
        if head.sigmoid:
            state = two_classes(net, state)
        if background:
            state = without_background(net, state)
        net.classes = _classes(match, head, net.num_classes, facts)
        _tell(source, head, net.classes)
    else:
        came = f"the file has {outputs}" if outputs else "the file has none that can be reused"
        state = fresh_head(net, state, wanted, came)
    if net.aux and not any(name.startswith("aux.") for name in state):
        log.info("new auxiliary heads: the weights hold none")
    materialize(net, state)
    preprocess, assumed = _preprocess(match, model if kept else None, facts)
    net.preprocess = for_channels(preprocess, net.in_channels)
    return Loaded(
        net=net.eval(),
        provenance={"layout": layout.title},
        facts=ModelFacts.of(net),
        new_head=not kept,
        assumed=assumed if net.preprocess else (),
        scales_pixels=kept and model is not None and model.scale is not None,
    )


def _usable_head(match: Match, settings: Mapping[str, Any], num_classes: int | None, *, own: bool) -> FileHead | None:
    """The file's head, where it can be reused.

    Args:
        match: the checkpoint.
        settings: of the network.
        num_classes: what the user asks for.
        own: whether the user describes a head of his own.

    Raises:
        ValueError: there is one that cannot be reused, and no `num_classes` for a new one.
    """
    head = None if own else find_head(match)
    if isinstance(head, FileHead):
        head = _misfit(match, settings, head) or head
    if isinstance(head, FileHead) and num_classes == 1 and head.rows == 1:
        head = None
    if not isinstance(head, str):
        return head
    if num_classes is None:
        raise ValueError(
            f"{match.checkpoint.source}: cannot reuse the classifier head ({head}); give num_classes "
            "to attach a new one (inceptions train DATA --weights does)"
        )
    log.info("the head of %s is left out (%s)", match.checkpoint.source, head)
    return None


def _misfit(match: Match, settings: Mapping[str, Any], head: FileHead) -> str | None:
    """Why a head does not stand on the pooled features of its network, in words."""
    with torch.device("meta"):
        net = build(match.layout.network, **{**settings, "hidden": ()})
    features, model = net.head.linear.in_features, match.checkpoint.model
    if head.layers[0].inputs != features:
        return f"{head.layers[0].name} reads {head.layers[0].inputs} numbers; {net.name} has {features} features"
    if head.hidden and settings.get("bottleneck"):
        return f"{net.name} with hidden layers and a bottleneck"
    size = None if model is None else model.size
    if head.window is not None and (size is None or net.table.grid(*size) != head.window):
        came = "images of no fixed size" if size is None else f"a map of {net.table.grid(*size)}"
        return f"its average pooling over {head.window} is not global for {came}"
    return None


def _network_and_body(match: Match, settings: Mapping[str, Any], stored: int) -> tuple[Network, State]:
    """A network without memory, and the tensors of its body out of a file for images of `stored` channels."""
    layout, channels = match.layout, settings["in_channels"]
    with torch.device("meta"):
        net = build(layout.network, **{**settings, "in_channels": stored})
    state = part_state(match, "body", net.body, layout.body)
    if channels != stored:
        state = with_channels(net, state, channels)
        with torch.device("meta"):
            net = build(layout.network, **settings)
        log.info(
            "the weights are for images of %d channels, in_channels is %d: the first kernels are %s",
            *(stored, channels, "added up" if channels == 1 else "repeated and scaled"),
        )
    return net, state


def _tell(source: str, head: FileHead, classes: tuple[str, ...]) -> None:
    """Says what of a head the file does not say, and what one output means."""
    if head.told:
        log.info("%s: %s", source, head.told)
    if head.sigmoid:
        log.info(
            "%s has one output: two classes, %r and %r; the sigmoid of the output is the probability of %r",
            *(source, *classes, classes[1]),
        )


def _refuse_contradictions(options: Mapping[str, Any], fixed: Mapping[str, Any], source: str) -> None:
    wrong = [
        f"{name}={value!r} (there it is {fixed[name]!r})"
        for name, value in options.items()
        if name in fixed and (tuple(value) if isinstance(value, list) else value) != fixed[name]
    ]
    if wrong:
        raise ValueError(
            f"{', '.join(wrong)} contradicts the weights {source}, which decide it; leave the option out, or build the "
            "network without weights"
        )


def _classes(match: Match, head: FileHead, count: int, facts: Facts) -> tuple[str, ...]:
    if facts.classes is not None and len(facts.classes) == count:
        return facts.classes
    told = [names for names in match.checkpoint.labels if len(names) == count]
    if len(told) == 1:
        log.info("%s: its classes are called as its settings say: %s", match.checkpoint.source, some_of(told[0]))
        return told[0]
    published = head.classifier in match.layout.heads
    return class_names(match.layout.labels if published else None, match.layout.classes, count)


def _preprocess(match: Match, model: KerasModel | None, facts: Facts) -> tuple[Preprocess, tuple[str, ...]]:
    """What the images of a checkpoint go through, and which of it was taken as published.

    `model` where the whole of it was taken, not only its base.
    """
    if facts.preprocess is not None:
        return facts.preprocess, ()
    preprocess, assumed = match.layout.preprocess, ["size", "resize", "crop_pct", "interpolation", "mean", "std"]
    if model is not None and model.size is not None:
        preprocess = replace(preprocess, size=model.size)
        assumed.remove("size")
    if (colors := match.checkpoint.statistics) is not None and preprocess.channels == len(colors[0]):
        mean, std = colors
        preprocess = replace(preprocess, mean=mean, std=std, value_range=white(colors), channel_order="rgb")
        log.info("%s: keeps mean %s and std %s of its images, which are taken", match.checkpoint.source, mean, std)
        assumed = [name for name in assumed if name not in ("mean", "std")]
    if model is not None and model.scale is not None:
        # scale * pixel + offset is (pixel / 255 - mean) / std
        channels = range(preprocess.channels)
        scale, offset = ([values[i % len(values)] for i in channels] for values in (model.scale, model.offset))
        std = tuple(1 / (255 * s) for s in scale)
        mean = tuple(-o / (255 * s) for o, s in zip(offset, scale, strict=True))
        preprocess = replace(preprocess, mean=mean, std=std, value_range=1.0, channel_order="rgb")
        assumed.remove("mean")
        assumed.remove("std")
    return preprocess, tuple(assumed)
