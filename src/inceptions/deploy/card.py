"""The README.md of an export: what the file takes and gives, and how to run it in ten lines without this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inceptions.deploy.parity import Parity
from inceptions.engines.export_folder import FILES
from inceptions.engines.openvino import HINTS


def export_card(config: Mapping[str, Any], parity: Parity) -> str:
    """The card (Markdown) of the export whose config.json holds `config`."""
    block = config["inceptions"]
    export, preprocess = block["export"], block["preprocess"]
    form = export["format"]
    parts = [
        f"# {config['architecture']} as {FILES[form]}, {export['precision']}\n",
        _interface(config, preprocess, export),
    ]
    parts.append(_parity(parity))
    parts.append(
        f"With this package: `inceptions predict THIS_FOLDER image.jpg`. Without it:\n\n{_python(export, preprocess)}"
    )
    parts.append(
        "Whether it answers on your processor as its original did (`inceptions export THIS_FOLDER --check`), without "
        f"this package:\n\n{_probe(export)}"
    )
    if form != "pt2":
        parts.append(f"In C++, with OpenVINO (it reads ONNX files too):\n\n{_cpp(export, preprocess)}")
    return "\n".join(parts)


def _interface(config: Mapping[str, Any], preprocess: Mapping[str, Any], export: Mapping[str, Any]) -> str:
    height, width = preprocess["size"]
    count = "N" if export["dynamic_batch"] else "1"
    channels = len(preprocess["mean"])
    shape = f"({count}, {channels}, {height}, {width})"
    sides = ""
    if export.get("dynamic_size"):
        shape = f"({count}, {channels}, H, W)"
        sides = f" H and W are {export['min_size']} px or more; it was trained at {height} x {width}."
    if export["with_preprocessing"]:
        takes = f"`images` {shape} uint8, RGB"
        gives = f"`probabilities` ({count}, {config['num_classes']})"
    else:
        takes = (
            f"`images` {shape} float32: pixels in {preprocess['channel_order'].upper()} order, times "
            f"{preprocess['value_range']:g} / 255, minus {preprocess['mean']}, divided by {preprocess['std']}"
        )
        gives = f"`logits` ({count}, {config['num_classes']})"
    fit = {"short": "the shorter side", "stretch": "the whole image", "central": "the central part"}[
        preprocess["resize"]
    ]
    return (
        f"Takes {takes}. Gives {gives}, in the order of `label_names` in `config.json`.{sides} Images are resized "
        f"with {preprocess['interpolation']} interpolation ({fit}), crop share {preprocess['crop_pct']:g}.\n"
    )


def _parity(parity: Parity) -> str:
    text = (
        f"Checked against the original on {parity.n} images ({parity.images}): {parity.equal_top1:.2%} equal "
        f"answers, largest difference of a logit {parity.max_difference:.3g} (largest logit {parity.max_logit:.3g})"
    )
    if parity.top1_original is not None and parity.top1_export is not None:
        text += f", accuracy {parity.top1_original:.2%} before and {parity.top1_export:.2%} after"
    if parity.top1_without_vnni is not None:
        text += f" ({parity.top1_without_vnni:.2%} on processors without VNNI)"
    for other in parity.sizes:
        text += f"; at {' x '.join(map(str, other['size']))} px {other['equal_top1']:.2%} equal answers"
    return text + ". All numbers: `parity.json`.\n"


def _python(export: Mapping[str, Any], preprocess: Mapping[str, Any]) -> str:
    size, channels = preprocess["size"], len(preprocess["mean"])
    kind = "uint8" if export["with_preprocessing"] else "float32"
    name = "probabilities" if export["with_preprocessing"] else "logits"
    lines = ["import json", "import numpy as np", *_opened(export)]
    lines.append(f'inputs = np.load("inputs.npy")  # (1, {channels}, {size[0]}, {size[1]}) {kind}, as described above')
    lines.append(f"{name} = {_answer(export, 'inputs')}")
    lines.append(f'print(json.load(open("config.json"))["label_names"][int({name}[0].argmax())])')
    return "```python\n" + "\n".join(lines) + "\n```\n"


def _probe(export: Mapping[str, Any]) -> str:
    lines = [
        "import numpy as np",
        *_opened(export),
        'probe = np.load("probe.npz")',
        'images = np.split(probe["inputs"], len(probe["inputs"]))',
        f"answers = np.concatenate([{_answer(export, 'image')} for image in images])",
        'difference = np.sqrt(np.square(answers - probe["outputs"]).mean())',
        'print("the same" if difference <= probe["tolerance"] else f"differs by {difference}: do not use it here")',
    ]
    return "```python\n" + "\n".join(lines) + "\n```\n"


def _opened(export: Mapping[str, Any]) -> list[str]:
    """Python that imports the runtime and opens the file."""
    hint = HINTS[export["precision"]]
    return {
        "onnx": ["import onnxruntime", 'session = onnxruntime.InferenceSession("model.onnx")'],
        "openvino": [
            "import openvino",
            f'model = openvino.compile_model("model.xml", "CPU", {{"INFERENCE_PRECISION_HINT": "{hint}"}})',
        ],
        "pt2": ["import torch", 'model = torch.export.load("model.pt2").module()'],
    }[export["format"]]


def _answer(export: Mapping[str, Any], inputs: str) -> str:
    """Python that gives the answers to the variable called `inputs`."""
    return {
        "onnx": f"session.run(None, {{session.get_inputs()[0].name: {inputs}}})[0]",
        "openvino": f"model({inputs})[0]",
        "pt2": f"model(torch.from_numpy({inputs})).detach().numpy()",
    }[export["format"]]


def _cpp(export: Mapping[str, Any], preprocess: Mapping[str, Any]) -> str:
    height, width = preprocess["size"]
    shape = f"{{1, {len(preprocess['mean'])}, {height}, {width}}}"
    kind, type_ = ("u8", "uint8_t") if export["with_preprocessing"] else ("f32", "float")
    return f"""```cpp
#include <openvino/openvino.hpp>
#include <fstream>
#include <iostream>
int main() {{  // reads inputs.bin: {type_} values in the order described above
  auto precision = ov::hint::inference_precision(ov::element::{HINTS[export["precision"]]});
  auto model = ov::Core().compile_model("{FILES[export["format"]]}", "CPU", precision);
  ov::Tensor input(ov::element::{kind}, ov::Shape{shape});
  std::ifstream("inputs.bin", std::ios::binary).read(static_cast<char*>(input.data()), input.get_byte_size());
  auto request = model.create_infer_request();
  request.set_input_tensor(input);
  request.infer();
  auto output = request.get_output_tensor();
  for (size_t i = 0; i < output.get_size(); ++i) std::cout << output.data<float>()[i] << "\\n";
}}
```
"""
