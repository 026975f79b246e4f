"""Prompts to predictions: decoding, label likelihoods, prompts of new rows."""
