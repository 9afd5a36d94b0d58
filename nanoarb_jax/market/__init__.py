"""Market data: books, features, labels, readers, a synthetic market. numpy and numba only, never JAX."""
