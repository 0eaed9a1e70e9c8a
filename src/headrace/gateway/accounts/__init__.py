"""What a request may use, and what it used: limits held and settled, the meter told."""
