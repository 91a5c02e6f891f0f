"""Key columns of text or bytes, grouped by as dictionaries."""

from __future__ import annotations

import pyarrow as pa

from engine.memory.ledger import count_copy

__all__ = ["decodable", "encode_text", "restore_text"]


def encode_text(column: pa.Array) -> pa.Array:
    """Give a column of text or bytes as a dictionary; any other as it is."""
    kind = column.type
    if not _is_text(kind):
        return column
    encoded = column.cast(decodable(kind)).dictionary_encode()
    count_copy("text keys", encoded.nbytes)
    return encoded


def restore_text(table: pa.Table, kinds: dict[str, pa.DataType]) -> pa.Table:
    """Give the columns of these names the text again for which dictionaries stand."""
    for name, kind in kinds.items():
        if _is_text(kind):
            column = table.column(name).cast(decodable(kind)).cast(kind)
            table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return (
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    )


def decodable(kind: pa.DataType) -> pa.DataType:
    """Name the type that stands for views, which are neither decoded nor sorted; or the type."""
    if pa.types.is_string_view(kind):
        return pa.large_string()
    return pa.large_binary() if pa.types.is_binary_view(kind) else kind
