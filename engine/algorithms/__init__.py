"""The data-parallel vocabulary, one algorithm a file."""
