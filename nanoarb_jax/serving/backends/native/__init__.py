"""The native backend: one tick of the model as compiled code over one weight buffer and one state. No JAX.

backend         `NativeStep`, the backend of `StepPredictor`
batch           `NativeBatch`, the same for many instruments
entry_points    the compiled step as functions on buffers, and its address
kernel          its stages; transform, matmul, vector_math, simd, memory, compiling: what they are made of
layout          where everything lies in a weight buffer and in a state
weights         `pack`: a model's arrays to a weight buffer; matrices: its matrices in each precision
state           the packed state as the one that every backend can read
file            a weight buffer as a file
"""

from nanoarb_jax.serving.backends.native.backend import NativeStep
from nanoarb_jax.serving.backends.native.entry_points import (
    initial_state,
    initial_states,
    step,
    step_address,
    step_all,
    step_each,
)
from nanoarb_jax.serving.backends.native.weights import pack

__all__ = ["NativeStep", "initial_state", "initial_states", "pack", "step", "step_address", "step_all", "step_each"]
