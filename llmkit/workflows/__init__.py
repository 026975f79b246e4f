"""The implementation of each command, as a function."""
