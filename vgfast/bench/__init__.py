"""A training step compared with that of other libraries, and rung by rung with itself."""
