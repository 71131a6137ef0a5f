"""Folders that may not be the classes they would be taken for: each rule gives a problem, or tells how it was read."""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence

from inceptions.data.readers.names import (
    copied_from,
    folded,
    is_wrapper,
    may_be_class,
    numbered_parts,
    split_called,
    splits_among,
)
from inceptions.data.readers.walk import Walk, files_called
from inceptions.errors import some

OR_TABLE = "or list the images in a .csv file (file_name,label[,split][,group])"
_ANSWERS = frozenset(  # what lies beside a folder of images and is made of images as well
    {"mask", "masks", "label", "labels", "annotation", "annotations", "annots", "segmentation", "segmentations", "gt"}
    | {"groundtruth", "ground_truth", "trimaps", "mattes", "xmls", "targets", "segmentationclass", "segmentationobject"}
)


_THINGS = ("photo", "photos", "picture", "pictures")  # beside paintings, say
_READ = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".arrow"})
_NOT_READ = frozenset({".json", ".xlsx", ".xls", ".txt", ".mat"})
_NOTES = ("readme", "license", "licence", "requirements", "notice", "submission")


class Unclear:
    """Judges the folders `classes` in `parent`, of which each is to be a class.

    What is wrong is in `problems`, how something was read in `told` (a line -> its level of the log).
    """

    def __init__(self, walk: Walk, parent: bytes, classes: Sequence[bytes]) -> None:
        self.walk = walk
        self.parent = parent
        self.classes = classes
        self.where = f"in {os.fsdecode(parent)}: " if parent else ""
        self.problems: list[str] = []
        self.told: dict[str, int] = {}
        trunks = {name: self._trunk(name) for name in classes if walk.at(os.path.join(parent, name)).folders}
        self.trunks = {name: path for name, path in trunks.items() if walk.at(path).folders}
        """Class -> where it divides: in its own folder, or in the lone one in it."""
        self.inner = {name: set(walk.filled(path)) for name, path in self.trunks.items()}
        self._splits_in_a_split()
        alike = self._siblings()
        self._splits_in_classes(alike)
        self._echoes()
        self._answers()
        self._numbered()
        self._spellings()
        self._tell_inner({name: set(walk.filled(os.path.join(parent, name))) for name in trunks})

    def _trunk(self, name: bytes) -> bytes:
        path = os.path.join(self.parent, name)
        while not self.walk.at(path).images and len(filled := self.walk.filled(path)) == 1:
            if split_called(os.fsdecode(filled[0])):
                break
            path = os.path.join(path, filled[0])
        return path

    def _problem(self, text: str) -> None:
        self.problems.append(self.where + text)

    def _splits_in_a_split(self) -> None:
        if not self.parent:  # at the top, this was judged before
            return
        called = {os.fsencode(name): s for name, s in splits_among(map(os.fsdecode, self.classes)).items()}
        rest = [name for name in self.classes if name not in called]
        if called and not are_classes(called, list(called), rest, self.told):
            self._problem(
                f"{text_of(called)} called like splits, inside a split: move "
                f"{'it' if len(called) == 1 else 'them'} up, rename what is a class, {OR_TABLE}"
            )

    def _siblings(self) -> list[bytes]:
        """Folders that hold folders of the same names."""
        often = Counter(sub for subs in self.inner.values() for sub in subs)
        shared = {name: {sub for sub in subs if often[sub] > 1} for name, subs in self.inner.items()}
        alike = [name for name, subs in shared.items() if len(subs) > 1 and 2 * len(subs) >= len(self.inner[name])]
        if len(alike) > 1:
            sets = not any(is_wrapper(os.fsdecode(sub)) for sub in shared[alike[0]])
            alone = f". Is one of them all you mean? Give it alone: {place(self.walk, self.trunks[alike[0]])}"
            self._problem(
                f"{text_of(alike)} hold folders of the same names ({text_of(sorted(shared[alike[0]]))}): are they "
                "splits? Rename them train, val and test. Are they the classes? Put the images of each together, "
                f"{OR_TABLE}{alone * sets}"
            )
        return alike

    def _splits_in_classes(self, alike: Sequence[bytes]) -> None:
        for name, subs in self.inner.items():
            path = self.trunks[name]
            splits = splits_among(map(os.fsdecode, subs))
            within = any(self.walk.filled(os.path.join(path, os.fsencode(sub))) for sub in splits)
            if (within or len(set(splits.values())) > 1) and name not in alike[1:]:
                self._problem(
                    f"{os.fsdecode(os.path.relpath(path, self.parent or b'.'))} holds {', '.join(sorted(splits))}, "
                    "called like splits: put splits above classes (SPLIT/CLASS/image), or give "
                    f"{place(self.walk, path)}"
                )

    def _echoes(self) -> None:
        """A folder beside classes that holds folders of the same names: the whole data set a second time, mostly."""
        for name, subs in self.inner.items():
            again = sorted(subs & (set(self.classes) - {name}))
            if len(again) > 1:
                self._problem(
                    f"{os.fsdecode(name)} holds folders called like those beside it ({text_of(again)}): is it a copy "
                    f"of all? Move it away, or give it alone: {place(self.walk, self.trunks[name])}"
                )

    def _answers(self) -> None:
        """`images` beside `masks`: no classes, but the two sides of another task."""
        filled = [name for name in self.classes if self.walk.holds(os.path.join(self.parent, name))]
        images = [name for name in filled if is_wrapper(os.fsdecode(name))]
        answers = [name for name in filled if os.fsdecode(name).strip().lower() in _ANSWERS]
        if images and answers:
            self._problem(
                f"{text_of(images)} beside {text_of(answers)}: images and what belongs to them are no classes. Make "
                f"one folder a class, {OR_TABLE}{tables(self.walk, [self.parent, *images, *answers])}"
            )
        images = [name for name in images if os.fsdecode(name).strip().lower() not in _THINGS]
        if images and not answers and len(filled) > 1:
            rest = [name for name in filled if name not in images]
            self.told[f"{self.where}{text_of(images)} taken for a class, as {text_of(rest)} beside it"] = (
                logging.WARNING
            )

    def _numbered(self) -> None:
        kind = None if self.problems else numbered_parts(map(os.fsdecode, self.classes))
        beside = tables(self.walk, [self.parent]) if kind else ""
        if kind == "images" or beside:
            self._problem(
                f"{text_of(self.classes)} differ in their numbers only, as parts of one set of images do: make one "
                f"folder a class, {OR_TABLE}{beside}"
            )
        elif kind:
            self.told[f"{self.where}taken for classes, though called like parts: {text_of(self.classes)}"] = (
                logging.WARNING
            )

    def _spellings(self) -> None:
        same: dict[str, list[bytes]] = {}
        for name in self.classes:
            same.setdefault(folded(os.fsdecode(name)), []).append(name)
        for key, group in same.items():
            if len(group) > 1 and len(key) > 1:  # "a" and "A" are two letters, Cat and cat are one animal
                self._problem(f"{text_of(group)} differ only in capitals, spaces or accents: rename or merge")
        loose: dict[str, list[bytes]] = {}
        for group in same.values():
            loose.setdefault(re.sub(r"[\s_-]+", " ", folded(os.fsdecode(group[0]))), []).append(group[0])
            first = copied_from(os.fsdecode(group[0]))
            if first is not None and folded(first) in same:
                self._problem(
                    f"{os.fsdecode(group[0])} beside {text_of(same[folded(first)])} is called like a copy of it: "
                    "merge or rename them"
                )

        for group in loose.values():
            if len(group) > 1:
                line = f"{self.where}classes that differ only in spaces, hyphens and underscores: {text_of(group)}"
                self.told[line] = logging.WARNING

    def _tell_inner(self, inner: dict[bytes, set[bytes]]) -> None:
        together = [f"{os.fsdecode(name)} ({text_of(sorted(subs), 3)})" for name, subs in inner.items() if subs]
        if not together:
            return
        text = f"{self.where}folders in a class's folder belong to that class: {some(together, 3)}"
        deep = len(self.classes) > 1 and all(
            len(self.inner.get(name, ())) > 1 and not self.walk.at(self.trunks[name]).images for name in self.classes
        )
        if deep:
            text += f". If those are the classes, give their folder or put them side by side, {OR_TABLE}"
        self.told[text] = logging.WARNING if deep else logging.INFO


def are_classes(called: dict[bytes, str], flat: Sequence[bytes], others: Sequence[bytes], told: dict[str, int]) -> bool:
    """Whether folders that hold images and are called like splits are classes all the same."""
    if len(called) != 1 or not others:
        return False
    (name,) = called
    yes = bool(flat) and may_be_class(os.fsdecode(name), map(os.fsdecode, others))
    if yes:
        told[f"{os.fsdecode(name)} is taken for a class, as {text_of(others)} beside it"] = logging.WARNING
    return yes


def deeper(walk: Walk, folder: bytes) -> str:
    """The folder that the user may have meant, where what was given holds only one that is filled."""
    path = folder
    while True:
        filled = walk.filled(path)
        if len(filled) > 1 or splits_among(map(os.fsdecode, filled)):
            return f"if the folders in it ({text_of(filled)}) are what you mean, give {place(walk, path)}"
        if len(filled) != 1 or walk.at(path).images:
            return ""
        path = os.path.join(path, filled[0])


def tables(walk: Walk, places: Iterable[bytes]) -> str:
    """Names files that may hold the labels of images that lie in no class's folder."""
    listings = [(folder, walk.at(folder)) for folder in dict.fromkeys(places)]
    for suffixes, advice in ((_READ, "give such a table in place of the folder"), (_NOT_READ, "make a .csv of them")):
        files = [
            place(walk, file)
            for file in files_called(listings, suffixes)
            if not any(note in os.path.basename(os.fsdecode(file)).lower() for note in _NOTES)
        ]
        if files:
            return f". Their labels may be in {some(files, 5)}: {advice}"
    return ""


def place(walk: Walk, path: bytes) -> str:
    """A path as it can be typed."""
    return shlex.quote(os.fsdecode(os.path.join(walk.top, path)))


def text_of(names: Iterable[bytes], limit: int = 8) -> str:
    """The first of many names."""
    return some(map(os.fsdecode, names), limit)
