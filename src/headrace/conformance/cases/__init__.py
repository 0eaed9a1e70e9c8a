"""The cases themselves, one module per concern; catalogue.py lists them all."""
