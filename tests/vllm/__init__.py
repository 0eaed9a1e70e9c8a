"""Headrace in front of a real vLLM on CPU: opt-in, run by `make test-vllm`."""
