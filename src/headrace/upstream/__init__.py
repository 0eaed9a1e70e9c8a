"""Our own HTTP/1.1 client for engines: one connection, and a pool of them per replica."""
