"""Words in shared memory that more than one process writes, and who may write them."""
