"""What decision records and traces cost a request: ``python -m benchmarks.records``."""
