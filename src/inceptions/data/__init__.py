"""Folders, manifests and data sets -> splits -> batches of un-normalized images, with augmentation.

Everything random is a function of (seed, epoch, index), so workers, processes and resuming change nothing. Nothing here
imports torch before the first batch is made.
"""

from inceptions.data.augment import Augment, Ratio, Scale, Strength, Turn, augmented
from inceptions.data.batches import Batch, batches
from inceptions.data.dataset import Dataset, Refused, Split
from inceptions.data.judged import evaluation_split, learned_part, record_of
from inceptions.data.read import load
from inceptions.data.sampling import balanced_order, class_weights, epoch_order, shard
from inceptions.data.split_file import read_split, write_split

__all__ = [
    "Augment",
    "Batch",
    "Dataset",
    "Ratio",
    "Refused",
    "Scale",
    "Split",
    "Strength",
    "Turn",
    "augmented",
    "balanced_order",
    "batches",
    "class_weights",
    "epoch_order",
    "evaluation_split",
    "learned_part",
    "load",
    "read_split",
    "record_of",
    "shard",
    "write_split",
]
