"""Whole jobs: training a run, comparing many."""
