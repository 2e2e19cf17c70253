"""Samplers and guiders of other packs, schedules by hand: what a node says of their results is true of all of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from diversity_guidance.embedded.transformer import to_model_space
from support.graphs import REPELLENCY, Drawing, Node, latents_of
from support.host_client import HostClient, Run, RunFailed
from support.host_listener import listen

LEVELS = "1, 0.75, 0.4, 0.1, 0"
RADIUS = 60.0
"""Farther than two images of the embedded model are apart after these steps."""


class Custom(Drawing):
    """A graph around SamplerCustomAdvanced."""

    def guider(self, model: Any, kind: str = "") -> Node:
        prompts = {"positive": self.encode("woman running"), "negative": self.encode("")}
        if kind:
            return self.add("TestGuider", kind=kind, model=model, **prompts)
        return self.add("CFGGuider", model=model, cfg=3.0, **prompts)

    def custom(self, model: Any, *, sampler: str = "euler", levels: str = LEVELS, guider: str = "") -> Node:
        own = sampler in ("restarted", "enlarged")
        return self.add(
            "SamplerCustomAdvanced",
            noise=self.add("RandomNoise", noise_seed=1),
            guider=self.guider(model, guider),
            sampler=self.add("TestSampler", kind=sampler) if own else self.add("KSamplerSelect", sampler_name=sampler),
            sigmas=self.add("TestSigmas", levels=levels),
            latent_image=self.empty(2),
        )

    def keep_apart(self, **settings: Any) -> Node:
        return self.repel(**{"radius": 0.0, "absolute_radius": RADIUS, "ensure_outside": True, **settings})

    def protected(self, name: str) -> Node:
        """An index of what the model makes at 64 x 64 pixels."""
        images = self.add("VAEDecode", samples=self.sample(), vae=self.demo[2])
        given = {"vae": self.demo[2], "model": self.demo[0], "folder": "", "width": 64, "height": 64}
        return self.add("DiversityBuildProtectedIndex", name=name, images=images, **given)


def apart(client: HostClient, run: Run, saved: Node) -> float:
    one, two = to_model_space(latents_of(client, run, saved)).double().flatten(1)
    return float(torch.dist(one, two))


def told(texts: list[tuple[str, str]], node: Node) -> str:
    return "\n".join(text for shown, text in texts if shown == node.id)


@pytest.mark.parametrize(
    "sampler", ["euler", "euler_ancestral", "dpmpp_2m_sde", "dpm_fast", "dpm_adaptive", "restarted"]
)
def test_both_results_are_outside(client: HostClient, sampler: str) -> None:
    """The last estimate leaves SamplerCustomAdvanced too, as denoised_output."""
    graph = Custom()
    samples = graph.custom(graph.keep_apart(), sampler=sampler)
    saved = graph.latents(samples[0]), graph.latents(samples[1])
    run = client.run(graph.prompt)
    for result in saved:
        assert apart(client, run, result) >= RADIUS * (1 - 1e-5)


def test_a_last_level_that_cannot_be_seen_is_clean(client: HostClient) -> None:
    graph = Custom()
    guarded = graph.keep_apart()
    samples = graph.custom(guarded, levels="1, 0.75, 0.4, 0.1, 0.002")
    saved = graph.latents(samples)
    graph.add("DiversityRemember", samples=samples, model=guarded, name="")
    heard = listen(client, graph.prompt)
    assert apart(client, heard.run, saved) >= RADIUS * (1 - 1e-5)
    assert "ended at noise level 0.002, which counts as clean" in told(heard.texts, guarded)


def test_the_last_estimate_of_a_run_that_leaves_noise_is_outside(client: HostClient) -> None:
    graph = Custom()
    guarded = graph.keep_apart(start_percent=1.0)
    samples = graph.custom(guarded, levels="1, 0.75, 0.4")
    saved = graph.latents(samples[1])
    heard = listen(client, graph.prompt)
    assert apart(client, heard.run, saved) >= RADIUS * (1 - 1e-5)
    said = "left noise of level 0.4 in its result, so the result was not corrected at the end; its last estimate"
    assert f"{said} (denoised_output) was." in told(heard.texts, guarded)


def test_noise_that_is_left_is_told_with_its_level(client: HostClient) -> None:
    graph = Custom()
    guarded = graph.keep_apart()
    samples = graph.custom(guarded, levels="1, 0.75, 0.4")
    graph.add("DiversityRemember", samples=samples, model=guarded, name="")
    with pytest.raises(RunFailed, match=r"still hold noise of level 0\.4: .* second sampler"):
        client.run(graph.prompt)


def test_leftover_noise_of_an_unguided_model_is_seen_in_the_graph(client: HostClient) -> None:
    graph = Drawing()
    graph.add("DiversityRemember", samples=graph.half_sample(graph.demo), model=graph.demo, name="")
    with pytest.raises(RunFailed, match="KSamplerAdvanced returns leftover noise before its last step"):
        client.run(graph.prompt)


@pytest.mark.parametrize(("levels", "noisy"), [("1, 0.95", True), (LEVELS, False)])
def test_noise_of_an_unguided_model_is_seen_in_the_numbers(client: HostClient, levels: str, noisy: bool) -> None:
    """Where the graph does not tell: the schedule comes from another pack."""
    graph = Custom()
    samples = graph.custom(graph.demo, levels=levels)
    graph.add("DiversityRemember", samples=samples, model=graph.demo, name="")
    if noisy:
        with pytest.raises(RunFailed, match=r"look like noise.* finish them with a second sampler"):
            client.run(graph.prompt)
    else:
        client.run(graph.prompt)


def test_latents_that_grow_on_the_way(client: HostClient) -> None:
    """The references of the new size count, the batch's own others among them."""
    graph = Custom()
    guarded = graph.keep_apart()
    saved = graph.latents(graph.custom(guarded, sampler="enlarged"))
    heard = listen(client, graph.prompt)
    assert latents_of(client, heard.run, saved).shape == (2, 16, 12, 12)
    assert apart(client, heard.run, saved) >= RADIUS * (1 - 1e-5)
    assert "The size of the latents changed from 16 x 8 x 8 to 16 x 12 x 12" in told(heard.texts, guarded)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"sampler": "enlarged"}, "holds latents of 16 x 8 x 8 and this run samples 16 x 12 x 12"),
        ({"guider": "without wrappers"}, "Nothing would be protected .* A sampler or guider of another pack"),
        (
            {"guider": "without cfg functions"},
            "Nothing would be protected .* It failed because the guider of this run makes its own",
        ),
    ],
)
def test_what_cannot_be_protected_fails(client: HostClient, settings: dict[str, str], sentence: str) -> None:
    graph = Custom()
    guarded = graph.keep_apart(in_batch=False, protected=graph.protected("for other samplers"))
    graph.latents(graph.custom(guarded, **settings))
    with pytest.raises(RunFailed, match=sentence):
        client.run(graph.prompt)


def test_a_restarting_sampler_is_protected(client: HostClient) -> None:
    graph = Custom()
    guarded = graph.keep_apart(in_batch=False, protected=graph.protected("for other samplers"))
    graph.latents(graph.custom(guarded, sampler="restarted"))
    text = told(listen(client, graph.prompt).texts, guarded)
    assert text.startswith("Moved 2 of 2") and "Every image is outside every shield" in text


def test_a_preset_says_what_its_run_was(client: HostClient) -> None:
    """A preset eases the prompt beside its method: what is noted of the run is noted of both."""
    graph = Custom()
    guided = graph.add("DiversitySparseRepellency", model=graph.demo, **REPELLENCY)
    saved = graph.latents(graph.custom(guided, levels="1, 0.95, 0.9, 0.75, 0.4"))
    text = told(listen(client, graph.prompt).texts, guided)
    assert saved and "left noise of level 0.4 in its result" in text
    assert "Prompt eased in 2 of 4 steps (at no cost)." in text and "It took 0 s" not in text
    graph = Custom()
    guided = graph.add("DiversitySparseRepellency", model=graph.demo, **REPELLENCY)
    graph.latents(graph.custom(guided, guider="without cfg functions"))
    text = told(listen(client, graph.prompt).texts, guided)
    assert "the guider of this run makes its own predictions" in text


@pytest.mark.parametrize("guider", ["without wrappers", "without cfg functions"])
def test_a_run_that_cannot_be_steered_is_told_once(client: HostClient, guider: str) -> None:
    graph = Custom()
    guided = graph.keep_apart(ensure_outside=False)
    saved = [graph.latents(graph.custom(model, guider=guider)) for model in (guided, graph.demo)]
    heard = listen(client, graph.prompt)
    assert told(heard.texts, guided).count("steered") == 1
    one, two = (latents_of(client, heard.run, node) for node in saved)
    assert torch.equal(one, two)


def test_an_unguided_probe_of_a_guided_model_is_no_such_run(client: HostClient) -> None:
    """Feature Probe takes the guidances off the model that it looks at."""
    graph = Custom()
    guarded = graph.keep_apart(in_batch=False, protected=graph.protected("for other samplers"))
    settings = {"save_as": "", "layers": "all", "levels": 1, "noise_samples": 1, "seed": 0}
    graph.add("DiversityFeatureProbe", model=guarded, positive=graph.encode("dog"), latents=graph.sample(), **settings)
    assert told(listen(client, graph.prompt).texts, guarded) == ""


def test_the_same_without_the_editors_metadata(client: HostClient) -> None:
    """A prompt that a script sends: banks are noted with the prompt, and options that are left out are the preset's."""
    graph = Drawing()
    bank = graph.add("DiversityMemoryBank", name="noted with the prompt", revision=-1)
    guided = graph.repel(bank=bank)
    options = graph.prompt[guided.id]["inputs"]["options"][0]
    for name in ("absolute_radius", "norm_clip"):
        del graph.prompt[options]["inputs"][name]
    shown = graph.pictures(graph.sample(guided))
    run = client.wait(client.queue(graph.prompt, extra_data={}))
    assert run.status == "success", run.message
    info = client.picture_file(run.outputs[shown.id]["images"][0]).info
    noted = json.loads(info["prompt"])[bank.id]["_meta"]["diversity_banks"]
    assert noted["noted with the prompt"]["revision"] == 0
