"""Looks at texts: what is found in prompts and answers. Whose texts is gateway/guarding.py's."""
