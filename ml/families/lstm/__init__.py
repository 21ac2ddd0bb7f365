"""A word-level LSTM language model: predicts the next word."""
