"""Who owns which field of an object: ``metadata.managedFields`` and server-side apply, for every kind, driven by its schema.

``ownership.FieldManager`` is the door: ``update`` says what ``managedFields`` an ordinary write leaves behind, ``apply`` merges an
applied configuration into the live object. Both are pure: values in, values out; no clock, no I/O, no argument is ever changed, and
what they return may share parts with what they were given.

Layers, lowest first: ``elements`` (one step of a field path) ▸ ``fieldset`` (sets of paths) ▸ ``nodes`` (a schema, compiled) ▸
``comparing``, ``merging``, ``checking`` (walks over values along a schema) ▸ ``entries`` (the list on the wire) ▸ ``conflicts``,
``clientside`` ▸ ``ownership``. The rules are those of Kubernetes' structured-merge-diff v6; only schemas that convert by ``None`` exist
here, so an object looks the same in each of its versions.
"""
