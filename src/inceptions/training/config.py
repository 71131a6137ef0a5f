"""Every setting of a training run, one frozen record: a field is a command-line flag, its docstring the flag's help."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from inceptions.checks import Rule, above, at_least, between, validated
from inceptions.data import Augment, Ratio, Scale, Strength, Turn

DEFAULT_MODEL = "xception"
"""What is trained where neither a network nor weights are named."""

Positive = Annotated[float, above(0), "> 0"]
NotNegative = Annotated[float, at_least(0), ">= 0"]
Share = Annotated[float, between(0, 1, "[)"), "in [0, 1)"]
Count = Annotated[int, above(0)]
Index = Annotated[int, at_least(0)]
Seed = Annotated[int, between(0, 1 << 63, "[)"), "in [0, 2**63)"]
BatchSize = Annotated[Annotated[int, at_least(2)] | Literal["auto"], "at least 2 (batch norm needs two images) or auto"]
_TUNED = re.compile(r"all|head|last:[1-9]\d*")
_TIME = re.compile(r"\s*(\d+(?:\.\d+)?)([smh]?)\s*")
_TIMES = "a number with s, m or h, such as 30m"


@dataclass(frozen=True)
class TrainConfig:
    """What to train, on what, and how. `recipes.py` holds named ones; `inceptions train` makes one from its flags.

    Settings that are None or "auto" are decided by the run, once, and stored decided in its `config.yaml`.

    Raises:
        ValueError: settings out of range or in conflict; the message names all of them.
    """

    data: str = ""
    """Folder (train|val|test / CLASS / image, or CLASS / image), CSV or JSONL manifest, or data set."""

    _: KW_ONLY

    output: Path | None = None
    """Run folder to write; none: runs/DATA-MODEL. One that holds files already is refused without --resume."""

    resume: bool = False
    """Continue the run in --output, to the same bits as if it had never stopped."""

    override: bool = False
    """With --resume: accept settings or data that differ from the run's."""

    # The network

    model: str | None = None
    """A name of `inceptions models`; none: the weights' network, without weights xception."""

    weights: str | None = None
    """Start from these: a file, a folder (model or run), or a published record's name. None: from scratch."""

    weights_part: str | None = None
    """Of a weight file with several networks: model (as trained), ema (their average), or what its names begin with."""

    tune: Annotated[str, Rule(_TUNED.fullmatch), "all, head or last:N with N >= 1"] | None = None
    """What is trained: all, head, or last:N (head and last N stages); none: all, or head with weights and no GPU."""

    freeze_norm: bool = False
    """Keep the statistics of the weights' batch norms: few images would only blur them."""

    width: Positive = 1.0
    """Multiplies the channels of every stage."""

    depth: Positive = 1.0
    """Multiplies the repeats of every stage."""

    stem: Literal["standard", "small"] = "standard"
    """small: a stem for images of 32 to 96 px."""

    drop_rate: Annotated[Share | None, Parameter(alias="--drop")] = None
    """Dropout before the classifier; none: the network's own."""

    aux: bool = False
    """Train auxiliary heads too, where the network has them."""

    aux_weight: Positive | None = None
    """Weight of an auxiliary head's loss; none: the network's paper's (0.3 for v1, 0.4 for the others)."""

    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Other options of the network, such as `--options.residual false`."""

    init_scale: Positive = 1.0
    """Multiplies the initial weights of every convolution of a network that is trained from scratch."""

    # Images

    img_size: Count | None = None
    """Side of the square the network sees, px; none: the weights' or the network's own."""

    in_channels: Literal[1, 3] = 3
    """3: color, 1: gray."""

    crop_pct: Annotated[float, between(0, 1, "(]")] | None = None
    """Share of the resized image that evaluation sees; none: the weights', else 0.875, or 1 up to 96 px."""

    interpolation: Literal["bilinear", "bicubic", "lanczos", "box", "nearest"] | None = None
    """Resampling filter; none: the weights', else bilinear."""

    val_fraction: Annotated[float, between(0, 1, "()")] = 0.2
    """Share of the training images held out where DATA has no val folder."""

    split_seed: Seed = 0
    """Chooses the images that are held out."""

    label: str | None = None
    """Column of the labels in a manifest or data set."""

    workers: Annotated[Index | None, Parameter(alias="-j")] = None
    """Processes that read images; none: one a core, at most 8; 0: the training process itself."""

    crop: Literal["inception", "pad", "none"] = "inception"
    """Training view. inception: a random part of --scale and --ratio; pad: evaluation's, moved by up to 4 px over a
    mirrored border (small images); none: evaluation's."""

    scale: Scale = (0.08, 1.0)
    """Smallest and largest share of the image's area that a training crop covers."""

    ratio: Ratio = (3 / 4, 4 / 3)
    """Narrowest and widest aspect (width / height) of a training crop."""

    flip: bool = True
    """Mirror half of the training images; not for digits and letters."""

    color_jitter: Strength = 0.0
    """Photometric distortion: brightness, contrast and saturation by factors in 1 -+ this, at most 1."""

    hue: Turn = 0.0
    """Turn the colors by an angle in -+ this share of the circle, at most 0.5."""

    trivial: bool = False
    """TrivialAugment: one random operation of random strength an image."""

    reprob: Strength = 0.0
    """Random erasing: the probability that a rectangle of an image becomes noise."""

    mixup: NotNegative = 0.0
    """Alpha of mixup's Beta distribution; 0: no mixup."""

    cutmix: NotNegative = 0.0
    """Alpha of cutmix's Beta distribution; 0: no cutmix. With both, each step takes one of them by a fair coin."""

    class_weights: str | None = None
    """Weights w of the classes in the loss: balanced, or a JSON file {class: weight}. The loss of a step is the sum of
    w t (-log p) over the sum of w t, over all its images and classes, for targets t after smoothing and mixing."""

    balanced_sampler: bool = False
    """Draw every class equally often (with repetition) instead of every image once an epoch."""

    # Optimization

    epochs: Count = 30
    """Passes over the training images."""

    batch_size: Annotated[BatchSize, Parameter(alias="-b")] = 32
    """Images a batch; auto: as many as the device's memory holds."""

    grad_accum_steps: Count = 1
    """Batches that make one step, as if they were one: its loss is over all their images that could be read."""

    opt: Literal["sgd", "nesterov", "rmsproptf", "adam", "adamw"] = "sgd"
    """Optimizer; rmsproptf is RMSProp as TensorFlow has it (epsilon inside the root, mean square from one)."""

    lr: Positive = 0.05
    """Largest learning rate."""

    momentum: Share = 0.9
    """Momentum (sgd, nesterov, rmsproptf) or beta 1 (adam, adamw)."""

    opt_decay: Share | None = None
    """Decay of the squared gradients' average: rho of rmsproptf (none: 0.9), beta 2 of adam, adamw (none: 0.999)."""

    opt_eps: Positive | None = None
    """Epsilon; none: 1.0 for rmsproptf (the papers'), 1e-8 for adam and adamw."""

    weight_decay: NotNegative = 1e-4
    """L2 penalty (decoupled in adamw)."""

    decay_all: bool = False
    """Apply the weight decay to biases and batch norms too."""

    sched: Literal["cosine", "step", "constant"] = "cosine"
    """Learning rate after the warm-up: cosine to --min-lr; step: times --decay-rate every --decay-epochs."""

    warmup_epochs: NotNegative = 0.0
    """Epochs over which the learning rate rises linearly from --warmup-lr."""

    warmup_lr: NotNegative = 0.0
    """Learning rate at the first step of the warm-up."""

    min_lr: NotNegative = 0.0
    """Smallest learning rate after the warm-up."""

    decay_rate: Positive = 0.94
    """Factor of the step schedule."""

    decay_epochs: Positive = 2.0
    """Epochs between two factors of the step schedule."""

    smoothing: Share = 0.0
    """Label smoothing e: targets t are (1 - e) one_hot + e / classes; --class-weights multiply them, as it says."""

    clip_grad: Positive | None = None
    """Largest norm of all gradients together."""

    model_ema: Annotated[bool, Parameter(alias="--ema")] = False
    """Average the weights over the steps; evaluate and save the average."""

    model_ema_decay: Share = 0.9998
    """Share of the old average a step keeps, at most (1 + step) / (10 + step)."""

    patience: Count | None = None
    """Stop after this many epochs without a better validation loss."""

    max_time: Annotated[str, Rule(_TIME.fullmatch), _TIMES] | None = None
    """Stop training after this long (90s, 30m, 2h), evaluate and save; --resume can go on."""

    # Machine

    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, mps."""

    amp: bool = False
    """Mixed precision."""

    amp_dtype: Literal["bfloat16", "float16"] = "bfloat16"
    """Mixed precision's low precision; float16 scales the loss."""

    channels_last: bool = False
    """Memory order that is faster on most devices."""

    compile: bool = False
    """torch.compile the training step's forward."""

    seed: Seed = 0
    """Seed of everything random: weights, order, augmentation, dropout, mixup."""

    deterministic: bool = False
    """On a GPU, only algorithms that give the same bits each time (slower); the CPU always does."""

    checkpoint_every: NotNegative = 30.0
    """Seconds between two checkpoints (there is also one after each epoch); 0: one after each step."""

    def __post_init__(self) -> None:
        validated(self, self._conflicts(), says="{name} must be {allowed}, not {value}")

    def _conflicts(self) -> Iterator[str]:
        """What does not go together, in words."""
        from inceptions.zoo import resolve  # only here: it imports PyTorch, which --help does without

        try:
            resolve(self.model or DEFAULT_MODEL)
        except ValueError as error:
            yield str(error)
        if not self.data:
            yield "no DATA: give a folder of labeled images, a manifest or a data set"
        if self.opt == "nesterov" and self.momentum == 0:
            yield "momentum must be above 0 for nesterov, which looks ahead along it; --opt sgd works without it"
        if self.weights is None:
            if self.tune not in (None, "all"):
                yield f"tune={self.tune} requires weights: a randomly initialized backbone has nothing to reuse"
            if self.freeze_norm:
                yield "freeze_norm requires weights: an untrained network has no batch-norm statistics to keep"
            if self.weights_part is not None:
                yield f"weights_part={self.weights_part} needs weights"
        if self.override and not self.resume:
            yield "override requires resume"
        for name in ("min_lr", "warmup_lr"):
            if getattr(self, name) > self.lr:
                yield f"{name} {getattr(self, name)} must not be above lr {self.lr}"
        if self.warmup_epochs >= self.epochs:
            yield f"warmup_epochs {self.warmup_epochs} must be fewer than epochs {self.epochs}"

    def replace(self, **changes: Any) -> TrainConfig:
        """A copy with `changes`, checked again."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """All settings as JSON and YAML hold them; `from_dict` reads them back."""
        record = dataclasses.asdict(self)
        record["output"] = None if self.output is None else str(self.output)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in record.items()}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> TrainConfig:
        """Raises ValueError for settings this version does not know."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(record) - known):
            raise ValueError(f"unknown settings {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        output = record.get("output")
        return cls(**{**record, "output": None if output is None else Path(output)})

    def augment(self) -> Augment:
        """What happens to training images on the CPU. Raises ValueError for settings out of range."""
        return Augment(
            crop=self.crop,
            scale=self.scale,
            ratio=self.ratio,
            flip=self.flip,
            brightness=self.color_jitter,
            contrast=self.color_jitter,
            saturation=self.color_jitter,
            hue=self.hue,
            trivial=self.trivial,
            erase=self.reprob,
        )

    @property
    def max_seconds(self) -> float:
        """--max-time in seconds, infinite where there is none."""
        return math.inf if self.max_time is None else seconds(self.max_time)

    @property
    def tuned_stages(self) -> int | None:
        """How many of the last stages are trained besides the head: 0 for `head`, None for all."""
        if self.tune in (None, "all"):
            return None
        return 0 if self.tune == "head" else int(str(self.tune).removeprefix("last:"))


NOT_COMPARED = frozenset({"output", "resume", "override", "workers", "checkpoint_every", "max_time"})
"""Settings that cannot change a run's result, so resuming may change them."""

DIVIDING = frozenset({"data", "split_seed", "val_fraction", "label"})
"""Settings that decide which images are in which split."""


def changes(stored: TrainConfig, given: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """Where `given` differs from `stored` (decided): {setting: (stored, given)}.

    What is left to the run (None, "auto") never differs.
    """
    old, new = stored.to_dict(), given.to_dict()
    return {
        name: (old[name], value)
        for name, value in new.items()
        if name not in NOT_COMPARED and value not in (None, "auto") and value != old[name]
    }


def seconds(text: str) -> float:
    """`90s`, `30m`, `1.5h` or plain seconds as seconds. Raises ValueError."""
    if not (match := _TIME.fullmatch(text)):
        raise ValueError(f"a time limit is {_TIMES}; not {text!r}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


_NEEDS: dict[str, tuple[str, tuple[object, ...]]] = {
    "aux_weight": ("aux", (True,)),
    "opt_decay": ("opt", ("rmsproptf", "adam", "adamw")),
    "opt_eps": ("opt", ("rmsproptf", "adam", "adamw")),
    "amp_dtype": ("amp", (True,)),
    "model_ema_decay": ("model_ema", (True,)),
    "decay_rate": ("sched", ("step",)),
    "decay_epochs": ("sched", ("step",)),
    "min_lr": ("sched", ("cosine",)),
    "scale": ("crop", ("inception",)),
    "ratio": ("crop", ("inception",)),
    "init_scale": ("weights", (None,)),
}
"""setting -> (another one, the values of that under which it acts)."""

_OF_THE_LOOP = (
    *("freeze_norm", "crop", "scale", "ratio", "flip", "color_jitter", "hue", "trivial", "reprob", "mixup", "cutmix"),
    *("epochs", "grad_accum_steps", "opt", "lr", "momentum", "opt_decay", "opt_eps", "weight_decay", "decay_all"),
    *("sched", "warmup_epochs", "warmup_lr", "min_lr", "decay_rate", "decay_epochs", "clip_grad", "model_ema"),
    *("model_ema_decay", "patience", "max_time", "amp", "amp_dtype", "channels_last", "compile", "aux_weight"),
)
"""What a head that is fitted to features (`tune` "head") has no use for."""


def idle(config: TrainConfig) -> dict[str, str]:
    """Settings that were changed but have no effect in this combination: {name: why}."""
    plain = {field.name: field.default for field in fields(TrainConfig)}
    changed = [name for name in (*_NEEDS, *_OF_THE_LOOP) if getattr(config, name) != plain[name]]
    why: dict[str, str] = {}
    for name in dict.fromkeys(changed):
        other, values = _NEEDS.get(name, ("", ()))
        if config.tune == "head" and name in _OF_THE_LOOP:
            why[name] = "a head is fitted without epochs and augmentation; tune: all trains the network"
        elif other and getattr(config, other) not in values:
            why[name] = f"{other} is {getattr(config, other)}"
    return why
