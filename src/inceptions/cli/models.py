"""`inceptions models`: the family at a glance."""

from __future__ import annotations

from inceptions.cli.terminal import print_json, table


def models(*, json: bool = False) -> None:
    """List the family: generation, paper, year, size and cost of each network.

    Parameters and multiply-adds are those of the network as published, for one image of its input size and without
    auxiliary heads.

    Args:
        json: print one JSON list instead of the table; parameters and multiply_adds are integers.
    """
    from inceptions.anatomy import cost
    from inceptions.zoo import ALIASES, MEMBERS

    rows = []
    for name, member in MEMBERS.items():
        counted = cost(name)
        rows.append(
            {
                "name": name,
                "aliases": [alias for alias, of in ALIASES.items() if of == name],
                "generation": member.generation,
                "title": member.title,
                "paper": f"arXiv:{member.paper}",
                "year": member.year,
                "classes": member.num_classes,
                "parameters": counted.parameters,
                "multiply_adds": counted.multiply_adds,
                "input_size": member.input_size,
            }
        )
    if json:
        print_json(rows)
        return
    columns = ["name", "generation", "paper", "year", "parameters", "multiply_adds", "input_size"]
    shown = [{**row, "year": str(row["year"])} for row in rows]  # a year has no thousands separator
    table(
        [[row[key] for key in columns] for row in shown],
        [key.replace("_", " ") for key in columns],
        dispensable=["generation", "paper"],
    )
