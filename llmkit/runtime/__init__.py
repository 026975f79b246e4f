"""The process and its machine: terminal, devices, cores, launchers, signals."""
