"""Train the autoencoder: a slim TAESD, its latents held near zero mean and unit variance.

    python -m diversity_guidance.embedded.training.autoencoder --data node_modules --out run --minutes 60

With `--init vae.safetensors --freeze-encoder` only the decoder goes on training, so latents keep their meaning.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..transformer import LATENT_SCALE, LATENT_SHIFT
from .data import read_labels, read_pixels
from .loop import (
    Budget,
    WeightAverage,
    cosine_rate,
    save_checkpoint,
    save_weights,
)
from .slim_autoencoder import (
    FULL_SHAPE,
    pad_state,
    restore,
    slim_decoder,
    slim_encoder,
)

log = logging.getLogger(__name__)

LATENT_NOISE = 0.1
STATISTICS_WEIGHT = 0.01


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of a run."""

    minutes: float
    batch: int = 16
    rate: float = 2e-3
    average: float = 0.999
    clip: float = 1.0
    seed: int = 0
    freeze_encoder: bool = False
    bfloat16: bool = False
    checkpoint_minutes: float = 15.0


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """L1 + 2 MSE + half the L1 of horizontal and vertical differences, which keeps edges sharp; images (B, 3, H, W)."""
    loss = nn.functional.l1_loss(output, target) + 2 * nn.functional.mse_loss(output, target)
    for axis in (2, 3):
        loss = loss + 0.25 * nn.functional.l1_loss(output.diff(dim=axis), target.diff(dim=axis))
    return loss


def statistics_loss(latents: Tensor) -> Tensor:
    """Distance of each channel's mean from 0 and variance from 1: ComfyUI's two scalars can't mend single channels."""
    return (latents.mean((0, 2, 3)).square() + (latents.var((0, 2, 3)) - 1).square()).mean()


@torch.no_grad()
def reconstruction_psnr(decoder: nn.Module, latents: Tensor, pixels: Tensor, batch: int = 64) -> Tensor:
    """Peak signal-to-noise ratio in dB of each decoded image, (N,), for uint8 pixels (N, 3, H, W)."""
    values = []
    for codes, part in zip(latents.split(batch), pixels.split(batch), strict=True):
        error = (decoder(codes).clamp(0, 1) - part.float() / 255).square().mean((1, 2, 3))
        values.append(-10 * error.clamp(min=1e-10).log10())
    return torch.cat(values)


def train(
    pixels: Tensor, encoder: nn.Sequential, decoder: nn.Sequential, out: Path, settings: Settings, resume: bool = False
) -> None:
    """Train until the budget is spent; `out` gets checkpoint.pt, vae.safetensors and training.json."""
    out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(settings.seed)
    encoder.requires_grad_(not settings.freeze_encoder)
    networks = nn.ModuleDict({"encoder": encoder, "decoder": decoder}).to(memory_format=torch.channels_last)
    parameters = [p for p in networks.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    average = WeightAverage(parameters, settings.average)
    step, spent, order = 0, 0.0, torch.empty(0, dtype=torch.int64)
    if resume:
        saved = torch.load(out / "checkpoint.pt")
        networks.load_state_dict(saved["networks"])
        optimizer.load_state_dict(saved["optimizer"])
        average.restore(saved["average"])
        generator.manual_seed(settings.seed + saved["step"])
        step, spent = saved["step"], saved["spent"]
    budget, saved_at, losses = Budget(settings.minutes, spent), spent, []

    def save() -> None:
        state = {"networks": networks.state_dict(), "optimizer": optimizer.state_dict(), "average": average.state()}
        save_checkpoint(out / "checkpoint.pt", state | {"step": step, "spent": budget.spent})
        average.swap()
        export(encoder, decoder, pixels, out, {"steps": step, "seconds": round(budget.spent)} | asdict(settings))
        average.swap()

    while budget.progress < 1:
        if len(order) < settings.batch:
            order = torch.cat([order, torch.randperm(len(pixels), generator=generator)])
        chosen, order = order[: settings.batch], order[settings.batch :]
        target = (pixels[chosen].float() / 255).contiguous(memory_format=torch.channels_last)
        if torch.rand((), generator=generator) < 0.5:
            target = target.flip(3)
        optimizer.param_groups[0]["lr"] = cosine_rate(budget.progress, settings.rate)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
            latents = encoder(target).float()
            strength = LATENT_NOISE * torch.rand(len(chosen), 1, 1, 1, generator=generator)
            noisy = latents + strength * torch.randn(latents.shape, generator=generator)
            output = decoder(noisy).float()
        loss = reconstruction_loss(output, target)
        if not settings.freeze_encoder:
            loss = loss + STATISTICS_WEIGHT * statistics_loss(latents)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimizer.step()
        average.update()
        step += 1
        losses.append(loss.item())
        if step % 100 == 0:
            log.info("step %d, %.0f s, loss %.4f", step, budget.spent, sum(losses) / len(losses))
            losses.clear()
        if budget.spent - saved_at > 60 * settings.checkpoint_minutes:
            save()
            saved_at = budget.spent
    save()


def export(encoder: nn.Sequential, decoder: nn.Sequential, pixels: Tensor, out: Path, facts: dict[str, float]) -> None:
    """Write the autoencoder in TAESD's full layout with ComfyUI's scalars, and the facts of its training."""
    with torch.no_grad():
        latents = torch.cat([encoder(part.float() / 255) for part in pixels.split(64)])
    psnr = reconstruction_psnr(decoder, latents, pixels)
    # SD3's latent format computes (raw - shift) * scale: these make that (latent - mean) / deviation.
    scale = LATENT_SCALE * latents.std()
    state = {"vae_scale": scale, "vae_shift": LATENT_SHIFT - latents.mean() / scale}
    state |= {f"taesd_encoder.{key}": value for key, value in pad_state(encoder, slim_encoder(FULL_SHAPE)).items()}
    state |= {f"taesd_decoder.{key}": value for key, value in pad_state(decoder, slim_decoder(FULL_SHAPE)).items()}
    save_weights(out / "vae.safetensors", state)
    measured = {"psnr_mean": psnr.mean(), "psnr_median": psnr.median(), "psnr_5_percent": psnr.quantile(0.05)}
    facts = facts | {name: round(float(value), 3) for name, value in measured.items()}
    log.info("PSNR mean %(psnr_mean).2f, median %(psnr_median).2f, 5 %% %(psnr_5_percent).2f dB", facts)
    (out / "training.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="node_modules folder with the emoji packages")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and weights")
    parser.add_argument("--minutes", type=float, default=60, help="training time; the schedule fits itself to it")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--init", type=Path, help="vae.safetensors to start from")
    parser.add_argument("--freeze-encoder", action="store_true", help="train the decoder only")
    parser.add_argument("--bfloat16", action="store_true", help="convolve in bfloat16")
    parser.add_argument("--resume", action="store_true", help="go on with the checkpoint in --out")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(options.seed)
    settings = Settings(
        options.minutes,
        options.batch,
        options.rate,
        seed=options.seed,
        freeze_encoder=options.freeze_encoder,
        bfloat16=options.bfloat16,
    )
    pixels = read_pixels(read_labels(options.data)[0])
    encoder, decoder = slim_encoder(), slim_decoder()
    if options.init:
        stored = load_file(options.init)
        for name, network in (("taesd_encoder.", encoder), ("taesd_decoder.", decoder)):
            restore(network, {key.removeprefix(name): v for key, v in stored.items() if key.startswith(name)})
    train(pixels, encoder, decoder, options.out, settings, options.resume)


if __name__ == "__main__":
    main()
