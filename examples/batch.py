"""Eight images of one prompt that differ from one another."""

import torch
from diversity_guidance import embedded
from diversity_guidance.diffusers import steer
from diversity_guidance.guidance import SparseRepellency

pipe = embedded.pipeline()  # or any other, such as StableDiffusionXLPipeline.from_pretrained(...)
guidance = SparseRepellency()
settings = {"num_images_per_prompt": 8, "num_inference_steps": 24, "guidance_scale": 5.0}
with steer(pipe, guidance):
    images = pipe("doctor", **settings, generator=torch.Generator().manual_seed(1)).images
for number, image in enumerate(images):
    image.save(f"doctor_{number}.png")
print(guidance.trace.headline())
print(guidance.trace.details())
