"""Estimates of the time, memory, disk space and loss of a training run.

This package only computes: it opens no data and trains nothing. The measurements that it needs are
taken by llmkit/workflows/plan.py.
"""
