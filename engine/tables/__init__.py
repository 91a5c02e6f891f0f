"""Table files: read in batches of bounded size, written whole or not at all.

The bytes walk one way: `open_source` finds the reader of the file's format and cuts what it yields
to even batches; `map_table` computes columns from each batch; `open_sink` writes them in any format
to a file that takes the target's place when all went well.  `read_table` puts a file into shared
memory; nothing else here knows about processes.
"""

from engine.tables.errors import TableError
from engine.tables.load import read_table
from engine.tables.mapping import MapReport, map_table
from engine.tables.sink import Sink, check_sink, open_sink
from engine.tables.source import DEFAULT_BATCH_ROWS, Source, open_source

__all__ = [
    "DEFAULT_BATCH_ROWS",
    "MapReport",
    "Sink",
    "Source",
    "TableError",
    "check_sink",
    "map_table",
    "open_sink",
    "open_source",
    "read_table",
]
