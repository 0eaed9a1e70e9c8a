"""The configuration: one frozen tree (schema), and its only reader (load)."""
