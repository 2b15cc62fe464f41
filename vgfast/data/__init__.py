"""Data as ``fit`` takes it where it does not fit memory: ``vgfast.data.blocks``."""
