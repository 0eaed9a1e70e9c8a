"""The command line: one file for each command. It parses, calls what is below, and prints."""
