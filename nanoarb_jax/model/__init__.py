"""The Mamba-LOB model: selective scan, blocks, losses. JAX and flax only, no optax, no orbax."""
