"""Benchmarks: suites for asv, the reach table of the README, and a soak test."""
