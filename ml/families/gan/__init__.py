"""A generative adversarial network: draws pictures."""
