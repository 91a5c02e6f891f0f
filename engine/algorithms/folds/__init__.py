"""What reductions are made of: states of blocks, and how they are combined."""
