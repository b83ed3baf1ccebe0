"""What a network is asked: targets, head, loss, decoding of outputs, metrics."""
