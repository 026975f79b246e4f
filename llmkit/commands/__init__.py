"""The commands, one module each.

The modules import nothing heavy, so that `--help`, shell completion and error messages appear
immediately: a command imports PyTorch and transformers when it runs.
"""
