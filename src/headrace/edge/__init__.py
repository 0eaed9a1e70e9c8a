"""The edge: Envoy before the gateway, as a configuration and as a process. It knows no model."""
