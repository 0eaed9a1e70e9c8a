"""The admin API: its listener, and one module for each of its parts."""
