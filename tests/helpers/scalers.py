"""Gradient scalers on the CPU, where gradients are float32."""

import math

import torch


def cpu_scaler():
    return torch.amp.GradScaler("cpu", init_scale=2.0**30, growth_interval=1000)


def overflow(model):
    """Make one element of the gradient infinite from here on; returns the hook."""
    weight = next(model.parameters())

    def spoil(gradient):
        gradient = gradient.clone()
        gradient.view(-1)[0] = math.inf
        return gradient

    return weight.register_hook(spoil)
