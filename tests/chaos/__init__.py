"""A seeded storm over a gateway and simulated engines: `make chaos`."""
