"""A net in forms that others run: a module of PyTorch, an ONNX model, a C header. ``methods`` has what users call."""
