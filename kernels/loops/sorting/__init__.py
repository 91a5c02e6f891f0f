"""Loops that sort: bodies over blocks of whole arrays, which only algorithms call.

They are no scalar functions that could be mapped over columns, so `kernels` does not export them.
"""

__all__: list[str] = []
