"""Which replica answers. Pure: facts and a snapshot in, a decision and its reason out."""
