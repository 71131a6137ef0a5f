"""The vocabulary of the family: small frozen records that know how to build themselves.

A layer is declared by its *output* only; `build(width)` takes the channels that arrive and returns the module with the
channels that leave, so widths flow through a table and a network reads like its paper's figure. `grid(height, width)`
is the same for the spatial size. Records print, compare and hash; what a network is made of can be looked at without
building it.

Tensors are (N, C, H, W); kernels and grids are (height, width), so "1x7" is one high and seven wide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Grid: TypeAlias = tuple[int, int]
Padding: TypeAlias = Literal["same", "valid", "tf_same", "ceil"]
"""Where the border is from. "same": k // 2 zeros on every side. "valid": nothing. "tf_same": TensorFlow's SAME, whose
strided layers, for some input sizes, pad the bottom and right but not the top and left. "ceil" (pools only):
nothing, but a last window that starts inside is kept even where it sticks out (Caffe's rounding up)."""

Activation: TypeAlias = Literal["relu", "sigmoid"]
ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}


class Layer(Protocol):
    """Anything a table may hold."""

    @property
    def name(self) -> str:
        """How the layer is called among its neighbours, and so in the keys of a checkpoint."""

    def build(self, width: int) -> tuple[nn.Module, int]:
        """Return the module for `width` incoming channels, and the channels that leave it."""

    def grid(self, height: int, width: int) -> Grid:
        """Return the spatial size that leaves; below 1 where the input is too small."""


# --- borders ------------------------------------------------------------------------------------------------------


def tf_same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros (before, after) along one axis under TensorFlow's SAME; an odd one goes after."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def out_size(size: int, kernel: int, stride: int, padding: Padding) -> int:
    """Output size along one axis; below 1 where no window fits."""
    if size < 1:
        return 0
    if padding == "tf_same":
        return math.ceil(size / stride)
    if padding == "ceil":
        # PyTorch and Caffe alike drop a last window that would start past the end.
        windows = math.ceil((size - kernel) / stride) + 1
        return windows - 1 if (windows - 1) * stride >= size else windows
    border = 2 * (kernel // 2) if padding == "same" else 0
    return (size + border - kernel) // stride + 1


def _both(size: int | Grid) -> Grid:
    return (size, size) if isinstance(size, int) else size


def _pad_same(images: Tensor, kernel: Grid, stride: int, value: float) -> Tensor:
    top, bottom = tf_same(images.shape[2], kernel[0], stride)
    left, right = tf_same(images.shape[3], kernel[1], stride)
    return F.pad(images, (left, right, top, bottom), value=value)


class SameConv2d(nn.Conv2d):
    """A strided convolution with TensorFlow's SAME border, worked out from the size that arrives."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(_pad_same(input, (self.kernel_size[0], self.kernel_size[1]), self.stride[0], 0.0))


class SameMaxPool2d(nn.MaxPool2d):
    """A strided max pool with TensorFlow's SAME border; the border never wins."""

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size, self.stride
        assert isinstance(kernel, int)
        assert isinstance(stride, int)
        pooled: Tensor = super().forward(_pad_same(input, (kernel, kernel), stride, -math.inf))
        return pooled


def _conv2d(
    in_channels: int, out_channels: int, kernel: Grid, stride: int, padding: Padding, bias: bool, groups: int = 1
) -> nn.Conv2d:
    if padding == "tf_same" and (stride > 1 or kernel[0] % 2 == 0 or kernel[1] % 2 == 0):
        return SameConv2d(in_channels, out_channels, kernel, stride, groups=groups, bias=bias)
    border = (0, 0) if padding == "valid" else (kernel[0] // 2, kernel[1] // 2)
    return nn.Conv2d(in_channels, out_channels, kernel, stride, border, groups=groups, bias=bias)


# --- convolution --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation over (N, H, W) (1502.03167, algorithm 1)."""

    eps: float = 1e-3
    momentum: float = 0.1
    """The weight of the new batch in the running average: PyTorch's sense, one minus TensorFlow's decay."""
    scale: bool = True
    """False: gamma stays 1 and is never trained, as in TF-slim and Keras's Inception networks."""

    def build(self, width: int) -> nn.BatchNorm2d:
        """A `BatchNorm2d` of `width` channels."""
        module = nn.BatchNorm2d(width, eps=self.eps, momentum=self.momentum)
        if not self.scale:
            module.weight.requires_grad_(False)
        return module


class ConvNormAct(nn.Sequential):
    """conv -> norm -> activation, as far as each is there."""


@dataclass(frozen=True)
class Conv:
    """Convolution, then normalisation and activation where asked for."""

    out_channels: int
    kernel: Grid = (1, 1)
    stride: int = 1
    padding: Padding = "same"
    norm: BatchNorm | None = None
    activation: Activation | None = None
    bias: bool = True

    @property
    def name(self) -> str:
        return f"conv{self.kernel[0]}x{self.kernel[1]}"

    def build(self, width: int) -> tuple[nn.Module, int]:
        parts = ConvNormAct()
        parts.add_module("conv", _conv2d(width, self.out_channels, self.kernel, self.stride, self.padding, self.bias))
        if self.norm:
            parts.add_module("norm", self.norm.build(self.out_channels))
        if self.activation:
            parts.add_module("activation", _private_activation(self.activation))
        return parts, self.out_channels

    def grid(self, height: int, width: int) -> Grid:
        return (
            out_size(height, self.kernel[0], self.stride, self.padding),
            out_size(width, self.kernel[1], self.stride, self.padding),
        )


def _private_activation(activation: Activation) -> nn.Module:
    """An activation that follows a convolution or a norm: nobody else reads its input, so ReLU may work in place."""
    return nn.ReLU(inplace=True) if activation == "relu" else ACTIVATIONS[activation]()


class _SeparableModule(nn.Sequential):
    """depthwise and pointwise convolution in either order, with what stands between and after."""


@dataclass(frozen=True)
class Separable:
    """A convolution split into one over space and one over channels (1610.02357, section 1.2)."""

    out_channels: int
    kernel: int = 3
    stride: int = 1
    padding: Padding = "same"
    norm: BatchNorm | None = None
    activation: Activation | None = None
    order: Literal["space_first", "channel_first"] = "space_first"
    middle_norm: BatchNorm | None = None
    """Normalisation between the two (DeepLab's Xception-41/65/71)."""
    middle_activation: Activation | None = None
    """Activation between the two; the Xception paper's figure 10 found that none is better."""
    multiplier: int = 1
    """Depthwise filters an input channel (8 in the first layer of TF-slim's Inception v2)."""
    bias: bool = False
    """A bias on the last of the two convolutions."""

    @property
    def name(self) -> str:
        return f"separable{self.kernel}x{self.kernel}"

    def build(self, width: int) -> tuple[nn.Module, int]:
        space_first = self.order == "space_first"
        middle = width * self.multiplier if space_first else self.out_channels
        kernel = (self.kernel, self.kernel)
        parts = _SeparableModule()
        if space_first:
            depthwise = _conv2d(width, middle, kernel, self.stride, self.padding, bias=False, groups=width)
            parts.add_module("depthwise", depthwise)
        else:
            parts.add_module("pointwise", nn.Conv2d(width, middle, 1, bias=False))
        if self.middle_norm:
            parts.add_module("middle_norm", self.middle_norm.build(middle))
        if self.middle_activation:
            parts.add_module("middle_activation", _private_activation(self.middle_activation))
        if space_first:
            parts.add_module("pointwise", nn.Conv2d(middle, self.out_channels, 1, bias=self.bias))
        else:
            depthwise = _conv2d(middle, middle, kernel, self.stride, self.padding, bias=self.bias, groups=middle)
            parts.add_module("depthwise", depthwise)
        if self.norm:
            parts.add_module("norm", self.norm.build(self.out_channels))
        if self.activation:
            parts.add_module("activation", _private_activation(self.activation))
        return parts, self.out_channels

    def grid(self, height: int, width: int) -> Grid:
        return (
            out_size(height, self.kernel, self.stride, self.padding),
            out_size(width, self.kernel, self.stride, self.padding),
        )


@dataclass(frozen=True)
class Act:
    """An activation on its own, in front of a convolution. Never in place: a shortcut may read the same tensor."""

    activation: Activation = "relu"

    @property
    def name(self) -> str:
        return self.activation

    def build(self, width: int) -> tuple[nn.Module, int]:
        return ACTIVATIONS[self.activation](), width

    def grid(self, height: int, width: int) -> Grid:
        return height, width


# --- pooling and local response normalisation ---------------------------------------------------------------------


@dataclass(frozen=True)
class Pool:
    """Max or average pooling."""

    kind: Literal["max", "avg"]
    kernel: int = 3
    stride: int = 1
    padding: Padding = "same"
    include_border: bool = False
    """Average pools: whether zeros of the border count in the mean (Caffe, torchvision) or not (TensorFlow)."""

    def __post_init__(self) -> None:
        if self.kind == "avg" and self.padding in ("tf_same", "ceil") and self.stride > 1:
            raise ValueError("a strided average pool has no border here: use padding 'valid' or 'same'")

    @property
    def name(self) -> str:
        return f"{self.kind}_pool"

    def build(self, width: int) -> tuple[nn.Module, int]:
        border = 0 if self.padding in ("valid", "ceil") else self.kernel // 2
        if self.kind == "avg":
            return nn.AvgPool2d(self.kernel, self.stride, border, count_include_pad=self.include_border), width
        if self.padding == "tf_same" and self.stride > 1:
            return SameMaxPool2d(self.kernel, self.stride), width
        return nn.MaxPool2d(self.kernel, self.stride, border, ceil_mode=self.padding == "ceil"), width

    def grid(self, height: int, width: int) -> Grid:
        return (
            out_size(height, self.kernel, self.stride, self.padding),
            out_size(width, self.kernel, self.stride, self.padding),
        )


@dataclass(frozen=True)
class LRN:
    """Local response normalisation across five channels, as Caffe's GoogLeNet has it (alpha 1e-4, beta 0.75, k 1)."""

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    @property
    def name(self) -> str:
        return "lrn"

    def build(self, width: int) -> tuple[nn.Module, int]:
        return nn.LocalResponseNorm(self.size, self.alpha, self.beta, self.k), width

    def grid(self, height: int, width: int) -> Grid:
        return height, width


# --- composition --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chain:
    """Layers one after the other. Each is named by what it is: conv1x1, conv3x3, conv3x3_2, max_pool, ..."""

    layers: tuple[Layer, ...]

    @property
    def name(self) -> str:
        return "chain"

    @property
    def parts(self) -> tuple[tuple[str, Layer], ...]:
        """The layers with their names; a second one of a kind gets `_2`."""
        seen: dict[str, int] = {}
        named = []
        for layer in self.layers:
            seen[layer.name] = number = seen.get(layer.name, 0) + 1
            named.append((layer.name if number == 1 else f"{layer.name}_{number}", layer))
        return tuple(named)

    def build(self, width: int) -> tuple[nn.Module, int]:
        modules = nn.Sequential()
        for name, layer in self.parts:
            module, width = layer.build(width)
            modules.add_module(name, module)
        return modules, width

    def grid(self, height: int, width: int) -> Grid:
        for layer in self.layers:
            height, width = layer.grid(height, width)
        return height, width


class BranchesModule(nn.ModuleDict):
    """Parallel branches over one input, joined along the channels."""

    def forward(self, images: Tensor) -> Tensor:
        joined: Tensor = torch.cat([branch(images) for branch in self.values()], dim=1)
        return joined


@dataclass(frozen=True)
class Branches:
    """Parallel, named branches; their outputs are concatenated in the order given."""

    parts: tuple[tuple[str, Layer], ...]

    @property
    def name(self) -> str:
        return "branches"

    def build(self, width: int) -> tuple[nn.Module, int]:
        built = {name: layer.build(width) for name, layer in self.parts}
        return (
            BranchesModule({name: module for name, (module, _) in built.items()}),
            sum(channels for _, channels in built.values()),
        )

    def grid(self, height: int, width: int) -> Grid:
        grids = {layer.grid(height, width) for _, layer in self.parts}
        if len(grids) > 1:
            raise ValueError(f"the branches {[name for name, _ in self.parts]} end on different grids: {sorted(grids)}")
        return grids.pop()


@dataclass(frozen=True)
class Identity:
    """Passes its input on (a branch that hands its input to the next block)."""

    @property
    def name(self) -> str:
        return "identity"

    def build(self, width: int) -> tuple[nn.Module, int]:
        return nn.Identity(), width

    def grid(self, height: int, width: int) -> Grid:
        return height, width


@dataclass(frozen=True)
class Projected:
    """A body, then a biased 1x1 convolution back to the channels that came in, without norm (1602.07261, figure 10)."""

    body: Layer
    activation: Activation | None = None

    @property
    def name(self) -> str:
        return "projected"

    def build(self, width: int) -> tuple[nn.Module, int]:
        parts = nn.Sequential()
        body, channels = self.body.build(width)
        parts.add_module("body", body)
        parts.add_module("linear", Conv(width, activation=self.activation).build(channels)[0])
        return parts, width

    def grid(self, height: int, width: int) -> Grid:
        return self.body.grid(height, width)


class ResidualModule(nn.Module):
    """activation(shortcut(x) + scale * body(x))."""

    def __init__(
        self, body: nn.Module, shortcut: nn.Module, scale: float, activation: nn.Module | None, rectify: bool
    ) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut
        self.scale = scale
        self.activation = activation
        self.rectify = rectify

    def forward(self, images: Tensor) -> Tensor:
        if self.rectify:
            images = F.relu(images)
        residual = self.body(images)
        if self.scale != 1.0:
            residual = residual * self.scale
        total: Tensor = self.shortcut(images) + residual
        if self.activation:
            total = self.activation(total)
        return total

    def extra_repr(self) -> str:
        return f"scale={self.scale}, rectify={self.rectify}"


@dataclass(frozen=True)
class Residual:
    """A body beside a shortcut, added (1602.07261, figures 10 to 13; 1610.02357, figure 5)."""

    body: Layer
    shortcut: Layer = Identity()
    scale: float = 1.0
    """Multiplies the body before the sum; 0.1 to 0.3 keeps wide networks stable (1602.07261, section 3.3)."""
    activation: Activation | None = None
    rectify: bool = False
    """The shortcut, too, receives the rectified input: what an in-place ReLU at the head of the body does."""

    @property
    def name(self) -> str:
        return "residual"

    def build(self, width: int) -> tuple[nn.Module, int]:
        body, out_channels = self.body.build(width)
        shortcut, beside = self.shortcut.build(width)
        if out_channels != beside:
            raise ValueError(f"a residual sum needs equal widths: body {out_channels}, shortcut {beside}")
        activation = ACTIVATIONS[self.activation]() if self.activation else None
        return ResidualModule(body, shortcut, self.scale, activation, self.rectify), out_channels

    def grid(self, height: int, width: int) -> Grid:
        return Branches((("body", self.body), ("shortcut", self.shortcut))).grid(height, width)


# --- heads --------------------------------------------------------------------------------------------------------


class HeadModule(nn.Module):
    """Global average pooling, optional hidden layers, dropout, optional bottleneck, classifier."""

    def __init__(
        self, in_channels: int, num_classes: int, drop_rate: float, bottleneck: int | None, hidden: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.hidden = nn.Sequential()
        for width in hidden:
            self.hidden.append(nn.Sequential(nn.Linear(in_channels, width), nn.ReLU()))
            in_channels = width
        self.dropout = nn.Dropout(drop_rate)
        self.bottleneck: nn.Module = nn.Identity()
        if bottleneck:
            # facenet: a linear map without bias, batch-normalised (eps 1e-3).
            self.bottleneck = nn.Sequential()
            self.bottleneck.add_module("linear", nn.Linear(in_channels, bottleneck, bias=False))
            self.bottleneck.add_module("norm", nn.BatchNorm1d(bottleneck, eps=1e-3))
        self.linear = nn.Linear(bottleneck or in_channels, num_classes)

    def forward(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (N, classes) of features (N, C, H, W); with `pre_logits` the vector before the classifier (N, F)."""
        pooled: Tensor = self.bottleneck(self.dropout(self.hidden(features.mean((2, 3)))))
        if pre_logits:
            return pooled
        logits: Tensor = self.linear(pooled)
        return logits


@dataclass(frozen=True)
class Head:
    """The classifier at the end of every network."""

    drop_rate: float = 0.0
    bottleneck: int | None = None
    hidden: tuple[int, ...] = ()
    """Widths of fully connected layers, each with a ReLU, between pooling and classifier (heads of transfer learning)."""

    def build(self, width: int, num_classes: int) -> HeadModule:
        """The head for `width` channels."""
        return HeadModule(width, num_classes, self.drop_rate, self.bottleneck, self.hidden)


class AuxModule(nn.Module):
    """Pool to a small grid, convolve, classify."""

    def __init__(
        self, grid: int, adaptive: bool, convs: nn.Module, in_features: int, hidden: int | None, drop_rate: float,
        num_classes: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.grid = grid
        self.adaptive = adaptive
        self.convs = convs
        self.hidden = nn.Linear(in_features, hidden) if hidden else nn.Identity()
        self.activation = nn.ReLU() if hidden else nn.Identity()
        self.dropout = nn.Dropout(drop_rate)
        self.linear = nn.Linear(hidden or in_features, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        height, width = features.shape[2:]
        paper = out_size(height, 5, 3, "valid") == self.grid == out_size(width, 5, 3, "valid")
        if paper and not self.adaptive:
            features = F.avg_pool2d(features, 5, 3)
        else:
            features = F.adaptive_avg_pool2d(features, self.grid)
        hidden = self.activation(self.hidden(self.convs(features).flatten(1)))
        logits: Tensor = self.linear(self.dropout(hidden))
        return logits


@dataclass(frozen=True)
class AuxHead:
    """An auxiliary classifier on an inner stage: more gradient for the early layers, none of it used at test time."""

    convs: Layer
    grid: int
    """Side of the grid that the 5x5/3 average pool of the papers makes: 4 in v1, 5 in v3."""
    hidden: int | None = None
    """Width of a fully connected layer before the classifier (v1)."""
    drop_rate: float = 0.0
    adaptive: bool = False
    """Always pool adaptively, as torchvision's GoogLeNet; else only where 5x5/3 does not make the grid."""

    def build(self, width: int, num_classes: int) -> AuxModule:
        """The head for a tap of `width` channels."""
        convs, out_channels = self.convs.build(width)
        height, across = self.convs.grid(self.grid, self.grid)
        features = out_channels * height * across
        return AuxModule(self.grid, self.adaptive, convs, features, self.hidden, self.drop_rate, num_classes)


# --- the words a table is written in ------------------------------------------------------------------------------


def chain(*layers: Layer) -> Chain:
    """Layers one after the other."""
    return Chain(layers)


def branches(parts: Mapping[str, Layer]) -> Branches:
    """Named branches, concatenated in order."""
    return Branches(tuple(parts.items()))


def max_pool(kernel: int, stride: int = 1, padding: Padding = "same") -> Pool:
    """Max pooling."""
    return Pool("max", kernel, stride, padding)


def avg_pool(kernel: int, include_border: bool) -> Pool:
    """Average pooling at stride 1, the pool branch of an Inception block."""
    return Pool("avg", kernel, include_border=include_border)


def scale_width(channels: int, width: float) -> int:
    """`channels` times `width`, to the nearest multiple of 8 and never below 8; unchanged at width 1."""
    return channels if width == 1.0 else max(8, round(channels * width / 8) * 8)


class ConvWord(Protocol):
    """`conv(64)`, `conv(96, 3)`, `conv(192, (1, 7))`, `conv(384, 3, stride=2, padding="valid")`."""

    def __call__(
        self, out_channels: int, kernel: int | Grid = 1, stride: int = 1, padding: Padding = "same"
    ) -> Conv: ...


def convolution(
    *, width: float, norm: BatchNorm | None, activation: Activation | None, bias: bool | None = None
) -> ConvWord:
    """The word `conv` of one network: its width multiplier, norm and activation said once.

    `bias=None` means a bias where no norm follows.
    """

    def conv(out_channels: int, kernel: int | Grid = 1, stride: int = 1, padding: Padding = "same") -> Conv:
        with_bias = norm is None if bias is None else bias
        channels = scale_width(out_channels, width)
        return Conv(channels, _both(kernel), stride, padding, norm, activation, with_bias)

    return conv


# --- initial weights ----------------------------------------------------------------------------------------------


def initialise(modules: Iterable[nn.Module]) -> None:
    """Draw initial weights: TF-slim's variance scaling, a normal of variance 2 / fan-in cut at two sigma (factor 1.3).

    Classifiers get a fan-in normal without the factor 2, biases zero, norms (1, 0).
    """
    for module in modules:
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            gain = 2.0 if isinstance(module, nn.Conv2d) else 1.0
            sigma = math.sqrt(1.3 * gain / fan_in)
            nn.init.trunc_normal_(module.weight, std=sigma, a=-2 * sigma, b=2 * sigma)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
