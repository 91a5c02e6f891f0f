"""Benchmarks: suites for asv, the comparison in the README, and a soak test."""
