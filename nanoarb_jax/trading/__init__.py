"""Trading: strategies, from predictions to orders, and what predictions are worth in ticks."""
