"""The conformance kit: a fake engine that breaks on demand, and a client that shows exact bytes."""
