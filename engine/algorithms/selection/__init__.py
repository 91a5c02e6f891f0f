"""What filter, take and where are made of."""
