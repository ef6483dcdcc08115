"""``python -m controller``: the same as ``lattice server``."""

from lattice.cli.main import main

if __name__ == "__main__":
    main("server")
