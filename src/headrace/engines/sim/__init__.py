"""A look-alike of vLLM, without a GPU: its API, its metrics, and its scheduler's time."""
