"""The servers that the service is measured against: scripts, each run in an environment of its own.

Each reads MODEL, the folder that `benchmarks.serving.models` wrote for it, and PORT. They import nothing of ours.
"""
