"""Pictures of data and of what was measured."""
