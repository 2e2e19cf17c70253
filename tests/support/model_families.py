"""The models that people run: files, loaders and sampler settings, as ComfyUI's own templates have them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class File:
    """A model file: its name, the folder below models/, and where it is found, if that is known."""

    name: str
    directory: str
    url: str = ""

    @property
    def entry(self) -> dict[str, str]:
        """As a node's properties hold it."""
        made = {"name": self.name, "url": self.url, "directory": self.directory}
        return {key: value for key, value in made.items() if value}


def diffusion(name: str, where: str) -> File:
    """A diffusion model."""
    return File(name, "diffusion_models", f"{HUB}/{where}/{name}")


def encoder(name: str, where: str) -> File:
    """A text encoder."""
    return File(name, "text_encoders", f"{HUB}/{where}/{name}")


def vae(name: str, where: str) -> File:
    """A VAE."""
    return File(name, "vae", f"{HUB}/{where}/{name}")


@dataclass(frozen=True)
class Family:
    """What one workflow is made of.

    Attributes:
        title: in the file's name.
        model: checkpoint or diffusion model.
        sampler: what KSampler is set to.
        encoders: text encoders; none where the checkpoint brings its own.
        encoder_type: as their loader calls it.
        vae: none where the checkpoint brings its own.
        lora: that makes few steps enough.
        shift: of ModelSamplingAuraFlow.
        guidance: of FluxGuidance.
        latent: node that makes the empty latents.
        side: width and height.
        other: said of other models that the same workflow fits.
    """

    title: str
    model: File
    sampler: dict[str, Any]
    encoders: tuple[File, ...] = ()
    encoder_type: str = ""
    vae: File | None = None
    lora: File | None = None
    shift: float | None = None
    guidance: float | None = None
    latent: str = "EmptySD3LatentImage"
    side: int = 1024
    other: str = ""
    batch: int = field(default=4)

    @property
    def distilled(self) -> bool:
        """Whether it is sampled without classifier-free guidance."""
        return self.sampler["cfg"] == 1.0


def settings(steps: int, cfg: float, sampler_name: str = "euler", scheduler: str = "simple") -> dict[str, Any]:
    """Of KSampler."""
    return {"steps": steps, "cfg": cfg, "sampler_name": sampler_name, "scheduler": scheduler, "denoise": 1.0}


FLUX_ENCODERS = tuple(
    encoder(name, "comfyanonymous/flux_text_encoders/resolve/main")
    for name in ("clip_l.safetensors", "t5xxl_fp16.safetensors")
)
FLUX_VAE = vae("ae.safetensors", "Comfy-Org/Lumina_Image_2.0_Repackaged/resolve/main/split_files/vae")
QWEN = "Comfy-Org/Qwen-Image_ComfyUI/resolve/main/split_files"
QWEN_MODEL = diffusion("qwen_image_2512_fp8_e4m3fn.safetensors", f"{QWEN}/diffusion_models")
QWEN_ENCODER = encoder("qwen_2.5_vl_7b_fp8_scaled.safetensors", f"{QWEN}/text_encoders")
QWEN_VAE = vae("qwen_image_vae.safetensors", f"{QWEN}/vae")
Z_IMAGE = "Comfy-Org/z_image_turbo/resolve/main/split_files"
Z_ENCODER = encoder("qwen_3_4b.safetensors", f"{Z_IMAGE}/text_encoders")
Z_VAE = vae("ae.safetensors", f"{Z_IMAGE}/vae")
FLUX_2 = "Comfy-Org/flux2-dev/resolve/main/split_files"
KLEIN = "Comfy-Org/flux2-klein/resolve/main/split_files"
FLUX_2_VAE = vae("flux2-vae.safetensors", f"{FLUX_2}/vae")
KREA_2 = "Comfy-Org/Krea-2/resolve/main"

FAMILIES = (
    Family(
        "SDXL and Illustrious",
        File(
            "sd_xl_base_1.0.safetensors",
            "checkpoints",
            f"{HUB}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors",
        ),
        settings(25, 8.0, scheduler="normal"),
        latent="EmptyLatentImage",
        other="Checkpoints of Illustrious and all others made from SDXL fit as they are: choose yours in **Load "
        "Checkpoint**, with the steps and the CFG that its makers name.",
    ),
    Family(
        "Flux.1 dev",
        diffusion("flux1-dev.safetensors", "Comfy-Org/flux1-dev/resolve/main"),
        settings(20, 1.0),
        FLUX_ENCODERS,
        "flux",
        FLUX_VAE,
        guidance=3.5,
    ),
    Family(
        "Flux.1 Krea dev",
        diffusion(
            "flux1-krea-dev_fp8_scaled.safetensors",
            "Comfy-Org/FLUX.1-Krea-dev_ComfyUI/resolve/main/split_files/diffusion_models",
        ),
        settings(20, 1.0),
        FLUX_ENCODERS,
        "flux",
        FLUX_VAE,
        guidance=3.5,
    ),
    Family(
        "Krea 2 Turbo",
        diffusion("krea2_turbo_fp8_scaled.safetensors", f"{KREA_2}/diffusion_models"),
        settings(8, 1.0),
        (encoder("qwen3vl_4b_fp8_scaled.safetensors", f"{KREA_2}/text_encoders"),),
        "krea2",
        vae("qwen_image_vae.safetensors", f"{KREA_2}/vae"),
        latent="EmptyLatentImage",
    ),
    Family(
        "Qwen-Image 2512",
        QWEN_MODEL,
        settings(50, 4.0),
        (QWEN_ENCODER,),
        "qwen_image",
        QWEN_VAE,
        shift=3.1,
        side=1328,
    ),
    Family(
        "Qwen-Image 2512 Lightning",
        QWEN_MODEL,
        settings(4, 1.0),
        (QWEN_ENCODER,),
        "qwen_image",
        QWEN_VAE,
        File(
            "Qwen-Image-2512-Lightning-4steps-V1.0-fp32.safetensors",
            "loras",
            f"{HUB}/lightx2v/Qwen-Image-2512-Lightning/resolve/main/"
            "Qwen-Image-2512-Lightning-4steps-V1.0-fp32.safetensors",
        ),
        shift=3.1,
        side=1328,
    ),
    Family(
        "Z-Image Turbo",
        diffusion("z_image_turbo_bf16.safetensors", f"{Z_IMAGE}/diffusion_models"),
        settings(8, 1.0, "res_multistep"),
        (Z_ENCODER,),
        "lumina2",
        Z_VAE,
        shift=3.0,
    ),
    Family(
        "Z-Image Base",
        diffusion("z_image_bf16.safetensors", "Comfy-Org/z_image/resolve/main/split_files/diffusion_models"),
        settings(25, 4.0, "res_multistep"),
        (Z_ENCODER,),
        "lumina2",
        Z_VAE,
        shift=3.0,
    ),
)
"""Those that are sampled by KSampler."""

FLUX_2_FAMILIES = (
    Family(
        "Flux.2 dev",
        diffusion("flux2_dev_fp8mixed.safetensors", f"{FLUX_2}/diffusion_models"),
        settings(20, 1.0),
        (encoder("mistral_3_small_flux2_bf16.safetensors", f"{FLUX_2}/text_encoders"),),
        "flux2",
        FLUX_2_VAE,
        guidance=4.0,
    ),
    Family(
        "Flux.2 klein",
        diffusion("flux-2-klein-4b.safetensors", f"{KLEIN}/diffusion_models"),
        settings(4, 1.0),
        (encoder("qwen_3_4b.safetensors", f"{KLEIN}/text_encoders"),),
        "flux2",
        FLUX_2_VAE,
        other="The undistilled **klein base** wants its own file in **Load Diffusion Model**, and 20 steps at CFG 5 "
        "in **Sample with Flux.2**.",
    ),
)
"""Those that are sampled with a schedule of their own."""

WAN = "Comfy-Org/Wan_2.2_ComfyUI_Repackaged/resolve/main/split_files"
WAN_HIGH = diffusion("wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors", f"{WAN}/diffusion_models")
WAN_LOW = diffusion("wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors", f"{WAN}/diffusion_models")
WAN_ENCODER = encoder(
    "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    "Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files/text_encoders",
)
WAN_VAE = vae("wan_2.1_vae.safetensors", f"{WAN}/vae")
WAN_STEPS, WAN_CFG, WAN_SHIFT = 20, 3.5, 5.0
