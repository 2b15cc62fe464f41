"""A training step beside that of other libraries, and beside itself."""
