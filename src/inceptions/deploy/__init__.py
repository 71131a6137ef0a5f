"""Ship a network: write it in a runtime's own format, quantize it within a bound, prove that it gives the same answers.

original    which network
graph       what is exported: folded batch norm, on request with preprocessing inside
onnx_file   ONNX for old runtimes
quantize    8 bits, gated by the accuracy on the user's images
images    which images the proof runs on
arithmetic  8 bits as other processors compute with them
parity      the written file against the original, from image file to logits
proof       what of that is stored next to the file, and repeats it elsewhere
export      all of it, in one folder that appears only when the proof holds
"""

from inceptions.deploy.export import FORMATS, Exported, check, export
from inceptions.deploy.images import Images, find_images
from inceptions.deploy.original import open_original
from inceptions.deploy.parity import Parity, compare
from inceptions.deploy.proof import check_here

__all__ = [
    "FORMATS",
    "Exported",
    "Images",
    "Parity",
    "check",
    "check_here",
    "compare",
    "export",
    "find_images",
    "open_original",
]
