"""Conditions played on tasks: trials, evaluations, helpfulness."""
