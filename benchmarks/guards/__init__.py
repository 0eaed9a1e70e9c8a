"""How good guards are at what they look for, and what they cost."""
