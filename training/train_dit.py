"""Trains text encoder, conditional and unconditional transformer together on cached latents."""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch

import config
from bpe import Tokenizer
from common import Average, Clock, Log, SceneSource, adamw, autocast, averaged_state
from common import raise_compile_limits, rate, setup
from compose import Composer, save_sheet, to_device
from model import TextEncoder, Transformer
from sampler import sample, schedule
from scenes import kHere, kMaxTokens, kShortTokens, make_scenes
from train_vae import compiled_norm
from vae import NormSilu, Vae

kGrid = (16, 16)


class Bucket:
    """A ring of cached scenes whose captions fit `tokens`: latents, ids, lengths on the device."""

    def __init__(self, capacity, tokens, channels, device):
        self.tokens, self.capacity = tokens, capacity
        kind = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.latents = torch.empty(capacity, kGrid[0] * kGrid[1], channels, dtype=kind, device=device)
        self.ids = torch.zeros(capacity, tokens, dtype=torch.int64, device=device)
        self.length = torch.zeros(capacity, dtype=torch.int64, device=device)
        self.filled = self.at = 0

    def put(self, latents, ids, length):
        n = len(latents)
        if n > self.capacity:
            return self.put(latents[: self.capacity], ids[: self.capacity], length[: self.capacity])
        where = (torch.arange(n, device=latents.device) + self.at) % self.capacity
        self.latents[where] = latents.to(self.latents.dtype)
        self.ids[where] = ids[:, : self.tokens]
        self.length[where] = length
        self.at = (self.at + n) % self.capacity
        self.filled = min(self.capacity, self.filled + n)

    def draw(self, n):
        i = torch.randint(self.filled, (n,), device=self.ids.device)
        return self.latents[i].float(), self.ids[i], self.length[i]


class Cache:
    """Composes and encodes scenes into two buckets, by caption length."""

    def __init__(self, args, source, composer, vae, device):
        self.source, self.composer, self.vae, self.device = source, composer, vae, device
        self.size = args.encode_batch
        channels = 4 * vae.config["latent_channels"]
        short = int(args.cache * 0.82)
        self.buckets = [
            Bucket(short, kShortTokens, channels, device),
            Bucket(args.cache - short, kMaxTokens, channels, device),
        ]
        self.seen = [0, 0]

    @torch.no_grad()
    def add(self):
        """One job's scenes."""
        batch = to_device(self.source.next(make_scenes), self.device)
        ids, length = batch.pop("ids").long(), batch.pop("length").long()
        for i in range(0, len(ids), self.size):
            x = self.composer({k: v[i : i + self.size] for k, v in batch.items()}).float() * 2 - 1
            with autocast(self.device):
                mean = self.vae.encode(x.contiguous(memory_format=torch.channels_last))[0]
            latents = self.vae.normalise(mean)
            for k, bucket in enumerate(self.buckets):
                low = 0 if k == 0 else kShortTokens
                part = slice(i, i + self.size)
                fits = (length[part] > low) & (length[part] <= bucket.tokens)
                self.seen[k] += int(fits.sum())
                bucket.put(latents[fits], ids[part][fits], length[part][fits])
        return len(ids)


def draw_times(n, device):
    """Model times: noise level logit-normal, one tenth uniform."""
    sigma = torch.sigmoid(-0.3 + 1.2 * torch.randn(n, device=device))
    sigma = torch.where(torch.rand(n, device=device) < 0.1, torch.rand(n, device=device), sigma)
    return 1 - sigma


def step_losses(nets, x1, ids, length):
    """-> loss of the conditional and of the unconditional transformer on the same noisy latents."""
    text, conditional, unconditional = nets
    noise = torch.randn_like(x1)
    t = draw_times(len(x1), x1.device)
    x = t[:, None, None] * x1 + (1 - t[:, None, None]) * noise
    target = x1 - noise
    mask = torch.arange(ids.shape[1], device=ids.device) < length[:, None]
    v = conditional(x, t, kGrid, text(ids), mask).float()
    u = unconditional(x, t, kGrid).float()
    return (v - target).square().mean(), (u - target).square().mean()


class Sampler:
    """Pictures from prompts with averaged weights, on plain copies so that nothing recompiles."""

    def __init__(self, nets, vae, device):
        self.device, self.vae = device, vae
        self.tokenizer = Tokenizer.load(kHere / "tokenizer" / "tokenizer.json")
        self.nets = nets

    @torch.no_grad()
    def __call__(self, prompts, guidance, steps=24, seed=0):
        text, conditional, unconditional = self.nets
        ids = [self.tokenizer.encode_prompt(p) for p in prompts]
        n = max(map(len, ids))
        padded = torch.zeros(len(ids), n, dtype=torch.int64)
        for i, row in enumerate(ids):
            padded[i, : len(row)] = torch.tensor(row)
        length = torch.tensor([len(row) for row in ids])
        mask = (torch.arange(n) < length[:, None]).to(self.device)
        channels = conditional.config["in_channels"]
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(len(ids), kGrid[0] * kGrid[1], channels, generator=generator)
        with autocast(self.device):
            features = text(padded.to(self.device))
            sigmas = schedule(256, 256, steps)
            x = sample(
                conditional, unconditional, features, mask, noise.to(self.device), kGrid, sigmas, guidance
            )[-1]
            z = self.vae.denormalise(x, kGrid).contiguous(memory_format=torch.channels_last)
            picture = torch.cat([self.vae.decode(part).float() for part in z.split(32)])
        return (picture / 2 + 0.5).clamp(0, 1)


def build(vocab, device):
    nets = [
        TextEncoder(config.text_encoder(vocab), config.kTaps),
        Transformer(config.kConditional),
        Transformer(config.kUnconditional),
    ]
    for net in nets:
        net.init_weights()
    return [net.to(device) for net in nets]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=16)
    parser.add_argument("--batch", type=int, default=768)
    parser.add_argument("--peak", type=float, default=1.5e-3)
    parser.add_argument("--decay", type=float, default=0.999, help="of the average of weights")
    parser.add_argument("--cache", type=int, default=300_000, help="scenes kept on the device")
    parser.add_argument("--refresh", type=int, default=16, help="steps between fresh jobs of scenes")
    parser.add_argument("--encode-batch", type=int, default=256)
    parser.add_argument("--chunk", type=int, default=1024)
    parser.add_argument("--sheet-seconds", type=float, default=150)
    parser.add_argument("--compile", type=int, default=1)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tiny", type=int, default=0)
    args = parser.parse_args()
    if args.tiny:
        config.scaled_down()
    resume = args.out / "dit_state.pt"
    state = torch.load(resume, map_location="cpu") if resume.exists() else None
    step, done = (state["step"], state["progress"]) if state else (0, 0.0)
    clock = Clock(args.minutes, done)
    log = Log(args.out / "dit_log.jsonl")
    assets = np.load(kHere / ".cache" / "assets.npz")
    source = SceneSource(assets["advances"], args.workers, args.chunk, 10_000_000 * (1 + (step > 0)) + step)
    device = setup(args.device, 100 + step)
    composer = Composer(assets, device)
    vae = Vae(config.kVae).to(device).to(memory_format=torch.channels_last).eval()
    vae.load_state_dict(torch.load(args.out / "vae.pt", map_location=device)["model"])
    plain = NormSilu.kernel
    compiled = bool(args.compile) and device.type == "cuda"
    if compiled:
        NormSilu.kernel = staticmethod(compiled_norm(device, log))

    vocab = Tokenizer.load(kHere / "tokenizer" / "tokenizer.json").size
    nets = build(vocab, device)
    parameters = [p for net in nets for p in net.parameters()]
    matrices = [p for p in parameters if p.dim() >= 2]
    others = [p for p in parameters if p.dim() < 2]
    optimizer = adamw(
        [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}],
        device,
        lr=args.peak,
        betas=(0.9, 0.98),
    )
    average = Average(parameters, args.decay)
    if state:
        for net, weights in zip(nets, state["nets"]):
            net.load_state_dict(weights)
        average.values = [v.to(device) for v in state["average"]]
        average.steps = step
        optimizer.load_state_dict(state["optimizer"])

    cache = Cache(args, source, composer, vae, device)
    begin = time.time()
    while any(b.filled < 0.97 * b.capacity for b in cache.buckets):
        cache.add()
        if time.time() - begin > 90 and all(b.filled > args.batch for b in cache.buckets):
            break
    if device.type == "cuda":
        torch.cuda.synchronize()
    log(
        event="cached",
        seconds=round(time.time() - begin, 1),
        filled=[b.filled for b in cache.buckets],
        latent_std=round(float(cache.buckets[0].latents[:1000].float().std()), 3),
    )

    copies = build(vocab, device)
    sampler = Sampler([net.eval() for net in copies], vae, device)
    sheet_prompts = (kHere / "prompts_sheet.txt").read_text().splitlines()
    groups = [list(nets[0].parameters()) + list(nets[1].parameters()), list(nets[2].parameters())]
    layers = [*nets[0].language_model.layers, *nets[1].layers, *nets[2].layers]
    if compiled:
        # Layer by layer: one compilation per shape serves all layers of a network.
        raise_compile_limits()
        for layer in layers:
            layer.compile(dynamic=False)

    def train_step(bucket, lr):
        for group in optimizer.param_groups:
            group["lr"] = lr
        with autocast(device):
            loss, loss_u = step_losses(nets, *bucket.draw(args.batch))
        optimizer.zero_grad(set_to_none=True)
        (loss + loss_u).backward()
        norms = [
            torch.nn.utils.clip_grad_norm_([p for p in g if p.grad is not None], 1.0) for g in groups
        ]
        optimizer.step()
        average.update()
        return loss.detach(), loss_u.detach(), *norms

    def averaged():
        states, offset = [], 0
        for net in nets:
            states.append(averaged_state(net, average, offset))
            offset += sum(1 for _ in net.parameters())
        return states

    def save(progress):
        torch.save(
            {
                "nets": [net.state_dict() for net in nets],
                "average": average.values,
                "optimizer": optimizer.state_dict(),
                "step": step,
                "progress": progress,
            },
            str(resume) + ".new",
        )
        os.replace(str(resume) + ".new", resume)
        torch.save({"nets": averaged(), "vocab": vocab}, str(args.out / "dit.pt") + ".new")
        os.replace(str(args.out / "dit.pt") + ".new", args.out / "dit.pt")

    def sheet(name):
        for copy, weights in zip(copies, averaged()):
            copy.load_state_dict(weights)
        kept, NormSilu.kernel = NormSilu.kernel, staticmethod(plain)
        save_sheet(sampler(sheet_prompts, 4.0), args.out / name, 6)
        NormSilu.kernel = staticmethod(kept)

    begin = time.time()
    try:
        for bucket in cache.buckets * 2:
            train_step(bucket, 1e-6)
    except Exception as error:
        if not compiled:
            raise
        # Slower, but a run without the compiler is better than none.
        log(event="layers not compiled", why=str(error)[:300])
        for layer in layers:
            layer._compiled_call_impl = None
        for bucket in cache.buckets * 2:
            train_step(bucket, 1e-6)
    if device.type == "cuda":
        torch.cuda.synchronize()
    log(
        event="ready",
        seconds=round(time.time() - begin, 1),
        parameters=[sum(p.numel() for p in net.parameters()) for net in nets],
        resumed_at=done,
        gib=round(torch.cuda.max_memory_allocated() / 2**30, 1) if device.type == "cuda" else 0,
    )
    clock.start()
    last_log, last_sheet, last_step = time.time(), time.time(), step
    chooser = np.random.default_rng(step)
    sums = torch.zeros(4, device=device)
    while True:
        progress = clock.progress()
        if progress >= 1:
            break
        bucket = cache.buckets[int(chooser.random() < cache.seen[1] / sum(cache.seen))]
        values = train_step(bucket, rate(progress, step, args.peak, 300))
        sums += torch.stack([v.float() for v in values])
        step += 1
        if step % args.refresh == 0:
            cache.add()
        if step % 20 == 0 and time.time() - last_log > 10:
            n = step - last_step
            mean = (sums / n).tolist()
            sums.zero_()
            speed = n / (time.time() - last_log)
            log(
                step=step,
                progress=round(progress, 4),
                loss=round(mean[0], 5),
                loss_unconditional=round(mean[1], 5),
                norms=[round(v, 3) for v in mean[2:]],
                pictures_per_s=round(speed * args.batch),
            )
            last_log, last_step = time.time(), step
            if not np.isfinite(mean[0]):
                log(event="not finite; stopped")
                raise SystemExit(1)
        if time.time() - last_sheet > args.sheet_seconds:
            save(progress)
            sheet(f"sheet_{round(100 * progress):03d}.png")
            log(event="sheet", step=step)
            last_sheet = time.time()
    save(1.0)
    sheet("sheet_100.png")
    log(event="done", step=step, pictures=step * args.batch)
    source.close()


if __name__ == "__main__":
    main()
