"""The usage ledger: one row for each request, what it cost, and what the fleet cost. No gateway."""
