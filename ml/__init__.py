"""The craft: models, data, training, formats. Knows files and tensors, never HTTP or SQL."""
