"""From the form to an ONNX graph: jax2onnx traces it, then `graph.py` tidies the graph.

The only module that imports jax2onnx.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nanoarb_jax.errors import ExportError
from nanoarb_jax.exporters.constants import fold
from nanoarb_jax.exporters.form import Traced, step_form, window_form
from nanoarb_jax.exporters.graph import absorb_summands, drop_unused
from nanoarb_jax.files import first_line
from nanoarb_jax.model.mamba import MambaLOB

if TYPE_CHECKING:
    import onnx

FEATURES, OUTPUTS = "features", ("logits", "probabilities")
FED = ("previous", "started")  # state inputs that no output continues
Shapes = dict[str, tuple[int | str, ...]]


def window_graph(model: MambaLOB, opset: int) -> onnx.ModelProto:
    """The window model with a dynamic batch: features (batch, window, f) → logits and probabilities (batch, h, c)."""
    config = model.config
    shapes: Shapes = {FEATURES: ("batch", config.window, config.input_dim)}
    return trace(window_form(fold(model), config.window), shapes, OUTPUTS, opset)


def step_graph(model: MambaLOB, opset: int, single: bool) -> onnx.ModelProto:
    """One tick: features and states → logits, probabilities and the next states; see `step_form`."""
    shapes = {FEATURES: ("batch", model.config.input_dim), **state_shapes(model, single)}
    if single:
        shapes[FEATURES] = (1, model.config.input_dim)
    states = [f"{name}_next" for name in shapes if name not in (FEATURES, *FED)]
    return trace(step_form(fold(model), single), shapes, (*OUTPUTS, *states), opset)


def state_shapes(model: MambaLOB, single: bool) -> Shapes:
    """State inputs of the step: `previous`, `started`, `conv`, and `ssm_0` and so on.

    All but the first two have an output `…_next`. Those two the caller feeds: the features of the tick before, and 1.
    """
    c = model.config
    conv, ssm = (c.d_conv - 1, c.num_layers * c.d_inner), (c.d_state, c.d_inner)
    batch: tuple[str, ...] = () if single else ("batch",)
    rows = 1 if single else "batch"
    return {
        "previous": (rows, c.input_dim),
        "started": (rows, 1),
        "conv": (*batch, *conv),
        **{f"ssm_{i}": (*batch, *ssm) for i in range(c.num_layers)},
    }


def trace(function: Traced, shapes: Shapes, outputs: Sequence[str], opset: int) -> onnx.ModelProto:
    """The graph of a function, checked by `onnx.checker`.

    Raises:
        ExportError: jax2onnx or the checker refuses it at this opset.
    """
    import onnx
    from jax2onnx import to_onnx

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # jax2onnx reads flax parameters in the old way
            graph = to_onnx(
                function,
                inputs=list(shapes.values()),
                model_name="mamba_lob",
                opset=opset,
                input_names=list(shapes),
                output_names=list(outputs),
                normalization_mode="prefer_native",
            )
        absorb_summands(graph.graph)
        drop_unused(graph.graph)
        onnx.checker.check_model(graph, full_check=True)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        NotImplementedError,
        ValueError,
    ) as error:
        raise ExportError(
            f"opset {opset}: the graph cannot be built ({first_line(error)}); try another opset, "
            "on the command line --opset"
        ) from error
    return graph
