"""Serving: one predictor per backend, all with the same update() and Prediction."""
