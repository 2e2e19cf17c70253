"""What a guidance is told in the host: every sampler, guider, mask, kind of latent and part of a schedule."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
import torch
from support.graphs import SAMPLER, Drawing, Graph, Node, latents_of, repelled
from support.host_client import HostClient, Run

Record = dict[str, Any]

SCALE, SHIFT = 1.5305, 0.0609
"""Stable Diffusion 3's latent format."""


def probed(graph: Graph, model: Any, push: float = 0.0, push_end: float = 0.0) -> Node:
    return graph.add("TestProbe", model=model, push=push, push_end=push_end)


def records_of(client: HostClient, graph: Graph, samples: Any, probe: Node) -> list[Record]:
    shown = graph.add("TestProbeReport", samples=samples, records=probe[1])
    return records_in(client.run(graph.prompt), shown)


def records_in(run: Run, shown: Node) -> list[Record]:
    return json.loads(run.outputs[shown.id]["text"][0])


def record_of(client: HostClient, **sampler: Any) -> Record:
    """What one run of KSampler on the embedded model tells."""
    graph = Drawing()
    probe = probed(graph, graph.demo[0])
    return records_of(client, graph, graph.sample(probe[0], **sampler), probe)[0]


def custom_sample(graph: Drawing, model: Any, guider: Node, *, steps: int = 3, flip: bool = False) -> Node:
    """Sample with a guider of its own."""
    sigmas = graph.add("BasicScheduler", model=model, scheduler="simple", steps=steps, denoise=1.0)
    return graph.add(
        "SamplerCustomAdvanced",
        noise=graph.add("RandomNoise", noise_seed=1),
        guider=guider,
        sampler=graph.add("KSamplerSelect", sampler_name="euler"),
        sigmas=graph.add("FlipSigmas", sigmas=sigmas) if flip else sigmas,
        latent_image=graph.empty(2),
    )


def test_a_plain_run(client: HostClient) -> None:
    record = record_of(client, seed=7)
    assert record["batch_size"] == 2
    assert record["latent_shape"] == [16, 8, 8]
    assert record["latent_format"] == "SD3Emoji"
    assert record["seed"] == 7
    assert record["half"] == pytest.approx(0.75)  # shift 3
    assert record["one_in_model_space"] == pytest.approx((1 - SHIFT) * SCALE)
    sigmas = record["sigmas"]
    assert sigmas[0] == pytest.approx(1)
    assert sigmas[-1] == 0
    steps = record["steps"]
    assert [(step["sigma"], step["next_sigma"]) for step in steps] == list(pairwise(sigmas))
    assert [step["progress"] for step in steps] == [0.0, 0.5, 1.0]
    assert not any(step["conditional_is_denoised"] for step in steps)
    assert all(step["mask"] is None for step in steps)
    assert record["finished"]
    assert record["notes"] == []
    assert record["final"] == pytest.approx((record["reported"] - SHIFT) * SCALE, abs=1e-5)


def test_without_cfg_the_conditional_estimate_is_the_estimate(client: HostClient) -> None:
    record = record_of(client, cfg=1.0)
    assert all(step["conditional_is_denoised"] for step in record["steps"])


def sampler_names(client: HostClient) -> list[str]:
    kind, *options = client.object_info()["KSampler"]["input"]["required"]["sampler_name"]
    return kind if isinstance(kind, list) else options[0]["options"]


def check_every_sampler(client: HostClient, cfg: float, steps: int) -> None:
    """All sampler names in one graph, so that they share what can be shared."""
    names = sampler_names(client)
    assert len(names) > 30
    graph = Drawing()
    shown = {}
    for name in names:
        probe = probed(graph, graph.demo[0])
        repelled = graph.repel(probe[0], overlap="outside", ensure_outside=True)
        samples = graph.sample(repelled, sampler_name=name, cfg=cfg, steps=steps)
        shown[name] = graph.add("TestProbeReport", samples=samples, records=probe[1]), graph.latents(samples)
    run = client.run(graph.prompt)
    for name, (report, saved) in shown.items():
        (record,) = records_in(run, report)
        assert record["finished"], name
        assert record["notes"] == [], name
        assert latents_of(client, run, saved).isfinite().all(), name
        for step in record["steps"]:
            assert step["next_sigma"] < step["sigma"], name
            assert 0 <= step["progress"] <= 1, name
        by_sigma = sorted(record["steps"], key=lambda step: -step["sigma"])
        assert all(earlier["progress"] <= later["progress"] for earlier, later in pairwise(by_sigma)), name


def test_every_sampler(client: HostClient) -> None:
    check_every_sampler(client, cfg=3.0, steps=3)


@pytest.mark.campaign
@pytest.mark.parametrize("cfg", [1.0, 5.0])
def test_every_sampler_at_length(client: HostClient, cfg: float) -> None:
    check_every_sampler(client, cfg=cfg, steps=8)


def test_part_of_the_schedule(client: HostClient) -> None:
    """denoise 0.5 begins in the middle of the model's schedule, and is told as the run that it is."""
    graph = Drawing()
    first = graph.sample()
    probe = probed(graph, graph.demo[0])
    second = graph.sample(probe[0], latent=first[0], denoise=0.5, steps=4)
    (record,) = records_of(client, graph, second, probe)
    assert record["sigmas"][0] == pytest.approx(0.75)
    assert record["steps"][0]["progress"] == 0
    assert record["steps"][-1]["progress"] == 1
    assert record["half"] == pytest.approx(0.75)


def test_the_percentages_are_those_of_the_model_as_it_is_finally_wired(client: HostClient) -> None:
    graph = Drawing()
    probe = probed(graph, graph.demo[0])
    shifted = graph.add("ModelSamplingSD3", model=probe[0], shift=1.0)
    (record,) = records_of(client, graph, graph.sample(shifted), probe)
    assert record["half"] == pytest.approx(0.5)


def test_an_inpainting_mask(client: HostClient) -> None:
    """It reaches the guidance in the latents' own shape, and what it protects stays."""
    graph = Drawing()
    probe = probed(graph, graph.demo[0], push=3.0)
    before = graph.masked()
    samples = graph.sample(probe[0], latent=before, seed=2)
    shown = graph.add("TestProbeReport", samples=samples, records=probe[1])
    saved = [graph.latents(before), graph.latents(samples)]
    run = client.run(graph.prompt)
    (record,) = records_in(run, shown)
    mean, *shape = record["steps"][0]["mask"]
    assert shape == [2, 16, 8, 8]
    assert mean == pytest.approx(0.5, abs=0.02)
    old, new = (latents_of(client, run, node) for node in saved)
    assert torch.allclose(new[..., 5:], old[..., 5:], atol=1e-5)
    assert not torch.allclose(new[..., :3], old[..., :3], atol=0.1)


@pytest.mark.parametrize("ensure_outside", [False, True])
def test_repellency_leaves_alone_what_a_mask_protects(client: HostClient, ensure_outside: bool) -> None:
    graph = Drawing()
    before = graph.masked()
    samples = graph.sample(graph.repel(ensure_outside=ensure_outside, radius=2.0), latent=before, seed=2)
    saved = [graph.latents(before), graph.latents(samples)]
    run = client.run(graph.prompt)
    old, new = (latents_of(client, run, node) for node in saved)
    assert torch.allclose(new[..., 5:], old[..., 5:], atol=1e-5)


def test_nodes_work_in_the_order_of_their_wires(client: HostClient) -> None:
    """Later ones see what earlier ones did, in the conditional estimate too: nobody's push looks like CFG."""
    graph = Drawing()
    first = probed(graph, graph.demo[0], push=1.0, push_end=1.0)
    second = probed(graph, first[0])
    samples = graph.sample(second[0], cfg=1.0)
    shown = [graph.add("TestProbeReport", samples=samples, records=probe[1]) for probe in (first, second)]
    run = client.run(graph.prompt)
    ((before,), (after,)) = (records_in(run, node) for node in shown)
    for old, new in zip(before["steps"], after["steps"], strict=True):
        assert new["denoised"] == pytest.approx(old["denoised"] + 1, abs=1e-5)
        assert old["conditional"] == old["denoised"]
        assert new["conditional"] == new["denoised"]
    assert after["final"] == pytest.approx(before["final"] + 1, abs=1e-5)
    assert after["reported"] == pytest.approx(after["final"] / SCALE + SHIFT, abs=1e-5)


def test_one_model_sampled_twice_is_two_runs(client: HostClient) -> None:
    graph = Drawing()
    probe = probed(graph, graph.demo[0])
    first = graph.sample(probe[0])
    second = graph.sample(probe[0], latent=first[0], denoise=0.5, seed=9)
    records = records_of(client, graph, second, probe)
    assert [record["seed"] for record in records] == [1, 9]
    assert all(record["finished"] for record in records)


@pytest.mark.parametrize("style", ["regular", "nested"])
def test_the_dual_guider_is_steered_on_what_it_finally_predicts(client: HostClient, style: str) -> None:
    """It blends after CFG: the post-CFG estimate is not what the sampler gets."""
    push, steps = 0.5, 1
    results = []
    for amount in (0.0, push):
        graph = Drawing()
        probe = probed(graph, graph.demo[0], push=amount)
        guider = graph.add(
            "DualCFGGuider",
            model=probe[0],
            cond1=graph.encode("woman running"),
            cond2=graph.encode("running"),
            negative=graph.encode(""),
            cfg_conds=3.0,
            cfg_cond2_negative=2.0,
            style=style,
        )
        (record,) = records_of(client, graph, custom_sample(graph, probe[0], guider, steps=steps), probe)
        results.append(record)
    before, after = results
    # With one step the sampler returns the estimate itself.
    assert after["final"] == pytest.approx(before["final"] + push, abs=1e-4)
    assert after["steps"][0]["denoised"] == before["steps"][0]["denoised"]
    # Only in the nested style does CFG see the prompt's own estimate.
    assert after["steps"][0]["conditional_is_denoised"] == (style == "regular")


@pytest.mark.parametrize("kind", ["CFGGuider", "BasicGuider", "PerpNegGuider"])
def test_other_guiders(client: HostClient, kind: str) -> None:
    graph = Drawing()
    probe = probed(graph, graph.demo[0])
    positive, negative = graph.encode("woman running"), graph.encode("man")
    inputs: dict[str, Any] = {
        "CFGGuider": {"positive": positive, "negative": negative, "cfg": 3.0},
        "BasicGuider": {"conditioning": positive},
        "PerpNegGuider": {
            "positive": positive,
            "negative": negative,
            "empty_conditioning": graph.encode(""),
            "cfg": 3.0,
            "neg_scale": 1.0,
        },
    }[kind]
    guider = graph.add(kind, model=probe[0], **inputs)
    (record,) = records_of(client, graph, custom_sample(graph, probe[0], guider), probe)
    assert len(record["steps"]) == 3
    assert record["finished"]
    assert record["steps"][0]["conditional_is_denoised"] == (kind == "BasicGuider")


def test_a_run_that_adds_noise_is_left_alone(client: HostClient) -> None:
    graph = Drawing()
    probe = probed(graph, graph.demo[0], push=5.0)
    guider = graph.add("BasicGuider", model=probe[0], conditioning=graph.encode("woman running"))
    (record,) = records_of(client, graph, custom_sample(graph, probe[0], guider, flip=True), probe)
    assert "steps" not in record
    assert "adds noise" in record["notes"][0]


def test_leftover_noise_is_not_finished(client: HostClient) -> None:
    graph = Drawing()
    probe = probed(graph, graph.demo[0], push_end=5.0)
    samples = graph.half_sample(probe[0])
    (record,) = records_of(client, graph, samples, probe)
    assert "final" not in record
    assert "left noise" in record["notes"][0]


def tiny(graph: Graph, kind: str, latent: Node, **sampler: Any) -> tuple[Node, Node, Node]:
    """Source, probe and samples of a tiny model that is repelled within its batch."""
    source = graph.add("TestTinyModel", kind=kind)
    probe = probed(graph, source[0])
    guarded = repelled(graph, probe, ensure_outside=True)
    samples = graph.add(
        "KSampler",
        model=guarded,
        positive=source[1],
        negative=source[2],
        latent_image=latent,
        **{**SAMPLER, **sampler},
    )
    return source, probe, samples


def test_a_video_latent(client: HostClient) -> None:
    graph = Graph()
    latent = graph.add("EmptyHunyuanLatentVideo", width=64, height=64, length=9, batch_size=2)
    source, probe, samples = tiny(graph, "wan", latent)
    shown = graph.add("TestProbeReport", samples=samples, records=probe[1])
    saved = graph.latents(samples)
    graph.add("DiversityRemember", samples=samples, model=source[0], name="")
    run = client.run(graph.prompt)
    (record,) = records_in(run, shown)
    assert record["latent_shape"] == [16, 3, 8, 8]
    assert record["latent_format"] == "Wan21"
    assert record["finished"]
    assert latents_of(client, run, saved).isfinite().all()


def test_latents_packed_into_one_are_left_alone(client: HostClient) -> None:
    """Such as video with sound: a push would mix the two."""
    graph = Drawing()
    probe = probed(graph, graph.demo[0], push=5.0, push_end=5.0)
    samples = graph.add("TestPackedRun", model=probe[0])
    (record,) = records_of(client, graph, samples, probe)
    assert "steps" not in record
    assert record["reported"] == 1
    assert "packs several latents into one" in record["notes"][0]


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_a_model_that_predicts_noise(client: HostClient, cfg: float) -> None:
    graph = Graph()
    latent = graph.add("EmptyLatentImage", width=64, height=64, batch_size=2)
    _, probe, samples = tiny(graph, "unet", latent, cfg=cfg)
    shown = graph.add("TestProbeReport", samples=samples, records=probe[1])
    saved = graph.latents(samples)
    run = client.run(graph.prompt)
    (record,) = records_in(run, shown)
    assert record["latent_format"] == "SD15"
    assert record["sigmas"][0] > 10
    assert record["one_in_model_space"] == pytest.approx(0.18215)
    assert [step["progress"] for step in record["steps"]] == [0.0, 0.5, 1.0]
    assert all(step["finite"] for step in record["steps"])
    assert latents_of(client, run, saved).isfinite().all()
