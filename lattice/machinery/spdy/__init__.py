"""SPDY/3.1 as ``kubectl port-forward`` speaks it inside a WebSocket: a small, bounded codec without I/O (``codec.py``)."""
