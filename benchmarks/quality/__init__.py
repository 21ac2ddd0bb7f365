"""How good the models are beside named peers: same split, same CPU seconds of one thread. See `__main__.py`."""
