"""A client's name becomes a path in one place, and that place is hard to fool."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.errors import BadRequest, NotFound, StorageError
from modules.settings.paths import MAX_NAME, Paths, inside

ORDINARY = [
    "Creative",
    "my preset (2)",
    "a/b/c",
    "Größe",
    "日本語",
    "角色：一",
    "note…",
    "v1.2",
    "emoji 👩‍👩‍👧",
    "console",
]
BAD = [
    "", " ", ".", "..", "../x", "a/../b", "a/..", "/etc/passwd", "//server/share", "a//b", "a/", "/", "~/x/../..",
    "..\\x", "a\\b", "C:", "C:\\x", "c:/x", "file:stream", "a\x00b", "a\nb", "a\x7fb", "\u202egpj.exe", "a\u200bb",
    "\ufeffx", "\udcff", "CON", "nul", "NUL.yaml", "com1", "COM¹.txt", "lpt9.a.b", "aux .yaml", "conin$", "x/nul/y",
    "a.", "a ", " a", "a. ", ".hidden", "a/.hidden", "．．", "．．／x", "a／b", "a＼b",
    "‥", "…", "℀", "<x>", 'a"b', "a|b",
    "a?", "a*", "x" * (MAX_NAME + 1), "😀" * 60,
]  # fmt: skip


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_name_becomes_a_path_below_the_folder(tmp_path: Path, name: str) -> None:
    path = inside(tmp_path, name)
    assert path == tmp_path.resolve().joinpath(*name.split("/"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_name_that_could_mean_another_place_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        inside(tmp_path, name)
    assert caught.value.code == "invalid_name"
    assert caught.value.message.isascii() or "reserved" in caught.value.message or "sign" in caught.value.message


@pytest.mark.parametrize("name", [None, 3, b"x", ["x"]], ids=repr)
def test_what_is_not_text_is_refused(tmp_path: Path, name: object) -> None:
    with pytest.raises(BadRequest):
        inside(tmp_path, name)  # type: ignore[arg-type]


PIECES = st.sampled_from(
    [
        "..",
        ".",
        "/",
        "\\",
        "a",
        "b c",
        "\x00",
        "C:",
        "nul",
        "link",
        "loop",
        "inner",
        "~",
        "．",
        "／",
        "\u202e",
        " ",
        "%2e",
    ]
)


@given(name=st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=8).map("".join)))
def test_no_name_at_all_leads_out_of_the_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    root = _linked_root(tmp_path_factory)
    try:
        path = inside(root, name)
    except (BadRequest, NotFound):
        return
    assert path.resolve().is_relative_to(root.resolve())
    assert os.path.normpath(path) == str(path)
    assert path.name == name.split("/")[-1]


def _linked_root(factory: pytest.TempPathFactory) -> Path:
    root = factory.getbasetemp() / "linked" / "root"
    if not root.exists():
        root.mkdir(parents=True)
        (root.parent / "outside").mkdir()
        (root / "link").symlink_to(root.parent / "outside")
        (root / "loop").symlink_to(root / "loop")
        (root / "real").mkdir()
        (root / "inner").symlink_to(root / "real")
    return root


def test_a_link_that_leads_out_is_not_found_and_one_that_stays_inside_works(tmp_path: Path) -> None:
    (tmp_path / "root" / "real").mkdir(parents=True)
    (tmp_path / "secret").write_text("key")
    (tmp_path / "root" / "out").symlink_to(tmp_path)
    (tmp_path / "root" / "in").symlink_to(tmp_path / "root" / "real")
    with pytest.raises(NotFound):
        inside(tmp_path / "root", "out/secret")
    assert inside(tmp_path / "root", "in/x").resolve() == (tmp_path / "root" / "real" / "x").resolve()


def test_a_loop_of_links_is_not_found_instead_of_an_endless_walk(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(NotFound):
        inside(tmp_path, "a/x")


def test_the_folder_itself_may_be_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    assert inside(tmp_path / "root", "x") == (tmp_path / "real").resolve() / "x"


def test_a_part_that_is_too_long_for_a_file_name_is_refused_although_the_name_is_short_enough(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="bytes"):
        inside(tmp_path, "語" * 70)


def test_below_makes_every_folder_and_names_the_files(tmp_path: Path) -> None:
    paths = Paths.below(tmp_path / "mine", models=tmp_path / "elsewhere")
    for folder in (paths.chats, paths.presets, paths.extensions, paths.logs, paths.scratch):
        assert folder.is_dir()
        assert folder.parent == tmp_path / "mine"
    assert paths.models == tmp_path / "elsewhere"
    assert paths.models.is_dir()
    files = {paths.settings_file.name, paths.params_file.name, paths.run_file.name, paths.lock_file.name}
    assert files == {"settings.yaml", "params.yaml", "run.json", ".lock"}


def test_a_folder_that_cannot_be_made_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        Paths.below(tmp_path / "file")
    assert str(tmp_path / "file") in caught.value.message
    assert "--user-data-dir" in caught.value.hint
