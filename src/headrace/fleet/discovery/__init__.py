"""Replicas that come and go: sources tell which there are, the reconciler tells the fleet."""
