"""How fast training is, beside the examples that most people start from."""
