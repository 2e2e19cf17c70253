"""The sidebar's panel Memory in a real browser: banks are seen, searched and tidied, by mouse and by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diversity_guidance.stores.bank.bank import MemoryBank
from support.editor import VIEW, Editor
from support.graphs import Drawing
from support.host_client import HostClient
from support.host_server import HostServer
from support.random_latents import random_latents

pytestmark = [pytest.mark.browser, pytest.mark.host]

PATIENCE = 120_000  # ms: a busy machine loads the editor slowly
PROMPTS = ("woman running", "cat face", "astronaut")
HOSTILE = "<img src=x onerror=\"window.attacked = true\"><b id='attack'>bold</b>"


@pytest.fixture(params=["classic", "Nodes 2.0"])
def page(request: pytest.FixtureRequest, server: HostServer, browser: Any) -> Iterator[Any]:
    """The editor in one of its renderings."""
    page = browser.new_page(viewport={"width": 1500, "height": 900})
    page.set_default_timeout(PATIENCE)
    crashes: list[str] = []
    complaints: list[str] = []
    page.on("pageerror", lambda error: crashes.append(str(error)))
    page.on("console", lambda said: complaints.append(f"{said.text} {said.location}") if said.type == "error" else None)
    server.client.set("Comfy.TutorialCompleted", True)  # or a first visit covers everything with a dialog of its own
    server.client.set("Comfy.VueNodes.Enabled", request.param == "Nodes 2.0")
    yield page
    page.close()
    assert crashes == []
    # A bank that cannot be read is answered with status 409.
    assert [text for text in complaints if "diversity" in text.lower() and "409" not in text] == []


def opened(page: Any, client: HostClient) -> Any:
    """The panel."""
    page.goto(client.address)
    page.wait_for_function(
        "window.app?.extensionManager?.getSidebarTabs?.().some(tab => tab.id === 'diversity-memory')"
    )
    page.evaluate("window.app.extensionManager.sidebarTab.activeSidebarTabId = 'diversity-memory'")
    panel = page.get_by_test_id("diversity-memory")
    panel.wait_for()
    return panel


def bank_of(server: HostServer, name: str) -> MemoryBank:
    """A bank of four images of each prompt."""
    bank = MemoryBank(server.base / "user" / "diversity_banks", name)
    for place, prompt in enumerate(PROMPTS):
        thumbnails = torch.zeros(4, 64, 64, 3, dtype=torch.uint8)
        thumbnails[..., place] = torch.tensor([255, 200, 150, 100], dtype=torch.uint8)[:, None, None]
        bank.append(
            random_latents(4, seed=place), latent_format="SD3", prompts=prompt, seeds=100 + place, thumbnails=thumbnails
        )
    return bank


def wait_for_count(page: Any, count: int) -> None:
    page.wait_for_function("count => document.querySelectorAll('.dgm-card').length === count", arg=count)


def choose(page: Any, panel: Any, name: str) -> None:
    panel.get_by_label("Memory Bank").select_option(name)
    page.wait_for_function("name => document.querySelector('.dgm-card img')?.src.includes(name)", arg=name)


def test_seeing_filtering_pinning_removing_undoing(page: Any, server: HostServer, tmp_path: Path) -> None:
    name = f"tidied-{tmp_path.name}"
    bank = bank_of(server, name)
    panel = opened(page, server.client)
    choose(page, panel, name)
    wait_for_count(page, 12)
    first = panel.locator(".dgm-card").first
    assert {"astronaut", "seed 102"} <= set(first.inner_text().split("\n"))
    assert "12 images" in panel.get_by_role("status").inner_text()
    page.wait_for_function(
        "[...document.querySelectorAll('.dgm-card img')].slice(0, 4).every(image => image.naturalWidth)"
    )

    panel.get_by_label("Filter by prompt").fill("CAT")
    wait_for_count(page, 4)
    assert "4 of 12 images" in panel.get_by_role("status").inner_text()
    panel.get_by_label("Filter by prompt").fill("")
    wait_for_count(page, 12)

    cards = panel.locator(".dgm-card")
    cards.nth(0).click()
    cards.nth(2).click(modifiers=["Shift"])
    assert panel.get_by_text("3 selected").is_visible()
    page.screenshot(path=tmp_path / "selected.png")
    panel.get_by_text("Pin", exact=True).click()
    page.wait_for_function("document.querySelectorAll('.dgm-pinned').length === 3")
    assert [entry.pinned for entry in bank.snapshot().entries] == [False] * 9 + [True] * 3
    panel.get_by_text("Unpin", exact=True).click()
    page.wait_for_function("document.querySelectorAll('.dgm-pinned').length === 0")

    panel.get_by_text("Remove", exact=True).click()
    page.screenshot(path=tmp_path / "question.png")
    page.get_by_role("dialog").get_by_text("Confirm", exact=True).click()
    wait_for_count(page, 9)
    assert len(bank.snapshot()) == 9
    panel.get_by_text("Undo", exact=True).click()
    wait_for_count(page, 12)
    assert len(bank.snapshot()) == 12


def test_everything_by_keyboard(page: Any, server: HostServer, tmp_path: Path) -> None:
    name = f"keys-{tmp_path.name}"
    bank = bank_of(server, name)
    panel = opened(page, server.client)
    choose(page, panel, name)
    nodes = page.evaluate("window.app.graph.nodes.length")
    panel.get_by_role("button", name="Undo the last change").focus()
    page.keyboard.press("Tab")
    for key in ("ArrowRight", "Space", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    assert panel.get_by_text("2 selected").is_visible()
    page.keyboard.press("Delete")
    page.get_by_role("dialog").get_by_text("Confirm", exact=True).press("Enter")
    wait_for_count(page, 10)
    assert len(bank.snapshot()) == 10
    assert page.evaluate("window.app.graph.nodes.length") == nodes, "Delete has removed a node of the graph"


def test_a_run_refreshes_the_panel_and_tells_what_pushed_it(page: Any, server: HostServer, tmp_path: Path) -> None:
    name = f"run-{tmp_path.name}"

    def queue(seed: int) -> None:
        graph = Drawing()
        bank = graph.add("DiversityMemoryBank", name=name, revision=-1)
        samples = graph.sample(graph.repel(bank=bank, in_batch=True), batch=2, steps=12, seed=seed)
        graph.add("DiversityRemember", samples=samples, model=graph.demo, name=name)
        client = page.evaluate("window.app.extensionManager && window.app.api.clientId")
        server.client.client_id = client  # the editor that queued is told of the end
        server.client.run(graph.prompt)

    panel = opened(page, server.client)
    queue(1)
    page.wait_for_function(
        "name => [...document.querySelectorAll('.dgm option')].some(o => o.value === name)", arg=name
    )
    choose(page, panel, name)
    wait_for_count(page, 2)
    panel.get_by_text("What pushed the last run").click()
    queue(2)
    wait_for_count(page, 4)
    page.wait_for_function("document.querySelectorAll('.dgm-pushes li img').length >= 4")
    assert "Moved 2 of 2 images" in panel.inner_text()
    page.screenshot(path=tmp_path / "pushes.png")


def test_texts_of_a_bank_are_only_text(page: Any, server: HostServer, tmp_path: Path) -> None:
    name = f"hostile-{tmp_path.name}"
    bank = MemoryBank(server.base / "user" / "diversity_banks", name)
    bank.append(random_latents(2), latent_format="SD3", prompts=[HOSTILE, HOSTILE + "x" * 100_000])
    panel = opened(page, server.client)
    panel.get_by_label("Memory Bank").select_option(name)
    panel.get_by_text(HOSTILE).first.wait_for()
    assert page.locator("#attack").count() == 0
    assert page.evaluate("window.attacked") is None
    width = panel.bounding_box()["width"]
    assert page.evaluate("document.querySelector('.dgm-body').scrollWidth") <= width
    page.screenshot(path=tmp_path / "hostile.png")


def test_a_damaged_bank_is_told_and_others_still_show(page: Any, server: HostServer, tmp_path: Path) -> None:
    broken, sound = f"broken-{tmp_path.name}", f"sound-{tmp_path.name}"
    (bank_of(server, broken).folder / "index.sqlite").write_bytes(b"no database at all" * 100)
    bank_of(server, sound)
    panel = opened(page, server.client)
    panel.get_by_label("Memory Bank").select_option(broken)
    panel.get_by_role("alert").filter(has_text="is damaged").wait_for()
    page.screenshot(path=tmp_path / "damaged.png")
    choose(page, panel, sound)
    wait_for_count(page, 12)


def test_the_panel_opens_on_every_other_host(other_server: HostServer, browser: Any, tmp_path: Path) -> None:
    bank = MemoryBank(other_server.base / "elsewhere", "older host")
    bank.append(random_latents(2), latent_format="SD3", prompts="cat face")
    editor = Editor(browser.new_page(viewport=VIEW), other_server)
    panel = opened(editor.page, other_server.client)
    panel.get_by_label("Memory Bank").select_option("older host")
    panel.get_by_text("cat face").first.wait_for()
    panel.get_by_text("What pushed the last run").click()
    panel.get_by_text("No guided run since ComfyUI was started.").wait_for()
    editor.shoot(tmp_path / "older host.png")
    editor.page.close()
