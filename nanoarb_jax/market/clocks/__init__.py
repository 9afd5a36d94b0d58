"""Tick clocks: which states of a book become ticks, of events and of recorded books."""
