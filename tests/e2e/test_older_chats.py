"""The rest of a long list of chats."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Route, expect

from tests.conftest import LiveServer
from tests.e2e.conftest import Open

pytestmark = pytest.mark.browser


def test_older_chats_are_shown_though_the_last_one_on_the_page_is_deleted_just_then(
    chat: Open, live: LiveServer
) -> None:
    made = [live.call("POST", "/api/chats", {"title": f"Aardvark {number}"})["id"] for number in range(60)]
    page = chat()
    drawer = page.page.get_by_role("navigation", name="Chats")
    drawer.get_by_role("searchbox").fill("Aardvark")
    rows = drawer.get_by_role("listitem").filter(has_text=re.compile("Aardvark"))
    expect(rows).to_have_count(50)
    expect(rows.last).to_contain_text("Aardvark 10")

    def delete_first(route: Route) -> None:
        live.call("DELETE", f"/api/chats/{made[10]}")
        route.continue_()

    page.page.route(re.compile(r"/api/chats\?.*before="), delete_first)
    with page.page.expect_response(re.compile(r"/api/chats\?.*before=")) as answer:
        page.button("Show older chats").click()
    assert [row["title"] for row in answer.value.json()["chats"]][:10] == [f"Aardvark {n}" for n in range(9, -1, -1)]
