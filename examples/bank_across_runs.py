"""One image at a time, each unlike all that were made before; the Memory Bank outlives this script: run it again."""

from pathlib import Path

from diversity_guidance import embedded
from diversity_guidance.diffusers import steer
from diversity_guidance.guidance import RepellencySettings, SparseRepellency
from diversity_guidance.stores import MemoryBank

pipe = embedded.pipeline()
bank = MemoryBank(Path("banks"), "doctors")
for _ in range(3):
    guidance = SparseRepellency(RepellencySettings(radius=0.4), sources=[bank.snapshot()])
    with steer(pipe, guidance) as steering:
        image = pipe("doctor", num_inference_steps=24, guidance_scale=5.0).images[0]
        steering.remember(bank, prompts="doctor")
    image.save(f"doctor_{len(bank.snapshot())}.png")
    print(guidance.trace.summary())
