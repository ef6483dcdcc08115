"""The part of the scripts that drives a running Lattice; it runs in `.venv`, after `kit` has set everything up."""
