"""From a decision to the answer's last byte: attempts upstream, bytes back to the client."""
