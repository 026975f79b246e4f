"""The model: loading, adapters, loss, the forward pass without padding."""
