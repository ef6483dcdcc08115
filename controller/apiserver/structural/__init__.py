"""Structural OpenAPI v3 schemas at work: what the server does with an object because of its schema.

:class:`~controller.apiserver.structural.structural.Structural` is what the write and read paths use, one for a served version of a kind;
``definition.py`` checks and defaults CustomResourceDefinitions themselves. Everything here is pure: JSON values in, JSON values and
causes out.
"""
