"""Headrace: an inference platform for your own LLMs. Import from the module that defines a thing."""

__version__ = "0.1.0"
