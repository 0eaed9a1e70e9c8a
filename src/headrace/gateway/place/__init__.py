"""Where the fleet meets the routing core: lanes, the line before them, what load takes away."""
