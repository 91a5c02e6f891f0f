"""What sorts are made of: orders as words, lines, buckets."""
