"""Connections between the API servers and the nodes, all of which the nodes have opened: control lines and streams."""
