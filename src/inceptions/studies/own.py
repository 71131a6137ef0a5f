"""A study of your own: a function that rewrites a published table, next to the table as published."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from inceptions.studies.claims import Arm, Study
from inceptions.zoo import MEMBERS, Table, resolve
from inceptions.zoo.plain import from_plain, to_plain


def own_study(rewrite: str, model: str) -> Study:
    """Two arms: the published network, and what the function makes of its table.

    The function takes a `Table` and returns another, built with the parts of `inceptions.zoo.variants`. Its result is
    stored with each run as plain data, so that no model needs the function again.

    Args:
        rewrite: MODULE:FUNCTION, importable from the current folder.
        model: the network.

    Raises:
        ValueError: there is no such function, or what it returns is not another table.
    """
    module, _, name = rewrite.partition(":")
    if not module or not name:
        raise ValueError(f"--rewrite {rewrite}: MODULE:FUNCTION expected, such as my_ideas:no_pooling")
    here = str(Path.cwd())
    sys.path.insert(0, here)  # a console script does not look into the folder it is called from
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"--rewrite {rewrite}: {error}") from error
    finally:
        sys.path.remove(here)
    published = MEMBERS[resolve(model)].table
    table = function(published)
    if not isinstance(table, Table):
        raise ValueError(f"--rewrite {rewrite}: it returned {type(table).__name__}, not a Table")
    if table == published:
        raise ValueError(f"--rewrite {rewrite}: it changes nothing in the table of {model}")
    from_plain(to_plain(table))
    return Study(
        title=f"Your rewrite {rewrite}",
        claim=(function.__doc__ or "No claim: the function has no docstring.").strip().split("\n\n")[0],
        source=rewrite,
        model=model,
        arms=(Arm(name="as published"), Arm(name=name, settings={"options": {"table": to_plain(table)}})),
    )
