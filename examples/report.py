"""How different the images of a batch are, without guidance and with it."""

import torch
from diversity_guidance import embedded
from diversity_guidance.diffusers import report, steer
from diversity_guidance.guidance import SparseRepellency
from diversity_guidance.metrics.summary import headline

pipe = embedded.pipeline()
settings = {"num_images_per_prompt": 8, "num_inference_steps": 24, "guidance_scale": 5.0}
before = report(pipe("doctor", **settings, generator=torch.Generator().manual_seed(1)).images)
with steer(pipe, SparseRepellency()):
    after = report(pipe("doctor", **settings, generator=torch.Generator().manual_seed(1)).images)
print(f"before: {headline(before)}", f"after: {headline(after)}", sep="\n")
