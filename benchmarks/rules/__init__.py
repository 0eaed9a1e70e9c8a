"""What rules cost a request."""
