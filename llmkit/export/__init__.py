"""Exports of a run for other programs: writing them, and opening them with those programs to check
that they are the same model.

One module per format writes its files, says which models it cannot hold, and opens them again.
"""
