"""The principles of Inception v3 as rules, and the thresholds that are ours: the paper gives none."""

from __future__ import annotations

from typing import Literal

Principle = Literal["bottleneck", "widening", "reduction", "factorisation", "balance"]

NARROWEST = 0.3
"""Share of the values entering a stage that must pass its narrowest place."""
SHRUNK = 0.75
"""A side of the grid below this share of the last one is a smaller grid; a valid convolution's missing rim is not."""
HEAVIEST = 0.75
"""Share of the multiply-adds that one grid may take."""
WORTHWHILE = 0.2
"""Share of a convolution's multiply-adds that must be saved for another layer to be worth its while."""
COSTLY = 0.05
"""Share of the network's multiply-adds from which on a convolution is costly; no more than twenty can be."""
MANY = 64
"""Channels from which on there is something to reduce; the first layers of a network read fewer."""
NUMERALS = {2: "two", 3: "three"}

RULES: dict[Principle, str] = {
    "bottleneck": f"a stage lets at least {NARROWEST:.0%} of the values that enter it through its narrowest place. "
    "Halving the grid alone leaves a quarter of them, so a convolution has to work beside the pool (section 5, "
    "figure 9).",
    "widening": "every grid ends with more channels than the larger one before (section 2, principles 1 and 4).",
    "reduction": "no convolution over space itself reduces the channels where a 1x1 convolution in front of it would "
    f"save {WORTHWHILE:.0%} of its work; nor does a costly one ({COSTLY:.0%} of the network's work, {MANY} channels "
    "read) stand behind none, or behind one that adds channels, where one to half of them would (principle 3; arXiv "
    "1409.4842, section 4).",
    "factorisation": f"no kernel of 5x5 or more stands where smaller ones in a row would save {WORTHWHILE:.0%} of its "
    "work (section 3: 3x3 in a row; on grids of 12 to 20, 1 x n and n x 1).",
    "balance": f"no grid does more than {HEAVIEST:.0%} of the work; the layers (depth) and channels (width) that it is "
    "made of are told (principle 4).",
}
"""Principle -> when it is kept. Sections are of 1512.00567."""
