"""The service: HTTP, jobs, database, files. Imports `ml` (never torch); `ml` never imports this."""

__version__ = "0.1.0"
