"""Guards on the way of a request: who looks, by which deadline, what was found."""
