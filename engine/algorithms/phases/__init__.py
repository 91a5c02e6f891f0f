"""What algorithms of several phases are made of: bodies, run for blocks of rows."""
