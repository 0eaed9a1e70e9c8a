"""
What is told about requests: records, the log, metrics. The core emits; only this room knows the
libraries.
"""
