"""The simulator beside the engine that it imitates: the same requests to both."""
