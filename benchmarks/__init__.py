"""Speed measured against bounds. Nothing here is part of the service."""
