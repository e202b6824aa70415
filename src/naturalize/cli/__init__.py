"""The command line: one file a command; each parses, calls one function and prints."""

from __future__ import annotations


def main() -> None:
    """Run the ``naturalize`` command."""
    from naturalize.cli.app import run_app

    run_app()
