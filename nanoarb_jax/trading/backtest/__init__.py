"""A model in hftbacktest's exchange: what its predictions earn after costs, with its own latency charged."""
