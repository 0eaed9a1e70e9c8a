"""
What can answer: the declared models, the replicas that serve them, and what each has in flight.
"""
