"""The ways to map: compiled functions, NumPy's ufuncs, generalized ones, Arrow columns."""
