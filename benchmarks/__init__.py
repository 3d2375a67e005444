"""Benchmarks for asv.

asv imports every package below this one. `peers` and `accuracy` need other libraries, so they have no `__init__.py`:
that hides them from asv, and `python -m benchmarks.peers` works all the same.
"""
