"""What group-by is made of: keys as numbers, equal ones side by side, aggregates."""
