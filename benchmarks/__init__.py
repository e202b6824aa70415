"""Every measured figure of the project: ``make bench``, or ``python -m benchmarks.<name>``."""
