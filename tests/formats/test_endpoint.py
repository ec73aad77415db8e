"""The file that names a server: what is read, what is refused, and that its secrets stay in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from modules.formats.endpoint import LARGEST, EndpointError, EndpointFile, is_this_machine, read_endpoint


def read(folder: Path, text: str) -> EndpointFile:
    path = folder / "x.endpoint.yaml"
    path.write_text(text)
    return read_endpoint(path)


def test_a_short_file_is_enough(tmp_path: Path) -> None:
    file = read(tmp_path, "url: http://127.0.0.1:8000/\n")
    assert file.url == "http://127.0.0.1:8000"
    assert (file.flavour, file.verify, file.key, file.sends_to) == ("auto", True, "", "")


def test_everything_can_be_said(tmp_path: Path) -> None:
    file = read(
        tmp_path,
        "url: https://a.example/v1\nmodel: big\nkey: s3cret\n"
        "flavour: vllm\ncontext: 4096\nparallel: 3\nheaders: {X-Project: blue}\nverify: false\nca_file: own.pem\n"
        "timeout: 12.5\nimages: true\n",
    )
    assert file.url == "https://a.example/v1"
    assert (file.model, file.key, file.flavour, file.context, file.parallel) == ("big", "s3cret", "vllm", 4096, 3)
    assert (dict(file.headers), file.verify, file.timeout, file.images) == ({"X-Project": "blue"}, False, 12.5, True)
    assert file.ca_file == str(tmp_path / "own.pem")
    assert file.sends_to == "a.example"


def test_a_file_of_an_earlier_version_may_name_its_one_server_in_a_list(tmp_path: Path) -> None:
    assert read(tmp_path, "urls: [http://127.0.0.1:8000]\n").url == "http://127.0.0.1:8000"
    with pytest.raises(EndpointError) as caught:
        read(tmp_path, "urls: [http://127.0.0.1:8000, http://127.0.0.1:8001]\n")
    assert caught.value.code == "endpoint_many_servers"


def test_secrets_are_not_in_what_is_printed(tmp_path: Path) -> None:
    file = read(tmp_path, "url: http://x\nkey: s3cret\nheaders: {X-Key: hidden}\n")
    assert "s3cret" not in repr(file)
    assert "hidden" not in repr(file)


def test_a_key_can_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = read(tmp_path, "url: http://x\nkey_env: MY_KEY\n")
    monkeypatch.setenv("MY_KEY", " s3cret\n")
    assert file.secret() == "s3cret"
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(EndpointError, match="MY_KEY") as caught:
        file.secret()
    assert caught.value.hint
    with pytest.raises(EndpointError):
        read(tmp_path, "url: http://x\nkey_env: ENGINEHOUSE_API_KEY\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no lines"), ("- a\n", "no lines"), ("url: [\n", "not YAML (line"), ("model: x\n", "names no server"),
        ("url: ftp://x\n", "http"), ("url: 7\n", "names no server"), ("urls: []\n", "names no server"),
        ("url: http://user:s3cret@x\n", "name or password"), ("url: http://x/?key=s3cret\n", "behind ?"),
        ("url: http://x..y\n", "http"),
        ("url: http://x y\n", "http"), ("url: http://x:99999\n", "http"), ('url: "http://x\\r\\nHost: y"\n', "http"),
        ("url: http://x\nurls: [http://y]\n", "both url and urls"), ("url: http://x\nkey: 5\n", "key"),
        ("url: http://x\nkey: s3cret\nkey_env: Y\n", "both key"), ("url: http://x\nflavour: llama\n", "flavour"),
        ("url: http://x\nflavor: vllm\n", "flavor"), ("url: http://x\napi_key: s3cret\n", "api_key"),
        ("url: http://x\ncontext: many\n", "context"), ("url: http://x\ncontext: true\n", "context"),
        ("url: http://x\ntimeout: 0\n", "timeout"), ("url: http://x\nverify: maybe\n", "verify"),
        ("url: http://x\nheaders: [a]\n", "headers"), ("url: http://x\nheaders: {Authorization: s3cret}\n", "own"),
        ('url: http://x\nheaders: {X-A: "s3cret\\r\\nX-B: y"}\n', "not a header"),
        ("url: http://x\nmodel: 5\n", "model"), ("url: http://x\nkey: !!python/object:os.system x\n", "not YAML"),
        ("a: " + "[" * 3000, "not YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_fix_and_without_secrets(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(EndpointError) as caught:
        read(tmp_path, text)
    said = f"{caught.value.message} {caught.value.hint}"
    assert words in said
    assert "s3cret" not in said
    assert caught.value.status == 422


def test_a_file_that_is_no_endpoint_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match="larger"):
        read(tmp_path, "x" * (LARGEST + 1))
    with pytest.raises(EndpointError, match="cannot be read"):
        read_endpoint(tmp_path / "gone.endpoint.yaml")
    path = tmp_path / "b.endpoint.yaml"
    path.write_bytes(b"\xff\xfe\x00url")
    with pytest.raises(EndpointError):
        read_endpoint(path)


def test_a_spelling_from_elsewhere_is_understood_as_a_mistake_and_set_right(tmp_path: Path) -> None:
    with pytest.raises(EndpointError) as caught:
        read(tmp_path, "base_url: http://x\n")
    assert "Did you mean url?" in caught.value.hint


@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.9.9.9", True), ("10.0.0.1", False),
     ("localhost.evil.example", False), ("0.0.0.0", False)],
)  # fmt: skip
def test_which_hosts_are_this_machine(host: str, here: bool) -> None:
    assert is_this_machine(host) is here
