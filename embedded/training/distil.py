"""Distil the embedded model into a LoRA that draws in eight or four steps without guidance.

    python -m diversity_guidance.embedded.training.distil --out run --minutes 240

Needs no data but the package's own. See `piecewise` for what is learned, and `low_rank` for what is trained.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..assets_path import asset
from ..lora import BASE, TURBO_LORA, Lora, digest_of
from ..model import EmbeddedModel
from ..reals import RealImages
from ..transformer import load_transformer, to_model_space
from .captions import CaptionSampler
from .loop import Budget, WeightAverage, cosine_rate, save_checkpoint, save_weights
from .low_rank import LowRankStudent
from .piecewise import SEGMENTS, GuidedTeacher, Segments, noisy_segments, straightness_loss, whole_paths

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of a run.

    Attributes:
        minutes: training time.
        scales: guidance scales of the teacher, one a segment: high where an image is decided, low where it is finished.
        rank: of the differences.
        sub_steps: of the teacher in a segment.
        paths, reals: paths from noise, and segments from noised real latents, that a round adds.
        empty: share of the latter that lose their prompt, beside those that the captions leave empty.
        updates, batch: of the student in a round.
        kept: newest segments that updates choose from.
        rate: peak learning rate.
        average: decay of the weight average.
        clip: norm of the gradient.
    """

    minutes: float
    scales: tuple[float, ...] = (12.0, 9.0, 5.0, 3.0)
    rank: int = 48
    sub_steps: int = 3
    paths: int = 48
    reals: int = 48
    empty: float = 0.25
    updates: int = 20
    batch: int = 64
    kept: int = 49152
    rate: float = 1e-3
    average: float = 0.995
    clip: float = 1.0
    seed: int = 0
    checkpoint_minutes: float = 4.0


@torch.no_grad()
def encode_reals(model: EmbeddedModel, reals: RealImages, batch: int = 64) -> Tensor:
    """Model-space latents (N, 16, 8, 8) of the real images."""
    parts = torch.arange(len(reals.pixels)).split(batch)
    return torch.cat([to_model_space(model.autoencoder.encode(reals.images(part))) for part in parts])


class Distillation:
    """Teacher, student and what a round of training does with them."""

    def __init__(self, model: EmbeddedModel, reals: RealImages, latents: Tensor, settings: Settings) -> None:
        self.settings = settings
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.teacher = GuidedTeacher(model.transformer, model.text, settings.scales, settings.sub_steps)
        self.student = LowRankStudent(load_transformer(), model.text, settings.rank, self.generator)
        self.average = WeightAverage(self.student.parameters, settings.average)
        self.optimizer = torch.optim.AdamW(
            self.student.parameters, lr=settings.rate, betas=(0.9, 0.98), weight_decay=0.0
        )
        self.rounds, self.spent = 0, 0.0
        self._latents, self._labels, self._vocabulary = latents, reals.labels, model.text.vocabulary
        self._captions = CaptionSampler(reals.labels, model.text.vocabulary, settings.seed)
        self._pool: Segments | None = None

    def round(self, progress: float) -> float:
        """Follow the teacher, then train on that and on earlier rounds; the mean loss."""
        fresh = self._follow()
        pool = fresh if self._pool is None else self._pool.concat(fresh, self.settings.kept)
        self._pool, losses = pool, []
        self.optimizer.param_groups[0]["lr"] = cosine_rate(progress, self.settings.rate)
        for _ in range(self.settings.updates):
            rows = torch.randint(len(pool.index), (self.settings.batch,), generator=self.generator)
            loss = straightness_loss(self.student.velocity, pool.take(rows), self.generator)
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.student.parameters, self.settings.clip)
            self.optimizer.step()
            self.average.update()
            losses.append(loss.item())
        self.rounds += 1
        return sum(losses) / len(losses)

    def save(self, out: Path, spent: float) -> None:
        """Write the checkpoint, and the average as a LoRA."""
        assert self._pool is not None
        state = {"parameters": [value.detach() for value in self.student.parameters]}
        state |= {"optimizer": self.optimizer.state_dict(), "average": self.average.state()}
        save_checkpoint(
            out / "checkpoint.pt", state | {"pool": vars(self._pool), "rounds": self.rounds, "spent": spent}
        )
        self.average.swap()
        facts = {"rounds": self.rounds, "seconds": round(spent)} | asdict(self.settings)
        metadata = {BASE: digest_of(asset("mmdit.safetensors")), "training": json.dumps(facts)}
        save_weights(out / TURBO_LORA, self.student.tensors(), metadata)
        self.average.swap()

    def resume(self, out: Path) -> None:
        """Go on with a checkpoint."""
        saved = torch.load(out / "checkpoint.pt")
        with torch.no_grad():
            for parameter, value in zip(self.student.parameters, saved["parameters"], strict=True):
                parameter.copy_(value)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.average.restore(saved["average"])
        self._pool, self.rounds, self.spent = Segments(**saved["pool"]), saved["rounds"], saved["spent"]
        self.generator.manual_seed(self.settings.seed + self.rounds)
        self._captions = CaptionSampler(self._labels, self._vocabulary, self.settings.seed + self.rounds)

    def _follow(self) -> Segments:
        """The teacher's segments of a round."""
        settings, generator = self.settings, self.generator
        chosen = torch.randint(len(self._latents), (settings.paths + settings.reals,), generator=generator)
        tokens = self._captions.sample(chosen.tolist())
        noise = torch.randn((len(chosen), *self._latents.shape[1:]), generator=generator)
        found = whole_paths(
            self.teacher, self.student.velocity, noise[: settings.paths], tokens[: settings.paths], generator
        )
        words = tokens[settings.paths :]
        words[torch.rand(len(words), generator=generator) < settings.empty] = 0
        real = self._latents[chosen[settings.paths :]]
        found.append(noisy_segments(self.teacher, real, noise[settings.paths :], words, generator))
        joined = found[0]
        for part in found[1:]:
            joined = joined.concat(part, settings.kept)
        return joined


def train(out: Path, settings: Settings, init: Path | None, resume: bool) -> None:
    """Train until the budget is spent; `out` gets latents, a checkpoint and the LoRA."""
    out.mkdir(parents=True, exist_ok=True)
    model, reals = EmbeddedModel.load(), RealImages.load()
    cache = out / "latents.safetensors"
    if not cache.is_file():
        save_file({"latents": encode_reals(model, reals)}, cache)
    distillation = Distillation(model, reals, load_file(cache)["latents"], settings)
    if init is not None:
        base = asset("mmdit.safetensors")
        distillation.student.start_near(Lora.load(init, base).merged(load_file(base)))
    if resume:
        distillation.resume(out)
    budget = Budget(settings.minutes, distillation.spent)
    saved_at = budget.spent
    while budget.progress < 1:
        loss = distillation.round(budget.progress)
        log.info("round %d, %.0f s, loss %.4f", distillation.rounds, budget.spent, loss)
        if budget.spent - saved_at > 60 * settings.checkpoint_minutes:
            distillation.save(out, budget.spent)
            saved_at = budget.spent
    distillation.save(out, budget.spent)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    defaults = Settings(minutes=240)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for latents, checkpoint and LoRA")
    parser.add_argument("--minutes", type=float, default=240, help="training time; the schedule fits itself to it")
    parser.add_argument(
        "--scales", type=float, nargs=SEGMENTS, default=defaults.scales, help=f"default: {defaults.scales}"
    )
    for name in ("rank", "sub_steps", "paths", "reals", "updates", "batch", "rate", "average", "seed"):
        value = getattr(defaults, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"default: {value}")
    parser.add_argument("--init", type=Path, help="a LoRA to go on from (default: none)")
    parser.add_argument("--resume", action="store_true", help="go on with the checkpoint in --out")
    options = vars(parser.parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(options["seed"])
    out, init, resume = (options.pop(name) for name in ("out", "init", "resume"))
    train(out, Settings(**options), init, resume)


if __name__ == "__main__":
    main()
