"""Training: plan of chunks, optimizer, loop, checkpoints."""
