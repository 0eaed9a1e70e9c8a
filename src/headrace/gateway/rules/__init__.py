"""What rules say about a request, carried out: targets, shares, copies, classes."""
