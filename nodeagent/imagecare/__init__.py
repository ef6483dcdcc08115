"""Room for images: which may go when the disk fills, and which pulls are refused."""
