"""Rows of a recipe, their columns and splits, and their encoding into tokens."""
