"""Random requests and random files, against what the service says of itself: see `python -m benchmarks.fuzz --help`."""
