"""`inceptions models`: the family at a glance."""

from __future__ import annotations

from inceptions.cli.terminal import print_json, table


def models(*, json: bool = False) -> None:
    """List the family: generation, paper, year, size and cost of each network.

    Parameters and multiply-adds are those of the network as published, for one picture of its input size and without
    auxiliary heads.

    Args:
        json: print one JSON list instead of the table; parameters and multiply_adds are integers.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from inceptions.zoo import ALIASES, MEMBERS, build

    rows = []
    for name, member in MEMBERS.items():
        with torch.device("meta"), torch.no_grad():  # shapes only: nothing is allocated or computed
            net = build(name).eval()
            pictures = torch.empty(1, net.in_channels, member.input_size, member.input_size)
            with FlopCounterMode(display=False) as counter:
                net(pictures)
        rows.append(
            {
                "name": name,
                "aliases": [alias for alias, of in ALIASES.items() if of == name],
                "generation": member.generation,
                "title": member.title,
                "paper": f"arXiv:{member.paper}",
                "year": member.year,
                "classes": net.num_classes,
                "parameters": sum(parameter.numel() for parameter in net.parameters()),
                "multiply_adds": counter.get_total_flops() // 2,  # the counter counts a multiplication and an addition
                "input_size": member.input_size,
            }
        )
    if json:
        print_json(rows)
        return
    columns = ["name", "generation", "paper", "year", "parameters", "multiply_adds", "input_size"]
    table([[row[key] for key in columns] for row in rows], [key.replace("_", " ") for key in columns])
