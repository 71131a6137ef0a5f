"""`Common`: the options that every member of the family has, and the words of a table that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from inceptions.layers import Activation, BatchNorm, ConvWord, Head, convolution, scale_width

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options of every network."""

    width: float = 1.0
    """Multiplies the channels of every stage (to multiples of 8)."""
    depth: float = 1.0
    """Multiplies the number of blocks on each grid (1512.00567, section 2: balance it with the width)."""
    drop_rate: float = 0.0
    """Dropout before the classifier."""
    stem: Literal["standard", "small"] = "standard"
    """"small": a stem that keeps the grid of pictures of 32 to 96 px."""
    hidden: tuple[int, ...] = ()
    """Widths of fully connected ReLU layers between pooling and classifier."""
    activation: Activation = "relu"
    norm_eps: float = 1e-3
    """Epsilon of batch norm; it differs between publishers."""
    norm_momentum: float = 0.1
    """Weight of the new batch in batch norm's running averages (PyTorch's sense)."""
    norm_scale: bool = True
    """False: batch norm's gamma stays 1, as in TF-slim and Keras."""

    @property
    def small(self) -> bool:
        """Whether the stem is for small pictures."""
        return self.stem == "small"

    @property
    def norm(self) -> BatchNorm:
        """The network's batch norm."""
        return BatchNorm(self.norm_eps, self.norm_momentum, self.norm_scale)

    def conv(self, norm: BatchNorm | None, *, bias: bool | None = None) -> ConvWord:
        """The word `conv` of the network; `bias=None`: a bias where no norm follows."""
        return convolution(width=self.width, norm=norm, activation=self.activation, bias=bias)

    def scaled(self, channels: int) -> int:
        """`channels` times the width."""
        return scale_width(channels, self.width)

    def repeat(self, rows: Sequence[T]) -> list[T]:
        """The rows of one grid, repeated or thinned to `depth` times as many; at least one, and the last one stays."""
        count = max(1, round(len(rows) * self.depth))
        return [rows[-(-(index + 1) * len(rows) // count) - 1] for index in range(count)]

    def head(self, bottleneck: int | None = None) -> Head:
        """The classifier."""
        return Head(self.drop_rate, bottleneck, self.hidden)
