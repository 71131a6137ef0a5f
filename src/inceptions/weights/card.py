"""The model card: an artifact's README.md, written from the facts of its config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from inceptions.errors import some

_FEW = 20  # classes that a card lists by name


def model_card(config: Mapping[str, Any]) -> str:
    """The card (Markdown with the hub's front matter) of the artifact whose config.json holds `config`."""
    block = config["inceptions"]
    names = [_plain(name) for name in config["label_names"]]
    few = some(names, _FEW)
    size = "x".join(str(side) for side in config["pretrained_cfg"]["input_size"][1:])
    parts = [
        "---\ntags:\n- image-classification\nlibrary_name: inceptions\npipeline_tag: image-classification\n---\n",
        f"# {config['architecture']}, {config['num_classes']} classes\n",
        f"An image classifier of the Inception family: `{config['architecture']}`, images of {size} px, "
        f"{config['num_classes']} classes ({few}).\n",
        '```python\nimport inceptions\n\nclassifier = inceptions.load("this/folder")\n'
        'classifier.predict(["image.jpg"], top_k=5)\n```\n',
    ]
    facts = {"Network": block["network"], "Preprocessing": block["preprocess"], "Metrics": block["metrics"]}
    facts |= {"Training": block["training"], "Provenance": block["provenance"]}
    if block["temperature"] is not None:
        facts["Calibration"] = {"temperature": block["temperature"]}
    parts += [_table(title, values) for title, values in facts.items() if values]
    return "\n".join(parts)


def _table(title: str, values: Mapping[str, Any]) -> str:
    rows = [f"| {_plain(key)} | {_cell(value)} |" for key, value in values.items()]
    return "\n".join([f"## {title}\n", "| fact | value |", "|---|---|", *rows, ""])


def _cell(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _plain(text if len(text) <= 200 else text[:200] + " ... (all of it in config.json)")


def _plain(text: str) -> str:
    """`text` on one line, with everything that Markdown or HTML would interpret made harmless."""
    line = " ".join(str(text).split())
    for mark, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;"), ("`", "&#96;"), ("[", "&#91;")):
        line = line.replace(mark, safe)
    return line
