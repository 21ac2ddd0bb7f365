"""What models are made of: the data sets there are."""
