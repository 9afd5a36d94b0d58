"""The backends: compiled code, JAX, onnxruntime. `backend.py` says what each of them offers."""
