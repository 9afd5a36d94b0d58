"""Checkpoint to one self-contained file, ONNX or native, proven equal to the JAX model before it is kept.

export       the three exports
checks       what is refused: places, packages, files that differ from the JAX model
channels     the input transforms as quotients
constants    a model's weights, folded
form         the model as it is traced
trace        to a graph; the only module that imports jax2onnx
graph        what is done to the graph once it is traced
precision    a graph with smaller weights, or as onnxruntime rewrites it
samples      streams to compare on
accuracy     the file against the JAX model
"""

from nanoarb_jax.exporters.checks import claim_output
from nanoarb_jax.exporters.export import ExportResult, export_native, export_step, export_window

__all__ = ["ExportResult", "claim_output", "export_native", "export_step", "export_window"]
