"""A fleet of vLLM replicas and a router before it, event by event, without a clock or a network."""
