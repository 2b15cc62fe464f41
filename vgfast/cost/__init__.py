"""What a training step costs: operations, bytes, time, and the machine's limits."""
