"""An exported program as one ONNX file that old runtimes open: opset, IR version, names of the free dimensions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from inceptions.engines.prepared import quiet
from inceptions.passes import onnx_translations

OPSETS = range(18, 24)
"""Opsets that can be written. PyTorch writes 18 and converts upwards; there is no way down. ONNX Runtime
opens 18 from 1.14 on, 19 from 1.16, 20 from 1.17, 21 from 1.18, 22 from 1.20, 23 from 1.22."""
OPSET = OPSETS[0]
"""What is written unasked: nothing here needs a newer one, and it opens in the oldest runtimes."""
FREE = {0: "n", 2: "height", 3: "width"}
"""axis of the input -> the name of its free dimension."""


def write_onnx(
    program: torch.export.ExportedProgram, file: Path, *, inputs: str, outputs: str, facts: Mapping[str, str],
    opset: int = OPSET, dynamic_size: bool = False,
) -> None:  # fmt: skip
    """Write `program` to `file`.

    Args:
        program: one input (N, C, H, W), one output.
        file: the new ONNX file.
        inputs: name of its input.
        outputs: name of its output.
        facts: the file's metadata.
        opset: one of `OPSETS`.
        dynamic_size: free the height and the width, which are fixed in `program`.
    """
    import onnx

    with quiet():
        written = torch.onnx.export(
            program,
            input_names=[inputs],
            output_names=[outputs],
            opset_version=opset,
            custom_translation_table=onnx_translations(),
            dynamo=True,
            optimize=not dynamic_size,  # it would work out what depends on the size at hand
            verbose=False,
        )
    assert written is not None
    model = written.model_proto
    _name_free(model, dynamic_size)
    if dynamic_size:
        from onnxscript import optimizer

        model = optimizer.optimize(model)
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
    onnx.helper.set_model_props(model, dict(facts))
    onnx.save(model, file)


def _name_free(model: Any, dynamic_size: bool) -> None:
    """Gives the free dimensions the names of `FREE` in place of PyTorch's symbols, which change from run to run."""
    graph = model.graph
    dimensions = graph.input[0].type.tensor_type.shape.dim
    if dynamic_size:
        for axis in (2, 3):
            dimensions[axis].dim_param = FREE[axis]
        del graph.value_info[:]  # the sizes in between are of the size it was traced at
    names = {dimensions[axis].dim_param: name for axis, name in FREE.items() if dimensions[axis].dim_param}
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = re.sub(r"\w+", lambda word: names.get(word[0], word[0]), dimension.dim_param)
