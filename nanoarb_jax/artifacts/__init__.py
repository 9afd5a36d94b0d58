"""A model at rest."""
