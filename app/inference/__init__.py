"""What answers now: words, pictures, and the models kept in memory for them."""
