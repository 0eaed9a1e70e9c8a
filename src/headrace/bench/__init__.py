"""Load on a running endpoint, as its clients would make it, and what it did to them."""
