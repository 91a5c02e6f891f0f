"""Algorithms that need phases, written for `engine.parallel_region`; each file is also a script."""
