"""The conformance kit: a scripted engine, a raw client, and the cases that run over both."""
