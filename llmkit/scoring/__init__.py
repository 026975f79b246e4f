"""Scores of predictions: intervals, tests, diagnostics, result files. No model is needed."""
