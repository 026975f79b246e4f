"""From prompts to predictions: building prompts, the generation engine, label likelihoods."""
