"""Evaluation: metrics, baselines, the protocol that judges all alike."""
