"""Train the denoiser and its word embeddings: rectified flow as in Stable Diffusion 3 (arXiv 2403.03206, section 3).

    python -m diversity_guidance.embedded.training.transformer --data node_modules --out run --minutes 150

The network predicts the velocity noise - x0 at sigma * noise + (1 - sigma) * x0 with logit-normal sigma.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..autoencoder import load_autoencoder
from ..reals import Label, vocabulary_of
from ..text import TextEncoder
from ..transformer import (
    load_transformer,
    new_transformer,
    to_model_space,
    to_native,
)
from .captions import CaptionSampler
from .data import read_labels, read_pixels
from .loop import (
    Budget,
    WeightAverage,
    cosine_rate,
    save_checkpoint,
    save_weights,
)

log = logging.getLogger(__name__)

SIGMA_LOGIT_MEAN, SIGMA_LOGIT_DEVIATION = 0.4, 1.2


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of a run."""

    minutes: float
    batch: int = 128
    rate: float = 1.2e-3
    weight_decay: float = 0.01
    average: float = 0.999
    clip: float = 1.0
    seed: int = 0
    checkpoint_minutes: float = 5.0
    bfloat16: bool = False
    compiled: bool = False


def encode_images(data: Path, autoencoder: Path | None, batch: int = 64) -> tuple[Tensor, list[Label]]:
    """Model-space latents (N, 16, 8, 8) and labels of all training images."""
    paths, labels = read_labels(data)
    pixels = read_pixels(paths)
    network = load_autoencoder(autoencoder)
    latents = [to_model_space(network.encode(part.float() / 255)) for part in pixels.split(batch)]
    return torch.cat(latents), labels


def draw_sigmas(count: int, generator: torch.Generator) -> Tensor:
    """Logit-normal noise levels (count,), stratified: one in each of `count` equally likely intervals."""
    quantiles = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    normal = torch.special.ndtri(quantiles.clamp(1e-6, 1 - 1e-6))
    sigmas = torch.sigmoid(SIGMA_LOGIT_DEVIATION * normal + SIGMA_LOGIT_MEAN)
    return sigmas[torch.randperm(count, generator=generator)]


def flow_loss(
    model: SD3Transformer2DModel, text: TextEncoder, latents: Tensor, tokens: Tensor, generator: torch.Generator
) -> Tensor:
    """Mean squared error of the predicted velocity for a batch of latents (B, 16, H, W) and tokens (B, 8)."""
    sigmas = draw_sigmas(latents.shape[0], generator)
    noise = torch.randn(latents.shape, generator=generator)
    mixed = torch.lerp(latents, noise, sigmas.view(-1, 1, 1, 1))
    context, pooled = text(tokens)
    velocity = model(mixed, context, pooled, 1000 * sigmas, return_dict=False)[0]
    return torch.nn.functional.mse_loss(velocity.float(), noise - latents)


def train(
    latents: Tensor,
    labels: list[Label],
    model: SD3Transformer2DModel,
    text: TextEncoder,
    out: Path,
    settings: Settings,
    resume: bool = False,
) -> None:
    """Train until the budget is spent; `out` gets a checkpoint, the weights and training.json."""
    out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(settings.seed)
    parameters = [p.requires_grad_() for p in (*model.parameters(), *text.parameters())]
    optimizer = torch.optim.AdamW(
        parameters, lr=settings.rate, betas=(0.9, 0.98), weight_decay=settings.weight_decay, fused=True
    )
    average = WeightAverage(parameters, settings.average)
    step, spent, order = 0, 0.0, torch.empty(0, dtype=torch.int64)
    if resume:
        saved = torch.load(out / "checkpoint.pt")
        model.load_state_dict(saved["model"])
        text.load_state_dict(saved["text"])
        optimizer.load_state_dict(saved["optimizer"])
        average.restore(saved["average"])
        generator.manual_seed(settings.seed + saved["step"])
        step, spent = saved["step"], saved["spent"]
    captions = CaptionSampler(labels, text.vocabulary, settings.seed + step)
    model.train()
    if settings.compiled:
        model.compile()
    budget, saved_at, losses = Budget(settings.minutes, spent), spent, []

    def save() -> None:
        state = {"model": model.state_dict(), "text": text.state_dict(), "optimizer": optimizer.state_dict()}
        save_checkpoint(
            out / "checkpoint.pt", state | {"average": average.state(), "step": step, "spent": budget.spent}
        )
        average.swap()
        export(model, text, out, {"steps": step, "seconds": round(budget.spent)} | asdict(settings))
        average.swap()

    while budget.progress < 1:
        if len(order) < settings.batch:
            order = torch.cat([order, torch.randperm(len(latents), generator=generator)])
        chosen, order = order[: settings.batch], order[settings.batch :]
        optimizer.param_groups[0]["lr"] = cosine_rate(budget.progress, settings.rate)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
            loss = flow_loss(model, text, latents[chosen], captions.sample(chosen.tolist()), generator)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimizer.step()
        average.update()
        step += 1
        losses.append(loss.item())
        if step % 50 == 0:
            log.info("step %d, %.0f s, loss %.4f", step, budget.spent, sum(losses) / len(losses))
            losses.clear()
        if budget.spent - saved_at > 60 * settings.checkpoint_minutes:
            save()
            saved_at = budget.spent
    save()


def export(model: SD3Transformer2DModel, text: TextEncoder, out: Path, facts: dict[str, Any]) -> None:
    """Write the weights as the package ships them, and the facts of their training."""
    save_weights(out / "mmdit.safetensors", to_native(model.state_dict()))
    vocabulary = {"vocabulary": json.dumps(text.vocabulary.words)}
    save_weights(out / "text.safetensors", text.state_dict(), vocabulary)
    (out / "training.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def continue_from(folder: Path, labels: list[Label]) -> tuple[SD3Transformer2DModel, TextEncoder]:
    """Model and embeddings of an earlier run; embeddings of words that it did not know start at random."""
    text = TextEncoder(vocabulary_of(labels))
    earlier = TextEncoder.load(folder / "text.safetensors")
    number = {word: index for index, word in enumerate(earlier.vocabulary.words)}
    with torch.no_grad():
        for row, word in enumerate(text.vocabulary.words):
            if word in number:
                text.token_embedding.weight[row] = earlier.token_embedding.weight[number[word]]
    return load_transformer(folder / "mmdit.safetensors"), text


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="node_modules folder with the emoji packages")
    parser.add_argument("--out", type=Path, required=True, help="folder for latents, checkpoints and weights")
    parser.add_argument("--minutes", type=float, default=150, help="training time; the schedule fits itself to it")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1.2e-3, help="peak learning rate")
    parser.add_argument("--average", type=float, default=0.999, help="decay of the weight average")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bfloat16", action="store_true", help="multiply in bfloat16 (a CPU with avx512_bf16: 1.8x)")
    parser.add_argument("--compile", action="store_true", help="compile the transformer (1.3x; needs a C++ compiler)")
    parser.add_argument("--autoencoder", type=Path, help="vae.safetensors to encode with (default: the embedded one)")
    parser.add_argument("--init", type=Path, help="folder with mmdit.safetensors and text.safetensors to start from")
    parser.add_argument("--resume", action="store_true", help="go on with the checkpoint in --out")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(options.seed)
    settings = Settings(
        options.minutes,
        options.batch,
        options.rate,
        average=options.average,
        seed=options.seed,
        bfloat16=options.bfloat16,
        compiled=options.compile,
    )
    cache = options.out / "latents.safetensors"
    if cache.is_file():
        latents, labels = load_file(cache)["latents"], read_labels(options.data)[1]
    else:
        latents, labels = encode_images(options.data, options.autoencoder)
        options.out.mkdir(parents=True, exist_ok=True)
        save_file({"latents": latents}, cache)
    log.info("%d latents, mean %.3f, deviation %.3f", len(latents), latents.mean(), latents.std())
    if options.init:
        model, text = continue_from(options.init, labels)
    else:
        model, text = new_transformer(), TextEncoder(vocabulary_of(labels))
    train(latents, labels, model, text, options.out, settings, options.resume)


if __name__ == "__main__":
    main()
