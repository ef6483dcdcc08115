"""Hostile requests against a whole API server, and the proof that it took no harm. Used by ``hack/fuzz`` and by the tests of CI.

The parts, in the order in which a run uses them:

* ``subjects``   what is attacked: a valid object of every kind, the definitions of custom kinds
* ``mutation``   one value or one string of bytes, made wrong
* ``generator``  a seed to an endless list of requests; knows nothing of answers, so that a seed can be repeated
* ``wire``       a request as bytes on a connection, however odd; as a curl line; as a file
* ``oracle``     one answer: may a correct server give it?
* ``witness``    all answers together: what was acknowledged is what watchers saw and what is there in the end
* ``run``        a bounded run of all of this, with the server's memory and log

``openapi`` is the other way to make requests: schemathesis, from the documents that the server publishes.
"""
