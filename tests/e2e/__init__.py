"""Real clients, the real program, the real embedded model: what a user of Headrace sees."""
