"""Exit codes that ``lattice up`` reads from its children; ``main.py`` has the whole table."""

EXIT_USAGE = 2
"""The command line, a manifest, a kubeconfig or a setting is wrong: a restart cannot help."""
EXIT_IN_USE = 4
"""Another process has the data directory; if that one is ending, a restart helps."""
