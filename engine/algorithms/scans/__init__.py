"""What scans are made of."""
