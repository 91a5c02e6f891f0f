"""The command line for tests: run it in this process, and check how it fails."""

from click.testing import CliRunner

from engine.cli import main


def run(*arguments):
    """Run the command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_one_line(result, exit_code):
    """Check that a command failed as it should: a code, a line, no trace of ours."""
    assert (result.exit_code, result.stdout) == (exit_code, ""), result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.endswith("\n")
    assert result.stderr.count("\n") == 1, result.stderr
