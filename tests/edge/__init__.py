"""The 25 edge cases of an inference gateway, on the wire: raw bytes in, raw bytes out."""
