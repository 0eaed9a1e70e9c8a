"""Load on a deployment: scripts for k6, and `headrace bench load` beside another tool."""
