"""One market: events, the book that they make, and the ticks taken from it. numpy and numba only, never JAX."""
