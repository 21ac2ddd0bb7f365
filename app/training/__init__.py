"""What takes minutes: jobs, and the worker that runs them."""
