"""``engine`` on the command line: map a kernel over a table file, try the demo, look around.

Exit codes: 0 all is done; 1 the kernel's own code or the machine failed; 2 the command cannot be
carried out as given (a file, a column, a kernel's name or its types).  Every failure is one line on
standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
from tqdm import tqdm

import engine
from engine.demo import run_demo
from engine.kernel_name import KernelNameError, load_kernel
from engine.tables import DEFAULT_BATCH_ROWS, MapReport, TableError, map_table, open_source

__all__ = ["main"]


class _FailedError(click.ClickException):
    """Ends the command with exit code 1 and one line on standard error."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class _BadCommandError(_FailedError):
    """Ends the command with exit code 2 and one line on standard error."""

    exit_code = 2


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn the errors that a user can meet into a line and an exit code; a bug keeps its trace."""
    try:
        yield
    except (TableError, KernelNameError, engine.KernelTypeError) as error:
        raise _BadCommandError(str(error)) from error
    except (engine.EngineError, MemoryError) as error:
        raise _FailedError(str(error) or "out of memory") from error


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="numcrew", prog_name="engine")
def main() -> None:
    """Run numeric kernels over tables on every core."""


@main.command("map")
@click.argument("kernel", metavar="MODULE:KERNEL")
@click.option("--input", "input_path", required=True, metavar="FILE", help="Table to read.")
@click.option(
    "--columns",
    required=True,
    metavar="A,B,...",
    help="Columns that are the kernel's arguments, in its order.",
)
@click.option("--output", "output_path", required=True, metavar="FILE", help="Table to write.")
@click.option("--name", metavar="NAME", help="Result column; by default the kernel's name.")
@click.option("--processes", type=click.IntRange(min=1), help="Processes; by default every core.")
@click.option(
    "--batch-rows",
    type=click.IntRange(min=1),
    default=DEFAULT_BATCH_ROWS,
    show_default=True,
    help="Rows in memory at a time.",
)
@click.option(
    "--progress/--no-progress", default=None, help="Progress bar; by default on a terminal only."
)
def map_command(
    kernel: str,
    input_path: str,
    columns: str,
    output_path: str,
    name: str | None,
    processes: int | None,
    batch_rows: int,
    progress: bool | None,
) -> None:
    """Compute a column from columns of a table file.

    MODULE:KERNEL is a function such as kernels.geo:great_circle_miles or ./mine.py:score, run once
    for each row.  The output has all columns of the input, then the result; a kernel that returns a
    tuple makes NAME_0, NAME_1 and so on.  Formats go by the suffix: .parquet, .arrow, .feather,
    .ipc, .arrows, .csv, .npy.
    """
    with _one_line_errors(), ExitStack() as stack:
        function = load_kernel(kernel)
        names = [column.strip() for column in columns.split(",")]
        source = stack.enter_context(open_source(input_path, batch_rows=batch_rows))
        pool = stack.enter_context(engine.Pool(processes)) if processes is not None else None
        bar = stack.enter_context(
            tqdm(
                total=source.row_count,
                unit=" rows",
                unit_scale=True,
                file=sys.stderr,
                disable=None if progress is None else not progress,
            )
        )
        report = map_table(
            _applying(kernel, function, pool),
            source,
            names,
            output_path,
            name=name or kernel.rpartition(":")[2].rpartition(".")[2],
            on_rows=bar.update,
        )
    click.echo(f"{output_path}: {_summary(report)}")


def _applying(
    name: str, function: Callable[..., Any], pool: engine.Pool | None
) -> Callable[[Sequence[pa.Array]], Any]:
    """Return what maps `function` over arrays and names it when its own code raises."""

    def apply(arrays: Sequence[pa.Array]) -> Any:
        try:
            return engine.parallel_map(function, *arrays, pool=pool)
        except engine.EngineError:
            raise
        except Exception as error:
            raise _FailedError(f"{name} raised {type(error).__name__}: {error}") from error

    return apply


def _summary(report: MapReport) -> str:
    """Return the line that closes a map."""
    nulls = f"{report.null_count:,} null{'' if report.null_count == 1 else 's'}"
    rate = report.row_count / max(report.elapsed_s, 1e-9)
    return (
        f"{report.row_count:,} rows, {nulls} in {', '.join(report.result_names)}, "
        f"{report.elapsed_s:.2f} s, {rate:,.0f} rows/s"
    )


@main.command("demo")
@click.option("--rows", type=click.IntRange(min=1), help="Flights; by default all 336,776.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=Path("numcrew-demo"),
    show_default=True,
    help="Where to put the tables.",
)
def demo_command(rows: int | None, directory: Path) -> None:
    """Measure every flight that left New York in 2013, and check it against the airlines."""
    with _one_line_errors():
        for line in run_demo(rows, directory):
            click.echo(line)


@main.command("info")
def info_command() -> None:
    """Show cores, shared memory, the pool and versions."""
    with _one_line_errors():
        sections = engine.info()
    width = max((len(key) for section in sections.values() for key in section), default=0)
    for index, (title, section) in enumerate(sections.items()):
        if index:
            click.echo()
        click.echo(title)
        for key, value in section.items():
            click.echo(f"  {key:<{width}}  {value}")
