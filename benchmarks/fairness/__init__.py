"""The bars of fairness in simulation: what a flood does to whoever shares the fleet with it."""
