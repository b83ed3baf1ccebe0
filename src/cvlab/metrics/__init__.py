"""Numbers from predictions: pure functions of arrays."""
