"""Trains the autoencoder on composed scenes: crops of 128 px first, whole pictures later.

With --init DIR --copy 1 it only takes over a finished one; with --decoder-only 1 the encoder and the
latent statistics stay as they are, so that transformers trained on its latents stay valid.
"""

import argparse
import os
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import config
from checkpoint import load_weights
from common import Average, Clock, Log, SceneSource, adamw, autocast, averaged_state
from common import fail, raise_compile_limits, rate, setup
from compose import Composer, join, save_sheet, to_device
from palette import kBackgrounds
from scenes import kHere, make_dense, make_scenes
from vae import NormSilu, Vae, group_norm_silu, pack


def compiled_norm(device, log):
    """The fused GroupNorm + SiLU, or the plain one where it cannot be compiled."""
    try:
        raise_compile_limits()
        fused = torch.compile(group_norm_silu, dynamic=False)
        x = torch.randn(2, 32, 16, 16, device=device, dtype=torch.bfloat16)
        x = x.to(memory_format=torch.channels_last).requires_grad_()
        w = torch.ones(32, device=device, requires_grad=True)
        fused(x, w, w, 16, 1e-6).sum().backward()
        return fused
    except Exception as error:
        log(event="norm not compiled", why=str(error)[:200])
        return NormSilu.kernel


def keep_pictures(batch):
    return {k: v for k, v in batch.items() if k not in ("ids", "length")}


class Pictures:
    """An endless supply of training pictures [n, 3, s, s] in [-1, 1], half crowded, half as served."""

    def __init__(self, source, composer, device):
        self.source, self.composer, self.device = source, composer, device
        self.buffer, self.at = None, 0
        self.random = random.Random(0)

    def take(self, n):
        if self.buffer is None or self.at + n > len(self.buffer):
            batch = join([keep_pictures(self.source.next(f)) for f in (make_dense, make_scenes)])
            pictures = self.composer(to_device(batch, self.device)) * 2 - 1
            order = torch.randperm(len(pictures), device=self.device)
            self.buffer, self.at = pictures[order], 0
        self.at += n
        return self.buffer[self.at - n : self.at]

    def batch(self, size, count):
        """count crops of size x size, two from each picture, or count whole pictures."""
        if size == 256:
            x = self.take(count)
        else:
            x = self.take(count // 2)
            crops = []
            for _ in range(2):
                top, left = self.random.randint(0, 256 - size), self.random.randint(0, 256 - size)
                crops.append(x[:, :, top : top + size, left : left + size])
            x = torch.cat(crops)
        return x.float().contiguous(memory_format=torch.channels_last)


def with_flat_grounds(x):
    """A quarter of the pictures become flat: half in colours of the captions, half in any colour."""
    n = max(len(x) // 4, 1)
    palette = torch.tensor(list(kBackgrounds.values()), device=x.device, dtype=torch.float32) / 127.5 - 1
    named = palette[torch.randint(len(palette), (n,), device=x.device)]
    free = torch.rand(n, 3, device=x.device) * 2 - 1
    choice = torch.rand(n, 1, device=x.device) < 0.5
    x[:n] = torch.where(choice, named, free)[:, :, None, None]
    return x


def gradients(x):
    return x[:, :, 1:] - x[:, :, :-1], x[:, :, :, 1:] - x[:, :, :, :-1]


def loss_of(vae, x, kl_weight, noise):
    mean, log_var = vae.encode(x)
    log_var = log_var.clamp(-12, 4)
    z = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
    # Half the pictures carry more noise: what the transformer hands over is never exact.
    level = noise * torch.rand(len(x), 1, 1, 1, device=x.device)
    level = level * (torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5)
    z = z + level * mean.detach().std() * torch.randn_like(mean)
    y = vae.decode(z).float()
    d = y - x
    pixel = (d.square() + 1e-6).sqrt().mean() + 4 * d.square().mean()
    edge = sum((a - b).abs().mean() for a, b in zip(gradients(y), gradients(x)))
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean()
    return pixel + 0.5 * edge + kl_weight * kl, d.detach().square().mean(), kl.detach()


def decoder_loss(vae, x, noise):
    """Like loss_of with a fixed encoder: latents as served, with the transformer's kind of error."""
    with torch.no_grad():
        mean = vae.encode(x)[0]
        scale = (vae.bn.running_var + vae.config["batch_norm_eps"]).sqrt()
        scale = scale.view(4, -1).mean(0)[:, None, None]
        z = mean + noise * torch.rand(len(x), 1, 1, 1, device=x.device) * scale * torch.randn_like(mean)
    y = vae.decode(z).float()
    d = y - x
    pixel = (d.square() + 1e-6).sqrt().mean() + 4 * d.square().mean()
    edge = sum((a - b).abs().mean() for a, b in zip(gradients(y), gradients(x)))
    return pixel + 0.5 * edge, d.detach().square().mean(), torch.zeros((), device=x.device)


@torch.no_grad()
def evaluate(vae, composer, batch, device, size):
    """PSNR in dB over whole pictures, and the worst and mean error of flat grounds in 1/255."""
    total, count = 0.0, len(batch["background"])
    shown = None
    for i in range(0, count, size):
        part = to_device({k: v[i : i + size] for k, v in batch.items()}, device)
        x = composer(part).float() * 2 - 1
        x = x.contiguous(memory_format=torch.channels_last)
        with autocast(device):
            y = vae.decode(vae.encode(x)[0]).float().clamp(-1, 1)
        total += float(((x - y) / 2).square().mean((1, 2, 3)).sum())
        if shown is None:
            shown = torch.stack([x[:12], y[:12]], 1).flatten(0, 1) / 2 + 0.5
    colors = torch.rand(16, 3, 1, 1, device=device, generator=torch.Generator(device).manual_seed(7))
    flat = (colors * 2 - 1).expand(-1, -1, 256, 256).contiguous(memory_format=torch.channels_last)
    with autocast(device):
        y = vae.decode(vae.encode(flat)[0]).float()
    error = (y - flat).abs() * 127.5
    psnr = -10 * float(np.log10(max(total / count, 1e-12)))
    return psnr, float(error.mean()), float(error.max()), shown


@torch.no_grad()
def measure_latents(vae, composer, source, device, count):
    """Fills the bn statistics: mean and variance of every packed latent channel."""
    first, second, n = 0, 0, 0
    while n < count:
        part = to_device(keep_pictures(source.next(make_scenes)), device)
        for i in range(0, len(part["background"]), 64):
            x = composer({k: v[i : i + 64] for k, v in part.items()}).float() * 2 - 1
            with autocast(device):
                mean = vae.encode(x.contiguous(memory_format=torch.channels_last))[0]
            z = pack(mean).double().flatten(0, 1)
            first, second, n = first + z.sum(0), second + z.square().sum(0), n + len(x)
    tokens = n * 256
    mean = first / tokens
    vae.bn.running_mean.copy_(mean)
    vae.bn.running_var.copy_(second / tokens - mean.square())
    vae.bn.num_batches_tracked.fill_(n)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=7.5)
    parser.add_argument("--batch", type=int, default=16, help="whole pictures; crops are 4 x as many")
    parser.add_argument("--peak", type=float, default=8e-4)
    parser.add_argument("--kl", type=float, default=1e-4)
    parser.add_argument("--noise", type=float, default=0.12)
    parser.add_argument("--compile", type=int, default=1)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    parser.add_argument("--chunk", type=int, default=256, help="scenes per job")
    parser.add_argument("--held-out", type=int, default=512)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--init", type=Path, help="begin with the autoencoder of this checkpoint folder")
    parser.add_argument("--copy", type=int, default=0, help="1: only write vae.pt from --init")
    parser.add_argument("--decoder-only", type=int, default=0)
    parser.add_argument("--tiny", type=int, default=0, help="1: a miniature, to try the code")
    args = parser.parse_args()
    if args.tiny:
        config.scaled_down()
    if (args.copy or args.decoder_only) and not args.init:
        fail("--copy and --decoder-only need --init")
    args.out.mkdir(parents=True, exist_ok=True)
    if args.copy:
        vae = load_weights(Vae(config.kVae), args.init / "vae")
        torch.save({"model": vae.state_dict(), "config": config.kVae}, args.out / "vae.pt")
        return
    resume = args.out / ("decoder_state.pt" if args.decoder_only else "vae_state.pt")
    state = torch.load(resume, map_location="cpu") if resume.exists() else None
    step, done = (state["step"], state["progress"]) if state else (0, 0.0)
    clock = Clock(args.minutes, done)
    log = Log(args.out / "vae_log.jsonl")
    assets = np.load(kHere / ".cache" / "assets.npz")
    source = SceneSource(assets["advances"], args.workers, args.chunk, 1_000_000 + 1_000_000 * (step > 0))
    held = SceneSource(assets["advances"], 1, args.held_out, 7)
    held_out = keep_pictures(held.next(make_scenes))
    held.close()
    device = setup(args.device, 1 + step)
    composer = Composer(assets, device)
    pictures = Pictures(source, composer, device)

    vae = Vae(config.kVae).to(device).to(memory_format=torch.channels_last)
    if args.init:
        load_weights(vae, args.init / "vae").train()
    if args.decoder_only:
        for part in (vae.encoder, vae.quant_conv):
            part.requires_grad_(False)
    average = Average(vae.parameters(), 0.999)
    trained = [p for p in vae.parameters() if p.requires_grad]
    optimizer = adamw(trained, device, lr=args.peak, betas=(0.9, 0.98), weight_decay=0.0)
    if state:
        vae.load_state_dict(state["model"])
        average.values = [v.to(device) for v in state["average"]]
        average.steps = step
        optimizer.load_state_dict(state["optimizer"])
    plain = NormSilu.kernel
    fused = compiled_norm(device, log) if args.compile and device.type == "cuda" else plain
    NormSilu.kernel = staticmethod(fused)

    def train_step(size, lr):
        for group in optimizer.param_groups:
            group["lr"] = lr
        x = pictures.batch(size, args.batch if size == 256 else 4 * args.batch)
        with autocast(device):
            if args.decoder_only:
                loss, error, kl = decoder_loss(vae, with_flat_grounds(x), args.noise)
            else:
                loss, error, kl = loss_of(vae, x, args.kl, args.noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        average.update()
        return loss.detach(), error, kl, norm

    def save(progress):
        torch.save(
            {
                "model": vae.state_dict(),
                "average": average.values,
                "optimizer": optimizer.state_dict(),
                "step": step,
                "progress": progress,
            },
            str(resume) + ".new",
        )
        os.replace(str(resume) + ".new", resume)

    def averaged():
        NormSilu.kernel = staticmethod(plain)
        copy = Vae(config.kVae).to(device).to(memory_format=torch.channels_last)
        copy.load_state_dict(averaged_state(vae, average))
        return copy.eval()

    if args.init:
        psnr, flat, worst, _ = evaluate(averaged(), composer, held_out, device, 32)
        NormSilu.kernel = staticmethod(fused)
        log(event="before", held_out_psnr=round(psnr, 2), flat_mean=round(flat, 3), flat_max=round(worst, 2))
    for size in (128, 256):  # compile and pick convolutions, at no learning rate to speak of
        train_step(size, 1e-6)
    if device.type == "cuda":
        torch.cuda.synchronize()
    log(event="ready", parameters=sum(p.numel() for p in vae.parameters()), resumed_at=done)
    clock.start()
    last_log, last_save, last_step = time.time(), time.time(), step
    while True:
        progress = clock.progress()
        if progress >= 1:
            break
        # Whole pictures seldom at first, mostly in the end: flat grounds need to be seen whole.
        whole = pictures.random.random() < 0.15 + 0.75 * progress
        loss, error, kl, norm = train_step(256 if whole else 128, rate(progress, step, args.peak, 200))
        step += 1
        if step % 50 == 0 and time.time() - last_log > 10:
            values = [float(v) for v in (loss, error, kl, norm)]
            speed = (step - last_step) / (time.time() - last_log)
            log(
                step=step,
                progress=round(progress, 4),
                loss=round(values[0], 5),
                psnr=round(-10 * np.log10(max(values[1] / 4, 1e-9)), 2),
                kl=round(values[2], 3),
                norm=round(values[3], 3),
                steps_per_s=round(speed, 2),
            )
            last_log, last_step = time.time(), step
            if not np.isfinite(values[0]):
                log(event="not finite; stopped")
                raise SystemExit(1)
        if time.time() - last_save > 120:
            save(progress)
            copy = averaged()
            psnr, flat, worst, shown = evaluate(copy, composer, held_out, device, 32)
            save_sheet(shown, args.out / "vae_sheet.png", 8)
            NormSilu.kernel = staticmethod(fused)
            log(step=step, held_out_psnr=round(psnr, 2), flat_mean=round(flat, 3), flat_max=round(worst, 2))
            last_save = time.time()
    save(1.0)
    copy = averaged()
    psnr, flat, worst, shown = evaluate(copy, composer, held_out, device, 32)
    save_sheet(shown, args.out / "vae_sheet.png", 8)
    if not args.decoder_only:
        measure_latents(copy, composer, source, device, 8 * args.held_out)
    torch.save({"model": copy.state_dict(), "config": config.kVae}, args.out / "vae.pt.new")
    os.replace(args.out / "vae.pt.new", args.out / "vae.pt")
    log(
        event="done",
        step=step,
        held_out_psnr=round(psnr, 2),
        flat_mean=round(flat, 3),
        flat_max=round(worst, 2),
        latent_std=round(float(copy.bn.running_var.mean().sqrt()), 3),
    )
    source.close()


if __name__ == "__main__":
    main()
