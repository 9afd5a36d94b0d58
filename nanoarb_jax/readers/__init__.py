"""One file per input format, each from file to books or events."""
