"""What remembering prompts is worth on real engines: two vLLM on CPU behind the gateway."""
