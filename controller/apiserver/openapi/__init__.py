"""OpenAPI v3: what the server serves, as a document for each group and version. kubectl reads it before it applies or explains.

``service.py`` answers requests and keeps the documents; ``document.py`` makes one from rows of the resource table; ``operations.py``
and ``components.py`` make its two halves, pure; ``meta_v1.json`` has the schemas and query parameters that all kinds share.
"""
