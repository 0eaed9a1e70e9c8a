"""What is remembered of requests, and what the gateway measures of itself."""
