"""What algorithms are given: the common arguments, NumPy arrays, Arrow data."""
