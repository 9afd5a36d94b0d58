"""Event arrays as hftbacktest's converters write them."""
