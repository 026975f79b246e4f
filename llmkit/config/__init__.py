"""Recipes: their schema, their files, and hints for mistyped keys."""
