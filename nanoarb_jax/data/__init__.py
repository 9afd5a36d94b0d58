"""Files to ticks, ticks to labelled and split streams, streams to datasets on disk."""
