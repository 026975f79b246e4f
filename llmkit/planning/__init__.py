"""What a training will take and reach, reckoned from measurements: time, memory, disk and loss.

Nothing here opens rows or trains; llmkit/workflows/plan.py measures, and this room computes."""
