"""The lecture's one-dimensional GAN: it learns a density of single numbers, and every step of that can be drawn."""
