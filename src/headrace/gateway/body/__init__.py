"""A request's body: read once, never written again, edited by spans of bytes."""
