"""What moving windows and stencils are made of."""
