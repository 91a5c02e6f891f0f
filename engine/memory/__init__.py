"""Shared memory: the arena, arrays in it, and names for arrays that travel."""
