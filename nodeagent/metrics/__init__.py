"""Prometheus: what this node, its containers and its agent do."""
