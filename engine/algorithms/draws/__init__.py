"""What random numbers are made of."""
