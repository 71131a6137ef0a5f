"""Images as networks see them: decoding, geometry and normalization, in one frozen record used everywhere.

Training, evaluation, prediction, export and server use the same `Preprocess`, so an image has the same probability
in all of them. Needs no torch until it normalizes: worker processes start fast.
"""

from inceptions.image.crops import PROTOCOLS, Crops, with_crops
from inceptions.image.decoding import Opened, Source, opened
from inceptions.image.formats import EXTENSIONS, FORMATS
from inceptions.image.limits import MAX_PIXELS, VARIABLE, max_pixels, megapixels
from inceptions.image.preprocess import RESAMPLING, Preprocess, resize_tf1, resize_tf2
from inceptions.image.unreadable import UnreadableImage

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "MAX_PIXELS",
    "PROTOCOLS",
    "RESAMPLING",
    "VARIABLE",
    "Crops",
    "Opened",
    "Preprocess",
    "Source",
    "UnreadableImage",
    "max_pixels",
    "megapixels",
    "opened",
    "resize_tf1",
    "resize_tf2",
    "with_crops",
]
