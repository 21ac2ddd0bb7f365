"""Keys: who may call the service, and for what."""
