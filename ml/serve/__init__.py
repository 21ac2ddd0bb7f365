"""Answers from a published version, over ONNX Runtime. No torch here."""
