"""Running models: what starts an engine here and keeps it alive. Knows no tenants, no routes."""
