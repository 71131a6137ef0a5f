"""Ship a network: write it in a runtime's own format, quantise it within a bound, prove that it answers the same.

original    which network
graph       what is exported: folded batch norm, on request with preprocessing inside
quantise    8 bits, gated by the accuracy on the user's pictures
pictures    which pictures the proof runs on
parity      the written file against the original, from picture file to logits
export      all of it, in one folder that appears only when the proof holds
"""

from inceptions.deploy.export import FORMATS, Exported, check, export
from inceptions.deploy.original import open_original
from inceptions.deploy.parity import Parity, compare
from inceptions.deploy.pictures import Pictures, find_pictures

__all__ = ["FORMATS", "Exported", "Parity", "Pictures", "check", "compare", "export", "find_pictures", "open_original"]
