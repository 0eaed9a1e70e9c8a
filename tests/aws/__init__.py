"""Tests of deployments on AWS."""
