"""Why it is slow or fails: a pure function from series to a finding."""
