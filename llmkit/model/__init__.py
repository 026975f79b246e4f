"""The model: loading and saving, adapters, the loss."""
