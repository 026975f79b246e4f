"""Scores of a model on evaluation sets, by its loss and its predictions."""
