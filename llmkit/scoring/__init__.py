"""Scores of predictions: intervals, significance tests, diagnostics, result files; no model."""
