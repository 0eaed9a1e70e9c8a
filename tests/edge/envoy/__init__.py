"""The edge, with real Envoy: its parts, and attacks on it and on the gateway alone."""
