"""Feature Guidance in the host: probes, tiny models of several architectures, and nothing left behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diversity_guidance.benchmarks.features.steering import probe as probe_embedded
from diversity_guidance.benchmarks.features.steering import steered
from diversity_guidance.embedded.model import EmbeddedModel
from diversity_guidance.guidance.activations.guidance import FeatureGuidance
from diversity_guidance.guidance.activations.settings import FeatureSettings, Mode
from support.graphs import SAMPLER, Drawing, Graph, Node, latents_of, pictures_of
from support.host_client import HostClient, PromptRefused, RunFailed
from support.host_listener import listen
from support.host_server import HostServer
from support.spreading import spread_out

PROBE: dict[str, Any] = {"save_as": "", "layers": "all", "levels": 2, "noise_samples": 1, "seed": 0}
GUIDANCE: dict[str, Any] = {
    "mode": "towards",
    "strength": 2.0,
    "start_percent": 0.0,
    "end_percent": 1.0,
    "layers": "all",
}
ARCHITECTURES = ["unet", "wan", "flux", "qwen_image", "lumina2"]
"""Together with the embedded model (Stable Diffusion 3's architecture) these are six."""


def probe(graph: Graph, model: Any, positive: Any, **inputs: Any) -> Node:
    return graph.add("DiversityFeatureProbe", model=model, positive=positive, **{**PROBE, **inputs})


def guide(graph: Graph, model: Any, **inputs: Any) -> Node:
    return graph.add("DiversityFeatureGuidance", model=model, **{**GUIDANCE, **inputs})


def exemplars(graph: Drawing) -> Node:
    return graph.sample(prompt="dog", batch=2, seed=9, cfg=1.0)


def group(graph: Drawing, **inputs: Any) -> Node:
    return probe(graph, graph.demo[0], graph.encode("woman running"), latents=exemplars(graph), **inputs)


def drawn(client: HostClient, **inputs: Any) -> torch.Tensor:
    """Final latents of the embedded model under Feature Guidance."""
    graph = Drawing()
    if inputs.get("mode") != "spread":
        inputs["centroid"] = group(graph)
    saved = graph.latents(graph.sample(guide(graph, graph.demo[0], **inputs)))
    return latents_of(client, client.run(graph.prompt), saved)


@pytest.fixture(scope="module")
def plain(server: HostServer) -> torch.Tensor:
    """What the embedded model draws by itself."""
    graph = Drawing()
    saved = graph.latents(graph.sample())
    return latents_of(server.client, server.client.run(graph.prompt), saved)


@pytest.mark.parametrize(
    "inputs",
    [
        {"strength": 0.0},
        {"mode": "spread", "strength": 0.0},
        {"layers": "all = 0"},
        {"start_percent": 1.0},
    ],
    ids=["towards 0", "spread 0", "layers 0", "inactive"],
)
def test_nothing_to_do_changes_no_bit(client: HostClient, plain: torch.Tensor, inputs: dict[str, Any]) -> None:
    assert torch.equal(drawn(client, **inputs), plain)


@pytest.mark.parametrize("mode", ["towards", "away", "spread"])
def test_every_mode_does_something(client: HostClient, plain: torch.Tensor, mode: str) -> None:
    changed = drawn(client, mode=mode)
    assert changed.isfinite().all()
    assert not torch.allclose(changed, plain, atol=0.05)


@pytest.mark.parametrize(("mode", "steps"), [("towards", 4), ("spread", 12)])
def test_the_same_as_in_the_host_free_loop(client: HostClient, mode: Mode, steps: int) -> None:
    """Probe and guidance on the same exemplars, noise and schedule, by two implementations of the network. To spread,
    both passes are shifted, in all but the last evaluations."""
    cfg, strength = 3.0, 1.2
    graph = Drawing()
    pictures, draws = exemplars(graph), graph.sample(cfg=1.0, seed=2, batch=4)
    prompt = graph.encode("woman running")
    reference = probe(graph, graph.demo[0], prompt, latents=draws)
    centroid = probe(graph, graph.demo[0], prompt, latents=pictures)
    guided = guide(graph, graph.demo[0], mode=mode, centroid=centroid, reference=reference, strength=strength)
    nodes = (pictures, draws, graph.sample(steps=steps, cfg=cfg), graph.sample(guided, steps=steps, cfg=cfg))
    saved = [graph.latents(node) for node in nodes]
    run = client.run(graph.prompt)
    one, two, unguided, found = (latents_of(client, run, node) for node in saved)
    model = EmbeddedModel.load()
    prompts = ["woman running"] * 2
    centroids = [
        probe_embedded(model, ["woman running"] * len(latents), latents, "x", draws=1, levels=2)
        for latents in (one, two)
    ]
    weights = dict.fromkeys(centroids[0].means, 1.0)
    guidance = FeatureGuidance(FeatureSettings(mode, strength), weights, *centroids)
    with steered(model, guidance) as steering:
        expected = steering.sample(prompts, SAMPLER["seed"], steps=steps, cfg=cfg, guidance=guidance)
    assert float((expected - unguided).abs().max()) > 0.1, "the guidance did next to nothing"
    assert torch.allclose(found, expected, atol=4e-3), float((found - expected).abs().max())


def test_the_unguided_model_and_a_later_run_are_as_before(client: HostClient, plain: torch.Tensor) -> None:
    graph = Drawing()
    guided = graph.sample(guide(graph, graph.demo[0], mode="spread"))
    left = graph.add("TestHooksLeft", model=graph.demo, after=guided)
    unguided = graph.latents(graph.sample())
    run = client.run(graph.prompt)
    assert run.outputs[left.id]["text"] == ["0"]
    assert torch.equal(latents_of(client, run, unguided), plain)


def test_cond_and_uncond_may_come_in_any_order(client: HostClient) -> None:
    """With CFG 1 the batch holds the prompt alone, with more it follows the other pass: the first step's shift of the
    prompt's own estimate is the same, so the guided estimates differ only by what CFG makes of it."""
    estimates = []
    for cfg in (1.0, 3.0):
        graph = Drawing()
        guided = guide(graph, graph.demo[0], centroid=group(graph))
        watched = graph.add("TestProbe", model=guided, push=0.0, push_end=0.0)
        samples = graph.sample(watched[0], cfg=cfg, steps=1)
        shown = graph.add("TestProbeReport", samples=samples, records=watched[1])
        text = client.run(graph.prompt).outputs[shown.id]["text"][0]
        estimates.append(float(text.split('"conditional": ')[1].split(",")[0]))
    assert estimates[0] == pytest.approx(estimates[1], abs=1e-5)


@pytest.mark.parametrize("style", ["regular", "nested"])
def test_the_dual_guider_puts_the_prompt_last(client: HostClient, style: str) -> None:
    """Only the pass of the prompt is shifted: where the prompt counts for nothing, nothing may change."""
    results = {
        (scale, strength): dual(client, style, scale, strength) for scale in (0.0, 2.0) for strength in (0.0, 2.0)
    }
    assert torch.equal(results[0.0, 0.0], results[0.0, 2.0])
    assert not torch.allclose(results[2.0, 0.0], results[2.0, 2.0], atol=0.05)


def dual(client: HostClient, style: str, scale: float, strength: float) -> torch.Tensor:
    graph = Drawing()
    guider = graph.add(
        "DualCFGGuider",
        model=guide(graph, graph.demo[0], centroid=group(graph), strength=strength),
        cond1=graph.encode("woman running"),
        cond2=graph.encode("running"),
        negative=graph.encode(""),
        cfg_conds=scale,
        cfg_cond2_negative=2.0,
        style=style,
    )
    samples = graph.add(
        "SamplerCustomAdvanced",
        noise=graph.add("RandomNoise", noise_seed=1),
        guider=guider,
        sampler=graph.add("KSamplerSelect", sampler_name="euler"),
        sigmas=graph.add("BasicScheduler", model=graph.demo[0], scheduler="simple", steps=2, denoise=1.0),
        latent_image=graph.empty(2),
    )
    saved = graph.latents(samples)
    return latents_of(client, client.run(graph.prompt), saved)


def tiny(graph: Graph, kind: str) -> tuple[Node, Node, dict[str, Any]]:
    """A tiny model, an empty latent for it and settings of the sampler."""
    video = {"wan"}
    if kind in ("flux", "qwen_image", "lumina2"):
        source = graph.add("TestArchitecture", kind=kind, seed=0)
    else:
        source = graph.add("TestTinyModel", kind=kind)
    if kind in video:
        latent = graph.add("EmptyHunyuanLatentVideo", width=64, height=64, length=5, batch_size=2)
    elif kind == "unet":
        latent = graph.add("EmptyLatentImage", width=64, height=64, batch_size=2)
    else:
        latent = graph.add("EmptySD3LatentImage", width=64, height=64, batch_size=2)
    return source, latent, {**SAMPLER, "steps": 2, "cfg": 3.0, "positive": source[1], "negative": source[2]}


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_tiny_models_of_other_architectures(client: HostClient, kind: str) -> None:
    check_tiny_model(client, kind)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_tiny_models_of_other_architectures_in_other_hosts(other_server: HostServer, kind: str) -> None:
    check_tiny_model(other_server.client, kind)


def check_tiny_model(client: HostClient, kind: str) -> None:
    graph = Graph()
    source, latent, sampler = tiny(graph, kind)
    first = graph.add("KSampler", model=source, latent_image=latent, **sampler)
    centroid = probe(graph, source, source[1], latents=first)
    models = {
        "plain": source,
        "off": guide(graph, source, centroid=centroid, strength=0.0),
        "spread": guide(graph, source, mode="spread"),
        "away": guide(graph, source, mode="away", centroid=centroid),
        "towards": guide(graph, source, centroid=centroid),
    }
    samples = {
        name: graph.add("KSampler", model=model, latent_image=latent, **{**sampler, "seed": 4})
        for name, model in models.items()
    }
    saved = {name: graph.latents(node) for name, node in samples.items()}
    left = graph.add("TestHooksLeft", model=source, after=samples["towards"])
    run = client.run(graph.prompt)
    found = {name: latents_of(client, run, node) for name, node in saved.items()}
    assert torch.equal(found["off"], found["plain"])
    for name in ("spread", "away", "towards"):
        assert found[name].isfinite().all()
        assert not torch.equal(found[name], found["plain"]), name
    assert run.outputs[left.id]["text"] == ["0"]


def test_cancel_leaves_no_hook(client: HostClient, plain: torch.Tensor) -> None:
    graph = Drawing()
    samples = graph.sample(guide(graph, graph.demo[0], mode="spread"), steps=400)
    graph.latents(samples)
    assert listen(client, graph.prompt, interrupt_at=samples.id).run.status == "interrupted"
    graph = Drawing()
    left = graph.add("TestHooksLeft", model=graph.demo)
    saved = graph.latents(graph.sample())
    run = client.run(graph.prompt)
    assert run.outputs[left.id]["text"] == ["0"]
    assert torch.equal(latents_of(client, run, saved), plain)


def test_a_centroid_on_disk_is_the_one_along_the_wire(server: HostServer, client: HostClient) -> None:
    results = []
    for loaded in (False, True):
        graph = Drawing()
        centroid = graph.add("DiversityFeatureCentroid", name="dogs") if loaded else group(graph, save_as="dogs")
        saved = graph.latents(graph.sample(guide(graph, graph.demo[0], centroid=centroid)))
        results.append(latents_of(client, client.run(graph.prompt), saved))
    assert torch.equal(*results)
    assert (server.base / "user" / "diversity_centroids" / "dogs.safetensors").is_file()


def test_pictures_are_exemplars_too(client: HostClient, plain: torch.Tensor) -> None:
    """Encoded by the VAE they lead to where the same latents lead."""
    graph = Drawing()
    decoded = graph.add("VAEDecode", samples=exemplars(graph), vae=graph.demo[2])
    encoded = graph.add("VAEEncode", pixels=decoded, vae=graph.demo[2])
    prompt = graph.encode("dog")
    centroids = (
        probe(graph, graph.demo[0], prompt, images=decoded, vae=graph.demo[2]),
        probe(graph, graph.demo[0], prompt, latents=encoded),
    )
    saved = [graph.latents(graph.sample(guide(graph, graph.demo[0], centroid=centroid))) for centroid in centroids]
    run = client.run(graph.prompt)
    by_images, by_latents = (latents_of(client, run, node) for node in saved)
    assert torch.allclose(by_images, by_latents, atol=1e-3)
    assert not torch.allclose(by_images, plain, atol=0.05)


def test_blends_and_a_map(client: HostClient) -> None:
    graph = Drawing()
    cats = graph.sample(prompt="cat", batch=2, seed=3, cfg=1.0)
    one, two = group(graph), probe(graph, graph.demo[0], graph.encode("woman running"), latents=cats)
    weights = {"weight_third": 0.0, "weight_fourth": 0.0}
    only = graph.add("DiversityFeatureBlend", first=one, second=two, weight_first=1.0, weight_second=0.0, **weights)
    half = graph.add("DiversityFeatureBlend", first=one, second=two, weight_first=0.5, weight_second=0.5, **weights)
    drawn_map = graph.add("DiversityFeatureMap", first=one, second=two, third=half)
    shown = graph.add("SaveImage", images=drawn_map, filename_prefix="map")
    samples = [graph.latents(graph.sample(guide(graph, graph.demo[0], centroid=node))) for node in (one, only, half)]
    run = client.run(graph.prompt)
    first, same, between = (latents_of(client, run, node) for node in samples)
    assert torch.equal(first, same)
    assert not torch.equal(first, between)
    (picture,) = pictures_of(client, run, shown)
    assert picture.std() > 5


def refusal(client: HostClient, graph: Graph) -> str:
    with pytest.raises((RunFailed, PromptRefused)) as raised:
        client.run(graph.prompt)
    return str(raised.value)


def test_a_centroid_that_is_not_saved_is_called_after_its_prompt(client: HostClient) -> None:
    graph = Drawing()
    first, second = (group(graph, levels=levels) for levels in (2, 3))
    weights = dict.fromkeys(("weight_first", "weight_second", "weight_third", "weight_fourth"), 0.5)
    blend = graph.add("DiversityFeatureBlend", first=first, second=second, **weights)
    graph.latents(graph.sample(guide(graph, graph.demo[0], centroid=blend)))
    assert "'dog' and 'dog' hold other noise levels" in refusal(client, graph)


def test_a_centroid_of_another_model(client: HostClient) -> None:
    graph = Graph()
    one, latent, sampler = tiny(graph, "flux")
    other = graph.add("TestArchitecture", kind="flux", seed=1)
    centroid = probe(graph, one, one[1], latents=graph.add("KSampler", model=one, latent_image=latent, **sampler))
    guided = guide(graph, other, centroid=centroid)
    graph.latents(graph.add("KSampler", model=guided, latent_image=latent, **sampler))
    assert "read from another model" in refusal(client, graph)


def test_a_centroid_of_another_latent_format(client: HostClient) -> None:
    graph = Drawing()
    other, latent, sampler = tiny(graph, "unet")
    guided = guide(graph, other, centroid=group(graph))
    graph.latents(graph.add("KSampler", model=guided, latent_image=latent, **sampler))
    assert "SD3Emoji latents, and this model's are SD15" in refusal(client, graph)


def test_exemplars_of_another_latent_format(client: HostClient) -> None:
    graph = Drawing()
    other, latent, sampler = tiny(graph, "unet")
    samples = graph.add("KSampler", model=other, latent_image=latent, **sampler)
    probe(graph, graph.demo[0], graph.encode("dog"), latents=samples)
    assert "Encode them with this model's VAE" in refusal(client, graph)


def test_exemplars_that_are_none(client: HostClient) -> None:
    graph = Drawing()
    probe(graph, graph.demo[0], graph.encode("dog"), latents=graph.empty(2))
    assert "empty latents" in refusal(client, graph)
    graph = Drawing()
    probe(graph, graph.demo[0], graph.encode("dog"))
    assert "Give the examples once" in refusal(client, graph)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({}, "needs a centroid"),
        ({"mode": "spread", "layers": "joint_blocks.77"}, "It has: joint_blocks.0-3"),
        ({"mode": "spread", "strength": -1.0}, "needs a number from 0.0 to 100.0, not -1.0"),
        ({"mode": "spread", "strength": float("nan")}, "needs a number from 0.0 to 100.0, not nan"),
    ],
)
def test_settings_that_make_no_sense(client: HostClient, inputs: dict[str, Any], sentence: str) -> None:
    graph = Drawing()
    graph.latents(graph.sample(guide(graph, graph.demo[0], **inputs)))
    assert sentence in refusal(client, graph)


def test_layers_that_were_not_probed(client: HostClient) -> None:
    graph = Drawing()
    graph.latents(graph.sample(guide(graph, graph.demo[0], centroid=group(graph, layers="joint_blocks.1"))))
    assert "does not hold the layer joint_blocks.0" in refusal(client, graph)


@pytest.mark.parametrize("first", [True, False])
def test_a_compiled_model_is_refused(client: HostClient, first: bool) -> None:
    """Whichever of the two nodes comes first."""

    def compiled(model: Any) -> Node:
        return graph.add("TorchCompileModel", model=model, backend="inductor")

    graph = Drawing()
    if first:
        model = guide(graph, compiled(graph.demo[0]), mode="spread")
    else:
        model = compiled(guide(graph, graph.demo[0], mode="spread"))
    graph.latents(graph.sample(model))
    assert "This model is compiled" in refusal(client, graph)


@pytest.mark.parametrize("kind", ["unet", "flux"])
def test_a_model_that_is_loaded_piece_by_piece(client: HostClient, kind: str) -> None:
    """Probed and guided as if it were in memory as a whole."""
    graph = Graph()
    source, latent, sampler = tiny(graph, kind)
    first = graph.add("KSampler", model=source, latent_image=latent, **sampler)
    found, offloaded = [], graph.add("TestOffloaded", model=source)
    for model in (source, offloaded):
        centroid = probe(graph, model, source[1], latents=first)
        guided = guide(graph, model, centroid=centroid)
        found.append(graph.add("KSampler", model=guided, latent_image=latent, **{**sampler, "seed": 4}))
    saved = [graph.latents(node) for node in found]
    state = graph.add("TestIsOffloaded", model=offloaded, after=found[1])
    left = graph.add("TestHooksLeft", model=offloaded, after=found[1])
    run = client.run(graph.prompt)
    assert run.outputs[state.id]["text"] == ["True"]
    assert run.outputs[left.id]["text"] == ["0"]
    whole, pieces = (latents_of(client, run, node) for node in saved)
    assert torch.allclose(pieces, whole, atol=1e-5)


def test_blocks_that_another_node_replaces(client: HostClient) -> None:
    graph = Drawing()
    model = guide(graph, graph.add("TestReplacedBlock", model=graph.demo[0]), mode="spread", layers="joint_blocks.0")
    shown = graph.add("TestTrace", samples=graph.sample(model[0]), trace=model[1], model=graph.demo)
    assert "none of its layers ran" in client.run(graph.prompt).outputs[shown.id]["text"][0]


@pytest.mark.parametrize("second_first", [False, True])
@pytest.mark.parametrize("mode", ["towards", "away", "spread"])
def test_a_batch_that_is_split_between_two_devices(client: HostClient, mode: Mode, second_first: bool) -> None:
    """The host runs the passes of a step in threads, on clones of the network: they are guided like one network."""
    if not any("MultiGPU" in name for name in client.object_info()):
        pytest.skip("this ComfyUI does not split batches between devices")
    graph = Drawing()
    # Without the input, whose default is the same: of two equal nodes the host would run one, and share its network.
    second = graph.add("DiversityDemoModel")
    wired = {} if mode == "spread" else {"centroid": group(graph)}
    models = [graph.demo, graph.add("TestTwoDevices", model=graph.demo, second=second, second_first=second_first)]
    saved = [graph.latents(graph.sample(guide(graph, model, mode=mode, **wired), steps=2)) for model in models]
    plain = graph.latents(graph.sample(steps=2))
    run = client.run(graph.prompt)
    whole, split, unguided = (latents_of(client, run, node) for node in (*saved, plain))
    assert torch.allclose(split, whole, atol=1e-4)
    assert not torch.allclose(split, unguided, atol=0.05)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("method", ["sparse repellency", "vendi guidance", "feature guidance"])
def test_a_run_leaves_nothing_that_keeps_the_model(client: HostClient, method: str, fails: bool) -> None:
    """Not even until the next garbage collection: the host would take that for a leak of the model."""
    graph = Drawing()
    if method == "feature guidance":
        guided = guide(graph, graph.demo[0], mode="spread")
    elif method == "vendi guidance":
        guided = spread_out(graph, graph.demo[0])
    else:
        guided = graph.repel(ensure_outside=True)
    video = graph.add("EmptyHunyuanLatentVideo", width=64, height=64, length=5, batch_size=2)
    shown = graph.add(
        "TestRunsLeft",
        model=guided,
        positive=graph.encode("dog"),
        negative=graph.encode(""),
        latent=video if fails else graph.empty(2),
    )
    assert client.run(graph.prompt).outputs[shown.id]["text"] == [f"{'failed' if fails else 'finished'}, 0 left"]


def test_the_host_loses_no_model_after_an_error(server: HostServer, client: HostClient) -> None:
    """Where a chain of our nodes goes at once, the host goes on with the model that its loader gave."""
    graph = Drawing()
    video = graph.add("EmptyHunyuanLatentVideo", width=64, height=64, length=5, batch_size=2)
    graph.latents(graph.sample(graph.repel(guide(graph, graph.demo[0], mode="spread")), latent=video))
    with pytest.raises(RunFailed, match="index out of range"):
        client.run(graph.prompt)
    for kind in ("wan", "unet"):
        graph = Drawing()
        source, latent, sampler = tiny(graph, kind)
        graph.latents(graph.add("KSampler", model=source, latent_image=latent, **sampler))
        graph.add("PreviewAny", source=graph.demo[0])
        client.run(graph.prompt)
    assert "memory leak" not in server.log, "a run of this session left the model behind"


def test_the_seed_of_a_probe_stays(client: HostClient) -> None:
    """Centroids that belong together need the same one; the editor would change what is called seed."""
    info = client.object_info()["DiversityFeatureProbe"]["input"]["required"]["seed"]
    assert info[1]["control_after_generate"] is False


def test_exemplars_that_are_lost(client: HostClient) -> None:
    graph = Drawing()
    images = graph.add("TestPictures", kind="one not a number")
    probe(graph, graph.demo[0], graph.encode("dog"), images=images, vae=graph.demo[2])
    assert "The examples 1 hold NaN or infinity. Leave them out." in refusal(client, graph)


@pytest.mark.parametrize("name", ["../secrets", "a/b"])
def test_a_name_that_is_a_path(client: HostClient, name: str) -> None:
    graph = Drawing()
    group(graph, save_as=name)
    assert "The centroid's name" in refusal(client, graph)


def test_a_centroid_that_is_not_there(client: HostClient) -> None:
    graph = Drawing()
    centroid = graph.add("DiversityFeatureCentroid", name="never saved")
    graph.latents(graph.sample(guide(graph, graph.demo[0], centroid=centroid)))
    assert "There is no centroid 'never saved'" in refusal(client, graph)
