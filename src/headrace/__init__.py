"""Headrace: an inference platform for your own LLMs. Import from the module that defines the thing."""

__version__ = "0.1.0"
