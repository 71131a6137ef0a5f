"""Ship a network: write it in a runtime's own format, quantise it within a bound, prove that it answers the same.

graph       what is exported: folded batch norm, on request with preprocessing inside
quantise    8 bits, gated by the accuracy on the user's pictures
parity      the written file against the original, from picture file to logits
export      all of it, in one folder that appears only when the proof holds
"""

from inceptions.deploy.export import FORMATS, Exported, check, export
from inceptions.deploy.parity import Parity, compare

__all__ = ["FORMATS", "Exported", "Parity", "check", "compare", "export"]
