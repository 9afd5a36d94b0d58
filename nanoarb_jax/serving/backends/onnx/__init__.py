"""The onnxruntime backend, and the files it serves."""
