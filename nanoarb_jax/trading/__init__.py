"""Trading: from predictions to what to do about them."""
