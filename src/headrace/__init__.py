"""Headrace: an inference platform for your own LLMs. Import from the module that defines it."""

__version__ = "0.1.0"
