"""What limits cost a request: ``python -m benchmarks.limits``."""
