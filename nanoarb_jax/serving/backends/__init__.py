"""The step backends: compiled code, JAX, onnxruntime."""
