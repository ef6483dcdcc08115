"""What kube-apiserver knows of Pods and a schema cannot say: defaults, rules over several fields, what may change, quality of service.

Pure functions on JSON objects. ``strategy.py`` names them in the row of ``Pod``; the subresource ``ephemeralcontainers`` is in
``ephemeral.py``. Sentences are those of k8s.io/kubernetes ``pkg/apis/core/validation``.
"""
