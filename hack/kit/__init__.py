"""What the scripts in `hack/` share: set-up of engine, etcd, images and virtual environment, with the standard library only.

Called by the executables in `hack/` before any dependency is installed, so nothing here may import more than Python itself.
"""
