"""A short training on two GPUs or on one: all set-up side by side, so that most of the time is training.

--role alone composes and encodes scenes into files, part by part, then trains the unconditional
transformer, the smaller part of the work, for the last --alone-seconds; with 0 it stays as it is, for
captions alone have changed. --role joint compiles meanwhile, then trains text encoder and conditional
transformer on the parts there are and exports the whole. Both end at the wall time --until.
train_short.sh starts them.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch

import config
from bpe import Tokenizer
from cache import Bucket, Cache, kShares
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
    parser.add_argument("--scenes", type=Path, default=Path("/dev/shm/scenes"), help="folder of the parts")
    parser.add_argument("--cache", type=int, default=524_288, help="captioned pictures in all, 33 kB each")
    parser.add_argument("--part", type=int, default=65_536, help="captioned pictures in a part")
    parser.add_argument("--cache-seconds", type=float, default=150)
    parser.add_argument("--alone-seconds", type=float, default=1e9, help="of the unconditional transformer, at the end; 0 leaves it as it is")
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


def part_file(args, n):
    return args.scenes / f"part_{n:03d}.pt"


def make_parts(args, source, composer, vae, device, log):
    """Scenes of the curriculum's middle and of its end, half and half, in files as they come."""
    if device.type == "cuda":
        NormSilu.kernel = staticmethod(compiled_norm(device, log))
    cache = Cache(args, source, composer, vae, device)
    args.scenes.mkdir(parents=True, exist_ok=True)
    begin, parts, saved = time.time(), 0, [0] * len(kBuckets)

    def save():
        nonlocal parts, saved
        filled = [b.filled for b in cache.buckets]
        rings = [(b, slice(of, to)) for b, of, to in zip(cache.buckets, saved, filled)]
        kept = [(b.latents[new].cpu(), b.ids[new].short().cpu(), b.length[new].short().cpu()) for b, new in rings]
        replace_file({"buckets": kept, "seen": cache.seen}, part_file(args, parts))
        parts, saved = parts + 1, filled
        log(event="part", filled=filled, seconds=round(time.time() - begin, 1))

    jobs, full = 0, False
    while not full and time.time() - begin < args.cache_seconds:
        cache.progress = 0.35 if jobs % 2 else 1.0
        cache.add()
        jobs += 1
        # A ring that is full begins to replace what was saved.
        full = any(b.filled == b.capacity for b in cache.buckets)
        if sum(b.filled for b in cache.buckets) - sum(saved) >= args.part:
            save()
    save()
    return cache.buckets, cache.seen


class Parts:
    """The files of make_parts, taken in as they appear."""

    def __init__(self, args, device, log):
        self.args, self.device, self.log, self.taken = args, device, log, 0
        channels = 4 * config.kVae["latent_channels"]
        self.buckets = [
            Bucket(max(int(args.cache * share), 8), tokens, channels, device) for share, tokens in zip(kShares, kBuckets)
        ]
        while not self.take():
            time.sleep(0.2)

    def take(self):
        """The next part, if there is one."""
        file = part_file(self.args, self.taken)
        if not file.exists():
            return False
        state = torch.load(file, map_location=self.device)
        for bucket, (latents, ids, length) in zip(self.buckets, state["buckets"]):
            if len(latents):
                bucket.put(latents, ids.long(), length.long())
        self.seen, self.taken = state["seen"], self.taken + 1
        file.unlink()
        self.log(event="taken", part=self.taken, filled=[b.filled for b in self.buckets])
        return True


def train(args, trainer, buckets, seen, log, more=lambda: None, save=lambda: None):
    """Steps until --until; `more` may add scenes, `save` is called at the half and at three quarters."""
    begin, step, last = time.time(), 0, time.time()
    marks = [0.5, 0.75]
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
            more()
            last = time.time()
        if marks and progress > marks[0]:
            marks.pop(0)
            save()
            last = time.time()
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
        buckets, seen = make_parts(args, source, Composer(assets, device), vae, device, log)
        source.close()
        if args.alone_seconds == 0:
            replace_file(trainer.averaged()[2], args.out / "alone.pt")
            return
        time.sleep(max(args.until - args.alone_seconds - time.time(), 0))
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
        parts = Parts(args, device, log)
        name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
        log(event="ready", device=name, batch=args.batch)
        step = train(args, trainer, parts.buckets, parts.seen, log, parts.take, save)
        begin = time.time()
        while not other.exists() and time.time() - begin < 15:
            time.sleep(0.2)
        save()
    else:
        step = train(args, trainer, buckets, seen, log)
        replace_file(trainer.averaged()[2], other)
    log(event="done", step=step)


if __name__ == "__main__":
    main()
