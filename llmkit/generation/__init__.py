"""From prompts to predictions: prompts of new rows, decoding, label likelihoods."""
