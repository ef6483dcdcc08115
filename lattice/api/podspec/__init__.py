"""The parts of a Pod, a module for each topic. ``lattice.api.pod`` has the Pod itself and names all of them.

The names and shapes are those of ``core/v1``. What becomes of each field (honoured, inert, refused) is in ``lattice.api.podfields``, not
here: a schema that lacked a field could only drop it silently.
"""
