#!/usr/bin/env python3
"""pack.py FOLDER: packs recordings (transcripts, manifests, OpenAPI documents) into recordings.tar.xz beside this script.

The same files give the same archive: names in order, no owners, no times. Files that the replay does not read are left out.
"""

import io
import lzma
import sys
import tarfile
from pathlib import Path

WANTED = ("[0-9][0-9][0-9]-*.json", "*.yaml", "openapi-v3-*.full.json")


def main(folder: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(path for pattern in WANTED for path in folder.glob(pattern)):
            entry = tarfile.TarInfo(path.name)
            entry.size, entry.mode = path.stat().st_size, 0o644
            archive.addfile(entry, io.BytesIO(path.read_bytes()))
    target = Path(__file__).with_name("recordings.tar.xz")
    target.write_bytes(lzma.compress(packed.getvalue(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{target.name}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
