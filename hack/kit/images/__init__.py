"""Stand-ins for official images, made from Debian packages, for machines that no image registry answers."""
