"""What an export refuses: a place, an opset or a missing package before the work, a file that differs after it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from nanoarb_jax.errors import ExportError
from nanoarb_jax.exporters.accuracy import Accuracy
from nanoarb_jax.files import claim_file

OPSETS = range(17, 24)
DEFAULT_OPSET = OPSETS.start
PACKAGES = ("jax2onnx", "onnx", "onnxruntime")  # that only exports to ONNX need
# largest |difference of probabilities| from JAX that a file may have, and share of directions that may be others
TOLERANCES = {"fp32": 1e-5, "fp16": 5e-3, "bf16": 5e-3, "int8": 2e-2}
CHANGED = 0.01


def claim_output(path: Path, opset: int | None = DEFAULT_OPSET, what: str = "export") -> None:
    """Fail before the work, not after it, if the file cannot be made.

    Args:
        path: file to make; its folder is made with it.
        opset: of an ONNX file; None for a native one.
        what: the file is, for the error: "--output" on the command line.

    Raises:
        OutputError: it exists.
        ExportError: the opset is not supported, or a package that only exports need is not installed.
    """
    claim_file(path, what, makes_folder=True)
    if opset is None:
        return
    if opset not in OPSETS:
        raise ExportError(f"opset {opset}: expected {OPSETS.start} to {OPSETS.stop - 1}; leave it out for the default")
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise ExportError(f"{path}: exporting needs {package}, which is not installed; pip install {package}")


def check_accuracy(path: Path, precision: str, accuracy: Accuracy) -> None:
    """Refuse a file that is too far from the model.

    Raises:
        ExportError: a difference is over its limit, or not a number.
    """
    difference, allowed = accuracy.max_probability_difference, TOLERANCES[precision]
    if not difference <= allowed:  # so written, it refuses NaN too
        raise ExportError(
            f"{path}: not written: its probabilities differ from the JAX model by {difference:.1e} on "
            f"{accuracy.measured_on}, over {allowed:.0e}; try another precision or opset, and report it if it is fp32"
        )
    if accuracy.changed_directions > CHANGED:
        raise ExportError(
            f"{path}: not written: {accuracy.changed_directions:.1%} of its directions are not the JAX model's on "
            f"{accuracy.measured_on}, over {CHANGED:.0%}; try another precision"
        )
