"""Looks at texts: what is found in prompts and answers. Who is looked at is gateway/guarding.py's."""
