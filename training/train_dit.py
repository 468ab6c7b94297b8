"""Trains text encoder, conditional and unconditional transformer together on cached latents."""

import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch

import config
import scenes
from bpe import Tokenizer
from cache import Cache, kGrid
from common import Clock, Log, SceneSource, autocast, fail, raise_compile_limits, rate, setup
from compose import Composer, save_sheet, to_device
from export import export
from model import TextEncoder, Transformer
from optimizer import FlatOptimizer
from quoted import capitals_in_quotes
from sampler import sample, schedule
from scenes import kBuckets, kHere, make_scenes
from speed import Recorder, pick_attention, start_again, use_attention
from train_vae import compiled_norm
from vae import NormSilu, Vae
from warm_start import warm_start

def draw_times(n, device, mean, deviation):
    """Model times: noise level logit-normal, one tenth uniform."""
    sigma = torch.sigmoid(mean + deviation * torch.randn(n, device=device))
    sigma = torch.where(torch.rand(n, device=device) < 0.1, torch.rand(n, device=device), sigma)
    return 1 - sigma


def velocity_loss(transformer, x1, noise, t, *condition):
    """-> squared error of the velocity, per picture [B]."""
    x = t[:, None, None] * x1 + (1 - t[:, None, None]) * noise
    v = transformer(x, t, kGrid, *condition).float()
    return (v - (x1 - noise)).square().mean((1, 2))


def text_mask(ids, length):
    return torch.arange(ids.shape[1], device=ids.device) < length[:, None]


class HeldOut:
    """Two fixed sets, scenes with a word and scenes with one object: loss at three noise levels.

    `other` is the loss with the caption of another scene of the set: what is gained by reading.
    """

    def __init__(self, cache, advances, count):
        scenes.start_worker(advances)
        host = make_scenes((777_777, 12 * count + 64))
        word = (host["glyph"] >= 0).any(1)
        one = ((host["sprite"] >= 0).sum(1) == 1) & ~word
        self.sets, self.device = {}, cache.device
        for name, fits in (("words", word), ("objects", one)):
            chosen = np.flatnonzero(fits & (host["length"] <= kBuckets[0]))[:count]
            part = to_device({k: v[chosen] for k, v in host.items()}, cache.device)
            ids, length = part.pop("ids").long()[:, : kBuckets[0]], part.pop("length").long()
            self.sets[name] = (cache.encode(part), ids, length)

    @torch.no_grad()
    def __call__(self, nets):
        text, conditional, unconditional = nets
        out = {}
        generator = torch.Generator().manual_seed(5)
        for name, (x1, ids, length) in self.sets.items():
            mask = text_mask(ids, length)
            turned = ids.roll(1, 0), mask.roll(1, 0)
            for level in (0.2, 0.5, 0.8, 0.95):
                noise = torch.randn(x1.shape, generator=generator).to(self.device)
                t = torch.full((len(x1),), 1 - level, device=self.device)
                with autocast(self.device):
                    losses = [
                        velocity_loss(conditional, x1, noise, t, text(ids), mask),
                        velocity_loss(conditional, x1, noise, t, text(turned[0]), turned[1]),
                        velocity_loss(unconditional, x1, noise, t),
                    ]
                names = ("right", "other", "unconditional")
                out[f"{name} {level}"] = {k: round(float(v.mean()), 5) for k, v in zip(names, losses)}
        return out


class Sampler:
    """Pictures from prompts with averaged weights, on plain copies so that nothing recompiles."""

    def __init__(self, nets, vae, device):
        self.device, self.vae = device, vae
        self.tokenizer = Tokenizer.load(kHere / "tokenizer" / "tokenizer.json")
        self.nets = nets

    @torch.no_grad()
    def __call__(self, prompts, guidance, steps=24, seed=0):
        text, conditional, unconditional = self.nets
        ids = [self.tokenizer.encode_prompt(capitals_in_quotes(p)) for p in prompts]
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


def is_hidden(name, parameter):
    """Matrices inside layers, but for the modulation: these go to Muon."""
    return "layers." in name and parameter.dim() == 2 and "adaln" not in name


class Trainer:
    """Weights, two optimizers and the recorded steps. Inputs of a step are fixed tensors.

    roles: "joint" trains text encoder and conditional transformer, "alone" the unconditional one.
    """

    def __init__(self, args, nets, device, roles=("joint", "alone")):
        self.args, self.nets, self.device, self.roles = args, nets, device, roles
        text, conditional, unconditional = nets
        hidden = is_hidden if args.optimizer == "muon" else lambda name, parameter: False
        joint = [(f"0.{n}", p) for n, p in text.named_parameters()]
        joint += [(f"1.{n}", p) for n, p in conditional.named_parameters()]
        alone = [(f"2.{n}", p) for n, p in unconditional.named_parameters()]
        self.optimizers = [FlatOptimizer(named, hidden, args.decay) for named in (joint, alone)]
        # loss, its norm, unconditional loss, its norm; and the counts of both.
        self.sums = torch.zeros(6, device=device)
        channels = config.kConditional["in_channels"]
        shape = (args.batch, kGrid[0] * kGrid[1], channels)
        self.x1 = torch.randn(shape, device=device)
        self.x1_alone = torch.randn(shape, device=device)
        self.ids = [torch.zeros(args.batch, n, dtype=torch.int64, device=device) for n in kBuckets]
        self.noise_mean = torch.zeros((), device=device)
        self.length = torch.full((args.batch,), 8, dtype=torch.int64, device=device)

    def joint_step(self, k):
        text, conditional, _ = self.nets
        optimizer = self.optimizers[0]
        optimizer.zero_grad()
        ids = self.ids[k]
        with autocast(self.device):
            t = draw_times(len(ids), self.device, self.noise_mean, self.args.noise_deviation)
            noise = torch.randn_like(self.x1)
            mask = text_mask(ids, self.length)
            loss = velocity_loss(conditional, self.x1, noise, t, text(ids), mask).mean()
        loss.backward()
        norm = optimizer.step()
        self.count(0, loss, norm)

    def alone_step(self):
        optimizer = self.optimizers[1]
        optimizer.zero_grad()
        with autocast(self.device):
            t = draw_times(len(self.x1_alone), self.device, self.noise_mean, self.args.noise_deviation)
            noise = torch.randn_like(self.x1_alone)
            loss = velocity_loss(self.nets[2], self.x1_alone, noise, t).mean()
        loss.backward()
        norm = optimizer.step()
        self.count(2, loss, norm)

    @torch.no_grad()
    def count(self, at, loss, norm):
        self.sums[at].add_(loss.detach())
        self.sums[at + 1].add_(norm)
        self.sums[4 + at // 2].add_(1)

    def prepare(self, recorder):
        """Compiles and records every step at rate zero; weights and averages stay as they are."""
        self.rates(0.0, 0.0)
        joint = [lambda k=k: self.joint_step(k) for k in range(len(kBuckets))] if "joint" in self.roles else []
        functions = joint + ([self.alone_step] if "alone" in self.roles else [])
        for function in functions:
            recorder.warm(function)
        yield "compiled"
        runs = [recorder.record(function) for function in functions]
        self.joint, self.alone = runs[: len(joint)], runs[-1]
        self.sums.zero_()
        for run in runs:
            run()
        counts = self.sums.tolist()
        expected = [len(joint), len(runs) - len(joint)]
        used = [x for i, x in enumerate(counts[:4]) if expected[i // 2]]
        if not np.isfinite(counts).all() or counts[4:] != expected or min(used) <= 0:
            raise RuntimeError(f"a recorded step does not do what it should: {counts}")
        self.sums.zero_()
        for optimizer in self.optimizers:
            optimizer.forget()
        yield "recorded"

    def rates(self, adamw, muon):
        for optimizer in self.optimizers:
            optimizer.lr.fill_(adamw)
            optimizer.muon_lr.fill_(muon)

    def averaged(self):
        """State dicts of the three networks with averaged weights."""
        values = {**self.optimizers[0].averages(), **self.optimizers[1].averages()}
        return [{k: values[f"{i}.{k}"] for k in net.state_dict()} for i, net in enumerate(self.nets)]


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="begin with the weights of this checkpoint folder")
    parser.add_argument("--minutes", type=float, default=16, help="wall time of this call, set-up included")
    parser.add_argument("--pieces", type=int, default=1, help="calls that the run takes; each goes on to the next of as many equal shares of the schedule")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--optimizer", choices=["muon", "adamw"], default="muon")
    parser.add_argument("--peak", type=float, default=1e-3, help="rate of AdamW")
    parser.add_argument("--muon-peak", type=float, default=2e-3)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--decay", type=float, default=0.999, help="of the average of weights")
    parser.add_argument("--noise-mean", type=float, default=1.5, help="first mean of the noise level's logit")
    parser.add_argument("--noise-mean-end", type=float, default=0.5, help="its last mean, approached from 60%% on")
    parser.add_argument("--noise-deviation", type=float, default=1.5)
    parser.add_argument("--cache", type=int, default=393_216, help="captioned pictures kept on the device, 33 kB each")
    parser.add_argument("--refresh", type=int, default=60, help="steps between fresh jobs of scenes")
    parser.add_argument("--encode-batch", type=int, default=256)
    parser.add_argument("--chunk", type=int, default=1024)
    parser.add_argument("--sheet-seconds", type=float, default=150)
    parser.add_argument("--first-sheet", type=int, default=1, help="look before training as well")
    parser.add_argument("--held-out", type=int, default=128)
    parser.add_argument("--compile", type=int, default=1)
    parser.add_argument("--graph", type=int, default=1)
    parser.add_argument("--parts", type=Path, help="where the parts of each export go (default: OUT/back)")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--sheet-steps", type=int, default=24)
    parser.add_argument("--tiny", type=int, default=0)
    return parser.parse_args()


def position(args, state):
    """(step, progress) that the run has come to: of its own state, or of weights that were carried here."""
    if state:
        return state["step"], state["progress"]
    file = args.out / "progress.json"
    if not file.exists():
        return 0, 0.0
    if not args.init:
        fail(f"{file} is of a run that has begun, but {args.out} holds no dit_state.pt; give its weights with --init")
    kept = json.loads(file.read_text())
    return kept["step"], kept["progress"]


def prepared(args, trainer, recorder, layers, clock, source, log, compiled):
    """Compiles and records; on failure starts the program again without what failed."""
    begin, stage = time.time(), "compile"
    try:
        if compiled:
            # Layer by layer: one compilation per shape serves all layers of a network.
            raise_compile_limits()
            for layer in layers:
                layer.compile(dynamic=False)
        for done in trainer.prepare(recorder):
            log(event=done, seconds=round(time.time() - begin, 1))
            stage = "graph"
    except Exception as error:
        if stage == "compile" and compiled:
            options = ["--compile", "0"]
        elif stage == "graph" and recorder.enabled:
            options = ["--graph", "0"]
        else:
            raise
        log(event=f"{stage} failed; starting again", options=options, why=str(error)[:600])
        source.close()
        start_again(options, clock.deadline)


def main():
    args = arguments()
    if args.tiny:
        config.scaled_down()
    args.out.mkdir(parents=True, exist_ok=True)
    resume = args.out / "dit_state.pt"
    state = torch.load(resume, map_location="cpu") if resume.exists() else None
    step, done = position(args, state)
    end = min((math.floor(done * args.pieces + 0.01) + 1) / args.pieces, 1.0)
    clock = Clock(args.minutes, done, end)
    log = Log(args.out / "dit_log.jsonl")
    assets = np.load(kHere / ".cache" / "assets.npz")
    source = SceneSource(assets["advances"], args.workers, args.chunk, 10_000_000 * (2 + (step > 0)) + step)
    device = setup(args.device, 200 + step)
    composer = Composer(assets, device)
    vae = Vae(config.kVae).to(device).to(memory_format=torch.channels_last).eval()
    vae.load_state_dict(torch.load(args.out / "vae.pt", map_location=device)["model"])
    vocab = Tokenizer.load(kHere / "tokenizer" / "tokenizer.json").size
    nets = build(vocab, device)
    if args.init and not state:
        warm_start(nets, args.init)
    trainer = Trainer(args, nets, device)
    compiled = bool(args.compile) and device.type == "cuda"
    heads = config.kConditional["num_attention_heads"]
    kernel = pick_attention(device, args.batch, heads, 256 + kBuckets[0], log)
    layers = [*nets[0].language_model.layers, *nets[1].layers, *nets[2].layers]
    recorder = Recorder(device, bool(args.graph))
    prepared(args, trainer, recorder, layers, clock, source, log, compiled)
    if state:
        for optimizer, kept in zip(trainer.optimizers, state["optimizers"]):
            optimizer.restore(kept)

    plain = NormSilu.kernel
    if compiled:
        NormSilu.kernel = staticmethod(compiled_norm(device, log))
    cache = Cache(args, source, composer, vae, device)
    # Weights that can draw need no easy scenes first.
    easiest = 0.35 if args.init else 0.0
    cache.progress = max(done, easiest)
    begin = time.time()
    while any(b.filled < 0.9 * b.capacity for b in cache.buckets):
        cache.add()
        if time.time() - begin > 60 and all(b.filled > 4 * args.batch for b in cache.buckets):
            break
    held_out = HeldOut(cache, assets["advances"], args.held_out)
    if device.type == "cuda":
        torch.cuda.synchronize()
    log(
        event="cached",
        seconds=round(time.time() - begin, 1),
        filled=[b.filled for b in cache.buckets],
        latent_std=round(float(cache.buckets[0].latents[:1000].float().std()), 3),
    )
    copies = [net.eval() for net in build(vocab, device)]
    sampler = Sampler(copies, vae, device)
    sheet_prompts = (kHere / "prompts_sheet.txt").read_text().splitlines()

    back = args.parts or args.out / "back"

    def save(progress):
        kept = {
            "optimizers": [o.state() for o in trainer.optimizers],
            "step": step,
            "progress": progress,
        }
        torch.save(kept, str(resume) + ".new")
        os.replace(str(resume) + ".new", resume)
        torch.save({"nets": trainer.averaged(), "vocab": vocab}, str(args.out / "dit.pt") + ".new")
        os.replace(str(args.out / "dit.pt") + ".new", args.out / "dit.pt")
        place = json.dumps({"step": step, "progress": progress})
        for folder in (args.out, back):
            folder.mkdir(exist_ok=True)
            (folder / "progress.json").write_text(place + "\n")

    def look(name):
        """Held-out losses, the sheet, and an export; trouble here must not end the run."""
        kept, NormSilu.kernel = NormSilu.kernel, staticmethod(plain)
        use_attention("efficient")
        try:
            for copy, weights in zip(copies, trainer.averaged()):
                copy.load_state_dict(weights)
            log(event="held out", step=step, **held_out(copies))
            save_sheet(sampler(sheet_prompts, 4.0, args.sheet_steps), args.out / name, 6)
        except Exception as error:
            log(event="no sheet", why=str(error)[:300])
        finally:
            NormSilu.kernel = staticmethod(kept)
            use_attention(kernel)
        try:
            export(args.out, args.out / "model", 4.0, back)
        except Exception as error:
            log(event="no export", why=str(error)[:300])

    log(
        event="ready",
        parameters=[sum(p.numel() for p in net.parameters()) for net in nets],
        muon=[o.split for o in trainer.optimizers],
        options=" ".join(f"{k}={v}" for k, v in vars(args).items()),
        recorded=recorder.enabled,
        device=torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        batch=args.batch,
        resumed_at=done,
        gib=round(torch.cuda.max_memory_allocated() / 2**30, 1) if device.type == "cuda" else 0,
    )
    clock.start()
    if not done and args.first_sheet:
        save(0.0)
        look("sheet_000.png")
    last_log, last_sheet, first_step = time.time(), time.time(), step
    chooser = np.random.default_rng(step)
    buckets = cache.buckets
    while True:
        progress = clock.progress()
        if clock.over():
            break
        share = np.array(cache.seen) / sum(cache.seen)
        k = int(chooser.choice(len(buckets), p=share))
        x1, ids, length = buckets[k].draw(args.batch)
        trainer.x1.copy_(x1)
        trainer.ids[k].copy_(ids)
        trainer.length.copy_(length)
        # Both optimizers share the schedule; a resumed run warms up again.
        now = step - first_step
        share_of_peak = rate(progress, now, 1.0, args.warmup)
        trainer.rates(args.peak * share_of_peak, args.muon_peak * share_of_peak)
        # What the caption tells is learned at high noise, first; crisp edges at low noise, last.
        late = max(progress - 0.6, 0.0) / 0.4
        trainer.noise_mean.fill_(args.noise_mean + (args.noise_mean_end - args.noise_mean) * late)
        trainer.joint[k]()
        if step % 2 == 0:
            k = int(chooser.choice(len(buckets), p=share))
            trainer.x1_alone.copy_(buckets[k].draw(args.batch)[0])
            trainer.alone()
        step += 1
        if step % args.refresh == 0:
            cache.progress = max(progress, easiest)
            cache.add()
        if step % 20 == 0 and time.time() - last_log > 10:
            sums = trainer.sums.tolist()
            trainer.sums.zero_()
            n, alone = max(sums[4], 1), max(sums[5], 1)
            speed = n / (time.time() - last_log)
            log(
                step=step,
                progress=round(progress, 4),
                loss=round(sums[0] / n, 5),
                loss_unconditional=round(sums[2] / alone, 5),
                norms=[round(sums[1] / n, 3), round(sums[3] / alone, 3)],
                steps_per_s=round(speed, 2),
                pictures_per_s=round(speed * args.batch),
            )
            last_log = time.time()
            if not np.isfinite(sums[0]):
                log(event="not finite; stopped")
                raise SystemExit(1)
        if time.time() - last_sheet > args.sheet_seconds:
            save(progress)
            look(f"sheet_{round(100 * progress):03d}.png")
            log(event="sheet", step=step, seconds=round(time.time() - last_log, 1))
            last_sheet = last_log = time.time()
            trainer.sums.zero_()
    save(end)
    look(f"sheet_{round(100 * end):03d}.png")
    log(event="done" if end == 1.0 else "piece done", step=step, progress=end, pictures=step * args.batch)
    if end == 1.0:
        (args.out / "dit.done").touch()
    source.close()


if __name__ == "__main__":
    main()
