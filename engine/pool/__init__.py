"""The pool: kernels, plans, jobs, and the worker processes that run them."""
