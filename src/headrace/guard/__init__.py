"""Looks at texts: what is found in prompts and answers. Whose is gateway/guards/guarding.py's."""
