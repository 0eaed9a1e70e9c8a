"""Tests of admission/: who may enter."""
