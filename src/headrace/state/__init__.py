"""State that several gateways share: one client, and small shapes on top of it."""
