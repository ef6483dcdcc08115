"""Files of volumes, paths without links, owners: on a real file system."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from nodeagent.volumes import files, owners, paths

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


def make(*entries: tuple[str, bytes, int]) -> files.FileVolume:
    return files.FileVolume(name="v", files=tuple(files.File(path=path, content=content, mode=mode) for path, content, mode in entries))


def test_files_change_all_at_once_and_only_when_they_differ(tmp_path: Path) -> None:
    directory = files.RunDirectory(tmp_path / "run")
    place = tmp_path / "run" / "u" / "v"
    assert directory.write("u", (make(("a", b"1", 0o644), ("deep/b", b"2", 0o400)),))
    before = (place / "..data").readlink()
    assert not directory.write("u", (make(("a", b"1", 0o644), ("deep/b", b"2", 0o400)),))
    assert (place / "..data").readlink() == before
    assert directory.write("u", (make(("a", b"1", 0o600), ("c", b"3", 0o644)),))
    assert (place / "..data").readlink() != before
    assert {entry.name for entry in place.iterdir()} == {"..data", str((place / "..data").readlink()), "a", "c"}
    assert ((place / "a").readlink(), (place / "a").stat().st_mode & 0o777) == (Path("..data/a"), 0o600)
    assert (place / "c").read_bytes() == b"3"


def test_files_of_an_older_agent_become_links(tmp_path: Path) -> None:
    directory = files.RunDirectory(tmp_path / "run")
    place = tmp_path / "run" / "u" / "v"
    (place / "deep").mkdir(parents=True)
    (place / "a").write_bytes(b"old")
    (place / "deep" / "b").write_bytes(b"old")
    assert directory.write("u", (make(("a", b"old", 0o644), ("deep/b", b"new", 0o644)),))
    assert ((place / "a").read_bytes(), (place / "deep" / "b").read_bytes()) == (b"old", b"new")
    assert (place / "a").is_symlink()
    assert (place / "deep").is_symlink()


def read_below(root: Path, path: str, **options: object) -> bytes:
    handle = paths.open_below(str(root), path, **options)  # type: ignore[arg-type]
    try:
        return Path(f"/proc/self/fd/{handle}").read_bytes()
    finally:
        os.close(handle)


def test_a_path_is_opened_below_its_root_and_no_link_is_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "f").write_bytes(b"x")
    (tmp_path / "secret").write_bytes(b"s")
    (root / "out").symlink_to("..")
    (root / "a" / "back").symlink_to("f")
    assert read_below(root, "a/f") == b"x"
    for path in ("out/secret", "out", "a/back", "../secret", "a/../../secret", "missing", "a/f/x"):
        with pytest.raises(paths.PathError):
            read_below(root, path)


def test_directories_are_made_like_the_one_above(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root").chmod(0o2771)
    os.close(paths.open_below(str(tmp_path / "root"), "a/b", create=True))
    assert (tmp_path / "root" / "a" / "b").stat().st_mode & 0o7777 == 0o2771
    os.close(paths.open_below(str(tmp_path / "root"), "a/f", kind="FileOrCreate", create=False))
    assert (tmp_path / "root" / "a" / "f").is_file()


def test_what_is_there_must_be_of_the_kind(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "d").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        fits = {"f": ("File", "FileOrCreate"), "d": ("Directory", "DirectoryOrCreate"), "s": ("Socket",)}
        kinds = {"File", "FileOrCreate", "Directory", "DirectoryOrCreate", "Socket", "CharDevice", "BlockDevice"}
        for name, right in fits.items():
            for kind in right:
                os.close(paths.open_below(str(tmp_path), name, kind=kind))
            for kind in kinds - set(right):
                with pytest.raises(paths.PathError, match="is not a"):
                    paths.open_below(str(tmp_path), name, kind=kind)


@ROOT
def test_a_mount_stays_when_its_path_is_replaced_and_goes_without_its_data(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "sub").mkdir(parents=True)
    (data / "sub" / "kept").write_bytes(b"k")
    (data / "file").write_bytes(b"f")
    guarded = paths.GuardedPaths(tmp_path / "run")
    places = []
    for name in ("sub", "file", "sub"):
        handle = paths.open_below(str(data), name)
        places.append(Path(guarded.bind("u", f"main.{name}", handle)))
        os.close(handle)
    (data / "sub").rename(data / "old")
    (data / "sub").symlink_to("/etc")
    assert (places[0] / "kept").read_bytes() == b"k"
    assert places[1].read_bytes() == b"f"
    assert guarded.pods() == ["u"]
    guarded.remove("u")
    guarded.remove("u")
    assert guarded.pods() == []
    handle = paths.open_below(str(data), "old")
    guarded.bind("w", "main.0", handle)
    os.close(handle)
    guarded.remove_all()
    guarded.remove_all()
    assert not (tmp_path / "run.paths").exists()
    assert (data / "old" / "kept").read_bytes() == b"k"
    assert (data / "file").read_bytes() == b"f"


@ROOT
def test_a_tree_is_given_to_a_group_and_links_are_not_followed(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    (tree / "d").mkdir(parents=True)
    (tree / "d" / "f").touch(0o600)
    outside.touch(0o600)
    (tree / "link").symlink_to(outside)
    owners.give_to_group(tree, 4242, only_if_root_differs=False)
    seen = {path: (path.lstat().st_gid, path.lstat().st_mode & 0o7777) for path in (tree, tree / "d", tree / "d" / "f")}
    assert seen == {tree: (4242, 0o2775), tree / "d": (4242, 0o2775), tree / "d" / "f": (4242, 0o660)}
    assert (outside.stat().st_gid, outside.stat().st_mode & 0o777) == (os.getgid(), 0o600)
    (tree / "later").touch(0o600)
    os.chown(tree / "later", 0, 0)
    owners.give_to_group(tree, 4242, only_if_root_differs=True)
    assert (tree / "later").stat().st_gid == 0
