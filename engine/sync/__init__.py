"""Synchronisation between processes, from Python and inside compiled kernels.

Each object is a few words of shared memory, and compiled functions that change them; see
docs/sync.md for what each value of each word means.
"""
