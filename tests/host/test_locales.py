"""The English texts in ``locales/`` are those of the nodes, and the editor gets every language."""

from __future__ import annotations

import pytest
from project.locales import TRANSLATED, menu_texts, node_texts, read, write
from support.host_client import HostClient

REFRESH = "pytest tests/host/test_locales.py --write-definitions"


def test_english_is_what_the_nodes_say(client: HostClient, request: pytest.FixtureRequest) -> None:
    info = client.object_info()
    found = {"nodeDefs": node_texts(info), "main": menu_texts(info)}
    for name, texts in found.items():
        if request.config.getoption("--write-definitions"):
            write("en", name, texts)
        assert read("en", name) == texts, f"locales/en/{name}.json is not current. Write it anew: {REFRESH}"


def test_the_host_hands_out_every_language(client: HostClient) -> None:
    handed_out = client.get("/i18n").json()
    for language in ("en", *TRANSLATED):
        ours = read(language, "nodeDefs")
        assert {node: handed_out[language]["nodeDefs"].get(node) for node in ours} == ours
        menu = read(language, "main")["nodeCategories"]
        assert menu.items() <= handed_out[language]["nodeCategories"].items()
