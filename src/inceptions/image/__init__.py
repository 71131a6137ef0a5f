"""Pictures as networks see them: decoding, geometry and normalisation, in one frozen record used everywhere.

Training, evaluation, prediction, export and server use the same `Preprocess`, so a picture has the same probability
in all of them. Needs no torch until it normalises: worker processes start fast.
"""

from inceptions.image.crops import PROTOCOLS, Crops, with_crops
from inceptions.image.decoding import MAX_PIXELS, Picture, Source, UnreadablePicture, opened
from inceptions.image.formats import EXTENSIONS, FORMATS
from inceptions.image.preprocess import RESAMPLING, Preprocess, resize_tf1

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "MAX_PIXELS",
    "PROTOCOLS",
    "RESAMPLING",
    "Crops",
    "Picture",
    "Preprocess",
    "Source",
    "UnreadablePicture",
    "opened",
    "resize_tf1",
    "with_crops",
]
