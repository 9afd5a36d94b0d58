"""The native backend: one tick of the model as compiled code over one weight buffer. No JAX."""
