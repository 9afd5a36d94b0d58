"""A synthetic market, and the oracle that knows its future."""
