"""The JAX backend, for one stream and for many instruments."""
