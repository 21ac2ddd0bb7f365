"""How the service is: for probes, for Prometheus, and for people."""
