"""Which folder is used for compiled code: one that no other user can change anything in."""

import os
from pathlib import Path

import pytest

from rl_cli.engine import private_folder

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX only")
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
OTHER = 65534


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A folder for caches; the home folder is another one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "base"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir(mode=0o755)
    (tmp_path / "base").mkdir(mode=0o755)
    return tmp_path / "base"


def in_home(base):
    return base.parent / "home" / ".cache" / "rl-cli"


def test_new_folder_is_private_whatever_the_umask_is(base, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(base / "a" / "b"))
    before = os.umask(0)
    try:
        place = private_folder.find()
    finally:
        os.umask(before)
    assert place == (base / "a" / "b" / "rl-cli", "")
    assert [p.stat().st_mode & 0o777 for p in (place.folder, *place.folder.parents[:2])] == [
        0o700
    ] * 3


def writable(base):
    (base / "rl-cli").mkdir()
    (base / "rl-cli").chmod(0o777)


def writable_and_sticky(base):
    (base / "rl-cli").mkdir()
    (base / "rl-cli").chmod(0o1777)


def writable_above(base):
    base.chmod(0o777)


def group_writable(base):
    (base / "rl-cli").mkdir()
    os.chown(base / "rl-cli", -1, OTHER)
    (base / "rl-cli").chmod(0o770)


def of_another_user(base):
    (base / "rl-cli").mkdir()
    os.chown(base / "rl-cli", OTHER, OTHER)


def above_of_another_user(base):
    os.chown(base, OTHER, OTHER)


def link_of_another_user(base):
    (base / "mine").mkdir(mode=0o700)
    (base / "rl-cli").symlink_to("mine")
    os.lchown(base / "rl-cli", OTHER, OTHER)


def link_into_a_shared_folder(base):
    shared = base.parent / "shared"
    (shared / "mine").mkdir(parents=True)
    shared.chmod(0o777)
    (base / "rl-cli").symlink_to(shared / "mine")


def link_through_a_shared_folder(base):
    """Each folder at the end is private, but a link in between can be exchanged."""
    shared = base.parent / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (base / "mine").mkdir(mode=0o700)
    (shared / "hop").symlink_to(base / "mine")
    (base / "rl-cli").symlink_to("../shared/hop")


def link_to_nowhere(base):
    (base / "rl-cli").symlink_to("nowhere")


def link_to_itself(base):
    (base / "rl-cli").symlink_to("rl-cli")


def a_file(base):
    (base / "rl-cli").write_text("")


@pytest.mark.parametrize(
    "spoil",
    [
        writable, writable_and_sticky, writable_above, link_into_a_shared_folder, link_to_itself, a_file,
        link_through_a_shared_folder, link_to_nowhere,
        *(pytest.param(f, marks=as_root) for f in (
            of_another_user, above_of_another_user, link_of_another_user, group_writable)),
    ],
)  # fmt: skip
def test_folder_that_others_can_change_is_not_used(spoil, base):
    spoil(base)
    place = private_folder.find()
    assert place.folder == in_home(base)
    assert str(base.parent) in place.refused
    assert private_folder.problem(place.folder) is None


def test_folders_that_only_this_user_can_change_are_used(base):
    """A sticky folder of everybody above, as /tmp is, and links of this user's own."""
    base.chmod(0o1777)
    (base.parent / "elsewhere").mkdir(mode=0o700)
    (base / "rl-cli").symlink_to("../elsewhere")
    assert private_folder.find() == (base / "rl-cli", "")


@pytest.mark.parametrize("name", ["", "relative", "./x", "~/x"])
def test_relative_cache_home_is_ignored_without_a_note(name, base, monkeypatch):
    monkeypatch.chdir(base)
    monkeypatch.setenv("XDG_CACHE_HOME", name)
    assert private_folder.find() == (in_home(base), "")
    assert not list(base.iterdir())


def test_temporary_folder_is_used_without_a_home(base, monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    monkeypatch.setattr(private_folder.tempfile, "tempdir", str(base))
    place = private_folder.find()
    assert place.folder == base / f"rl-cli-{os.getuid()}"
    assert place.refused.endswith(f"there is no home folder {tmp_path / 'none'}")
    assert not (tmp_path / "none").exists()
    assert place.folder.stat().st_mode & 0o777 == 0o700


def test_no_private_folder_at_all_is_an_error(base, monkeypatch):
    writable(base)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setattr(private_folder.tempfile, "tempdir", str(base / "rl-cli"))
    with pytest.raises(RuntimeError, match="other users can write to"):
        private_folder.find()


def test_group_of_one_user_may_write(base, monkeypatch):
    """Many systems give each user a group of the same name, and files that it may write to."""
    import grp
    import pwd

    base.chmod(0o775)
    me = pwd.struct_passwd(("me", "x", os.getuid(), base.stat().st_gid, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: me)
    for name, members, used in (("me", ["me"], True), ("me", ["you"], False), ("all", [], False)):
        group = grp.struct_group((name, "x", me.pw_gid, members))
        monkeypatch.setattr(grp, "getgrgid", lambda _, group=group: group)
        expected = base / "rl-cli" if used else in_home(base)
        assert private_folder.find().folder == expected
    assert isinstance(expected, Path)
