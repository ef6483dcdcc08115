"""What the scripts in `hack/` share: set-up of engine, etcd, images and virtual environment.

Called by the executables in `hack/` before any dependency is installed, so nothing here imports more than Python
itself.
"""
