"""The dashboards, one file each. The words that they are written in are in ``observability.panels``."""
