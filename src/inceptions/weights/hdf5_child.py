"""Run as a script, in a process of its own: copies the data sets of an HDF5 file into a safetensors file.

    python hdf5_child.py FILE.h5 OUT.safetensors

The HDF5 library is large, old and written in C: a damaged file can make it crash, loop or allocate without end. Here it
takes down nobody. Exit codes: 0 done; 3 refused, the reason on stdout.
"""

from __future__ import annotations

import json
import math
import os
import sys

import h5py
import numpy as np
from safetensors.numpy import save_file

REFUSED = 3
_MOST_OBJECTS = 20_000  # groups and data sets of a file; Inception-ResNet v2 has 3,000
_DEEPEST = 32  # groups in groups
_LONGEST = 60  # seconds of computing; the largest files of the family take two


class RefusedError(Exception):
    """The file is not read; the message says why."""


def limit(size: int) -> None:
    """Bounds the memory and the time of this process, as far as the system can."""
    try:
        import resource
    except ImportError:  # Windows: the parent's clock is the only bound there
        return
    for kind, most in ((resource.RLIMIT_AS, (2 << 30) + 6 * size), (resource.RLIMIT_CPU, _LONGEST)):
        _, hard = resource.getrlimit(kind)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (allowed, allowed))


def walk(group: h5py.Group, seen: set[object], path: str = "", depth: int = 0) -> dict[str, h5py.Dataset]:
    """All data sets by path, found without following a link that leaves the file or reaching an object twice."""
    found: dict[str, h5py.Dataset] = {}
    if depth > _DEEPEST:
        raise RefusedError(f"groups stand deeper than {_DEEPEST} in each other")
    for name in group:
        where = f"{path}/{name}" if path else name
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise RefusedError(f"{where} is a link ({type(link).__name__}), which is not followed")
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen or len(seen) > _MOST_OBJECTS:
            raise RefusedError(f"{where} is stored twice, or the file holds over {_MOST_OBJECTS:,} objects")
        seen.add(address)
        if isinstance(item, h5py.Group):
            found |= walk(item, seen, where, depth + 1)
        elif isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise RefusedError(f"{where} lies in another file, which is not followed")
            found[where] = item
    return found


def text(item: h5py.Group, name: str, size: int) -> str | None:
    """A string attribute; None where it is not there or no string."""
    if name not in item.attrs:
        return None
    attribute = item.attrs.get_id(name)
    if math.prod(attribute.shape) != 1 or attribute.get_storage_size() > size:
        raise RefusedError(f"attribute {name} claims {attribute.get_storage_size():,} bytes in {attribute.shape}")
    value = item.attrs[name]
    return value.decode() if isinstance(value, bytes) else value if isinstance(value, str) else None


def main(source: str, target: str) -> None:
    """Copies `source` to `target`. Raises `RefusedError`, and whatever the library raises on damaged bytes."""
    size = os.path.getsize(source)
    limit(size)
    with h5py.File(source, "r") as file:
        data_sets = {name: data for name, data in walk(file, set()).items() if data.dtype.kind in "fiu"}
        total = 0
        for name, data in data_sets.items():
            claimed = data.size * data.dtype.itemsize
            total += claimed
            if claimed > size or total > size:
                raise RefusedError(
                    f"{name} claims {claimed:,} bytes, {total:,} with those before it; the file has {size:,}"
                )
        groups = {name.rpartition("/")[0] for name in data_sets}
        groups |= {f"{group.rpartition('/layers/')[0]}/vars" for group in groups if "/layers/" in group}
        called = {group: text(file[group], "name", size) for group in groups if group and group in file}
        metadata = {"names": json.dumps({group: name for group, name in called.items() if name is not None})}
        for attribute in ("model_config", "training_config"):
            if (value := text(file, attribute, size)) is not None:
                metadata[attribute] = value
        arrays = {
            name: np.ascontiguousarray(data[()], data.dtype.newbyteorder("=")) for name, data in data_sets.items()
        }
    save_file(arrays, target, metadata=metadata)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:
        print(str(error).split("\n")[0] or type(error).__name__)
        raise SystemExit(REFUSED) from error
