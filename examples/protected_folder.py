"""No image comes within a radius of those in a folder, here of images that the model made before."""

from pathlib import Path

from diversity_guidance import embedded
from diversity_guidance.diffusers import protect_folder, steer
from diversity_guidance.guidance import RepellencySettings, SparseRepellency

pipe = embedded.pipeline(turbo=True)
settings = {"num_images_per_prompt": 4, "num_inference_steps": 8, "guidance_scale": 1.0}
(folder := Path("portfolio")).mkdir(exist_ok=True)
for number, image in enumerate(pipe("doctor", **settings).images):
    image.save(folder / f"{number}.png")
index = protect_folder(pipe, folder, "portfolio.index", height=64, width=64)
guidance = SparseRepellency(RepellencySettings(ensure_outside=True), protected=[index])
with steer(pipe, guidance):
    images = pipe("doctor", **settings).images
print(guidance.trace.summary())
