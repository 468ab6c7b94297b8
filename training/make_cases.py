"""Test tensors of an exported checkpoint, computed in float32: the layout check_reference.py reads."""

import argparse
import json
from pathlib import Path

import torch

from bpe import Tokenizer
from checkpoint import load_checkpoint, write_json, write_safetensors
from sampler import sample, schedule
from scenes import kHere

kTexts = ["", "A poster that says \"HELLO, WORLD!\"", "an ümlaut, ２ wide, 日本", "don't  \n\n I'M 2026"]
kPipelines = [
    ('the word "HELLO" in red letters on a yellow background', 256, 256, 8, None),
    ("a fox in fluent style on a white background", 128, 192, 8, 3.0),
]


def save(path, tensors, note):
    tensors = {k: v.detach().float() if v.is_floating_point() else v for k, v in tensors.items()}
    write_safetensors(path, tensors, {"note": json.dumps(note)})


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(11)
    tokenizer = Tokenizer.load(args.model / "tokenizer" / "tokenizer.json")
    text, conditional, unconditional, vae, scheduler = load_checkpoint(args.model)
    shift = scheduler.get("shift", 1.0)
    index = json.loads((args.model / "model_index.json").read_text())
    guidance = index["intaglio"]["default_guidance"]
    prompts = (kHere / "prompts_sheet.txt").read_text().splitlines()
    write_json(
        args.out / "tokenizer.json",
        [{"text": t, "ids": tokenizer.encode(t)} for t in kTexts + prompts],
    )
    for i, prompt in enumerate([prompts[0], prompts[8], prompts[22]]):
        ids = torch.tensor(tokenizer.encode_prompt(prompt))
        save(args.out / f"text_features_{i}.safetensors", {"ids": ids, "features": text(ids[None])[0]}, {"prompt": prompt})
    sigmas = {}
    for h, w, n in ((256, 256, 24), (256, 256, 8), (128, 192, 8)):
        sigmas[f"sigmas_{w}x{h}_n{n}_mu0.0_std1.5"] = torch.from_numpy(schedule(h, w, n)[:-1])
    save(args.out / "schedule.safetensors", sigmas, {})
    channels = conditional.config["in_channels"]
    for i, (h, w, prompt) in enumerate([(8, 8, prompts[1]), (16, 16, prompts[14]), (8, 12, None)]):
        x, t = torch.randn(1, h * w, channels), torch.tensor([0.2 + 0.3 * i])
        ids = tokenizer.encode_prompt(prompt) if prompt else []
        width = conditional.config["llm_features_dim"]
        features = text(torch.tensor([ids])) if ids else torch.zeros(1, 0, width)
        v = conditional(x, t, (h, w), features if ids else None)
        save(
            args.out / f"transformer_small_{i}.safetensors",
            {"latents": x[0], "text_features": features[0], "timestep": t, "velocity": v[0]},
            {"grid_h": h, "grid_w": w, "text_tokens": len(ids)},
        )
    for i, (h, w) in enumerate([(16, 16), (8, 24)]):
        z = torch.randn(1, vae.config["latent_channels"], h, w)
        save(args.out / f"vae_decode_{i}.safetensors", {"latent": z[0], "image": vae.decode(z)[0]}, {})
    for i, (prompt, h, w, steps, g) in enumerate(kPipelines):
        grid = (h // 16, w // 16)
        noise = torch.randn(1, grid[0] * grid[1], channels)
        features = text(torch.tensor([tokenizer.encode_prompt(prompt)]))
        scale = g or guidance
        x = sample(
            conditional, unconditional, features, None, noise, grid, schedule(h, w, steps, shift=shift), scale
        )
        image = (vae.decode(vae.denormalise(x[-1], grid))[0] / 2 + 0.5).clamp(0, 1)
        note = {"prompt": prompt, "height": h, "width": w, "steps": steps}
        note.update(guidance_scale=scale, guidance_schedule=None)
        tensors = {"noise": noise[0], "latents": torch.cat(x), "image": image}
        save(args.out / f"pipeline_{i}.safetensors", tensors, note)
    print(f"{sum(f.stat().st_size for f in args.out.iterdir())} bytes of cases")


if __name__ == "__main__":
    main()
