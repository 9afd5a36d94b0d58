"""LOBSTER's files: names, times, books."""
