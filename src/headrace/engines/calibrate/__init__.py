"""Fitting the simulator's time model to a real engine, by asking it and watching the clock."""
