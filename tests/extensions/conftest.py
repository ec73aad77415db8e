"""A client on the echo engine, and one on the starter model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import openai
import pytest

from tests.conftest import LiveServer, start_server
from tests.extensions.asking import STARTER, client_of


@pytest.fixture
def client(shared_server: LiveServer) -> Iterator[openai.OpenAI]:
    with client_of(shared_server) as made:
        yield made


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveServer, openai.OpenAI]]:
    """A server of its own with the starter model in its folder, not loaded yet."""
    if not STARTER.exists():
        pytest.skip("the starter model is not installed; python3 start.py fetches it")
    user_data = tmp_path_factory.mktemp("real")
    (user_data / "models").mkdir()
    try:
        (user_data / "models" / STARTER.name).symlink_to(STARTER)
    except OSError:
        shutil.copy(STARTER, user_data / "models")
    live = start_server(user_data)
    with client_of(live) as made:
        yield live, made
    live.stop()
