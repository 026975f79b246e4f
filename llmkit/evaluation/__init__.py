"""Scoring a model on evaluation sets: loss and predictions."""
