"""What an instrument teaches a trained model: a linear term fitted to its past, and recalibration as it goes on."""
