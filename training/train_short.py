"""A short training on two GPUs: all set-up side by side, so that most of the time is training.

--role alone composes and encodes scenes into a file, then trains the unconditional transformer;
--role joint compiles meanwhile, then trains text encoder and conditional transformer on those
scenes and exports the whole. Both end at the wall time --until. train_short.sh starts them.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch

import config
from bpe import Tokenizer
from cache import Bucket, Cache
from checkpoint import load_weights
from common import Log, SceneSource, raise_compile_limits, rate, setup
from compose import Composer
from export import export
from scenes import kBuckets, kHere
from speed import Recorder, use_attention
from train_dit import Trainer, build
from train_vae import compiled_norm
from vae import NormSilu, Vae
from warm_start import warm_start


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--role", choices=["joint", "alone"], required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, required=True, help="a checkpoint folder: weights, autoencoder")
    parser.add_argument("--until", type=float, required=True, help="end of training, seconds since 1970")
    parser.add_argument("--scenes-file", type=Path, default=Path("/dev/shm/scenes.pt"))
    parser.add_argument("--cache", type=int, default=131_072, help="captioned pictures, 33 kB each, in the scenes file")
    parser.add_argument("--cache-seconds", type=float, default=48)
    parser.add_argument("--encode-batch", type=int, default=256)
    parser.add_argument("--chunk", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--optimizer", choices=["muon", "adamw"], default="muon")
    parser.add_argument("--peak", type=float, default=1.2e-3)
    parser.add_argument("--muon-peak", type=float, default=2.5e-3)
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--decay", type=float, default=0.997)
    parser.add_argument("--noise-mean", type=float, default=1.5)
    parser.add_argument("--noise-mean-end", type=float, default=0.5)
    parser.add_argument("--noise-deviation", type=float, default=1.5)
    parser.add_argument("--workers", type=int, default=22)
    parser.add_argument("--scene-seed", type=int, default=70_000_000, help="another one for each run that goes on from the last")
    parser.add_argument("--graph", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tiny", type=int, default=0)
    return parser.parse_args()


def replace_file(value, path):
    torch.save(value, str(path) + ".new")
    os.replace(str(path) + ".new", path)


def make_cache(args, source, composer, vae, device, log):
    """Scenes of the curriculum's middle and of its end, half and half."""
    if device.type == "cuda":
        NormSilu.kernel = staticmethod(compiled_norm(device, log))
    cache = Cache(args, source, composer, vae, device)
    begin, jobs = time.time(), 0
    while time.time() - begin < args.cache_seconds and any(b.filled < b.capacity for b in cache.buckets):
        cache.progress = 0.35 if jobs % 2 else 1.0
        cache.add()
        jobs += 1
    kept = [
        {"latents": b.latents[: b.filled].cpu(), "ids": b.ids[: b.filled].short().cpu(), "length": b.length[: b.filled].short().cpu()}
        for b in cache.buckets
    ]
    replace_file({"buckets": kept, "seen": cache.seen}, args.scenes_file)
    log(event="scenes", filled=[b.filled for b in cache.buckets], seconds=round(time.time() - begin, 1))
    return cache.buckets, cache.seen


def load_cache(args, device, log):
    while not args.scenes_file.exists():
        time.sleep(0.2)
    state = torch.load(args.scenes_file, map_location=device)
    buckets = []
    for tokens, kept in zip(kBuckets, state["buckets"]):
        n = max(len(kept["latents"]), 1)
        bucket = Bucket(n, tokens, kept["latents"].shape[-1], device)
        bucket.put(kept["latents"], kept["ids"].long(), kept["length"].long())
        buckets.append(bucket)
    log(event="loaded", filled=[b.filled for b in buckets])
    return buckets, state["seen"]


def train(args, trainer, buckets, seen, log, halfway):
    """Steps until --until; `halfway` is called once, in the middle of the time."""
    begin, step, last = time.time(), 0, time.time()
    chooser = np.random.default_rng(11)
    share = np.array(seen) / sum(seen)
    while True:
        progress = (time.time() - begin) / max(args.until - begin, 1)
        if progress >= 1:
            return step
        k = int(chooser.choice(len(buckets), p=share))
        x1, ids, length = buckets[k].draw(args.batch)
        of_peak = rate(progress, step, 1.0, args.warmup)
        trainer.rates(args.peak * of_peak, args.muon_peak * of_peak)
        late = max(progress - 0.6, 0.0) / 0.4
        trainer.noise_mean.fill_(args.noise_mean + (args.noise_mean_end - args.noise_mean) * late)
        if args.role == "joint":
            trainer.x1.copy_(x1)
            trainer.ids[k].copy_(ids)
            trainer.length.copy_(length)
            trainer.joint[k]()
        else:
            trainer.x1_alone.copy_(x1)
            trainer.alone()
        step += 1
        if step % 20 == 0 and time.time() - last > 10:
            sums = trainer.sums.tolist()
            trainer.sums.zero_()
            n = max(sums[4] + sums[5], 1)
            log(step=step, progress=round(progress, 3), loss=round((sums[0] + sums[2]) / n, 5), norm=round((sums[1] + sums[3]) / n, 3), steps_per_s=round(n / (time.time() - last), 2))
            last = time.time()
        if halfway and progress > 0.5:
            halfway()
            halfway, last = None, time.time()
            trainer.sums.zero_()


def main():
    args = arguments()
    if args.tiny:
        config.scaled_down()
    args.out.mkdir(parents=True, exist_ok=True)
    log = Log(args.out / f"short_{args.role}.jsonl")
    assets = np.load(kHere / ".cache" / "assets.npz")
    source = SceneSource(assets["advances"], args.workers, args.chunk, args.scene_seed) if args.role == "alone" else None
    device = setup(args.device, 300 + (args.role == "joint"))
    vae = load_weights(Vae(config.kVae), args.init / "vae")
    vocab = Tokenizer.load(kHere / "tokenizer" / "tokenizer.json").size
    nets = build(vocab, device)
    warm_start(nets, args.init)
    trainer = Trainer(args, nets, device, (args.role,))
    if args.role == "alone":
        vae = vae.to(device).to(memory_format=torch.channels_last)
        buckets, seen = make_cache(args, source, Composer(assets, device), vae, device, log)
        source.close()
    else:
        replace_file({"model": vae.state_dict(), "config": config.kVae}, args.out / "vae.pt")
    if device.type == "cuda":
        use_attention("cudnn")
        raise_compile_limits()
        # The text encoder is small: recorded in the graph it is fast enough without.
        for layer in nets[1].layers if args.role == "joint" else nets[2].layers:
            layer.compile(dynamic=False)
    for done in trainer.prepare(Recorder(device, bool(args.graph))):
        log(event=done)

    other = args.out / "alone.pt"

    def save():
        text, conditional, unconditional = trainer.averaged()
        if other.exists():
            unconditional = torch.load(other, map_location=device)
        replace_file({"nets": [text, conditional, unconditional], "vocab": vocab}, args.out / "dit.pt")
        export(args.out, args.out / "model", 4.0, args.out / "back")
        log(event="exported")

    if args.role == "joint":
        buckets, seen = load_cache(args, device, log)
        step = train(args, trainer, buckets, seen, log, save)
        begin = time.time()
        while not other.exists() and time.time() - begin < 15:
            time.sleep(0.2)
        save()
    else:
        step = train(args, trainer, buckets, seen, log, None)
        replace_file(trainer.averaged()[2], other)
    log(event="done", step=step)


if __name__ == "__main__":
    main()
