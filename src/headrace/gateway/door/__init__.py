"""Where requests come in: connections, heads, who calls, the endpoints."""
