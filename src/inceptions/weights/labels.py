"""Names of classes that people keep beside their weights: torchvision's `class_to_idx`, `id2label`, a list of names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_TO_NUMBER = frozenset({"class_to_idx", "class_to_index", "class2idx", "label_to_idx", "label2idx", "label2id"})
_TO_NAME = frozenset({"idx_to_class", "index_to_class", "idx2class", "idx_to_label", "idx2label", "id2label"})
_LISTS = frozenset({"classes", "class_names", "classnames", "label_names", "labels", "categories", "vocab"})
_DEEPEST = 3  # MMPretrain: meta, dataset_meta, classes
_MOST = 100_000  # names, and entries that are looked at


def labels_in(content: object) -> tuple[tuple[str, ...], ...]:
    """Every list of class names, each in the order of the outputs, that a checkpoint's settings hold.

    Args:
        content: what was in the file: dictionaries in dictionaries.
    """
    found: dict[tuple[str, ...], None] = {}
    waiting, left = [(content, 0)], _MOST
    while waiting and left > 0:
        value, depth = waiting.pop()
        if not isinstance(value, Mapping):
            continue
        left -= len(value)
        for key, item in value.items():
            called = key.lower() if isinstance(key, str) else ""
            names = tuple(_names(called, item))
            if len(names) > 1 and len(set(names)) == len(names) and all(name.strip() for name in names):
                found[names] = None
            elif depth < _DEEPEST and isinstance(item, Mapping):
                waiting.append((item, depth + 1))
    return tuple(found)


def _names(called: str, item: object) -> Iterator[str]:
    """The names that `item`, of such a name, gives in order; none where it gives none."""
    if isinstance(item, Mapping) and 1 < len(item) <= _MOST:
        pairs = list(item.items())
        if called in _TO_NUMBER:
            pairs = [(number, name) for name, number in pairs]
        elif called not in _TO_NAME and called not in _LISTS:
            return
        numbered = {_number(key): name for key, name in pairs if isinstance(name, str)}
        if numbered.keys() == set(range(len(pairs))):
            yield from (numbered[place] for place in range(len(pairs)))
        return
    if called in _LISTS and isinstance(item, list | tuple) and len(item) <= _MOST:
        yield from item if all(isinstance(name, str) for name in item) else ()


def _number(key: object) -> int | None:
    if isinstance(key, int) and not isinstance(key, bool):
        return key
    return int(key) if isinstance(key, str) and key.isdecimal() and len(key) < 7 else None
