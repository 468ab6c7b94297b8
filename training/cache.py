"""Latents of composed scenes kept on the device, by padded caption length, refreshed as training goes on."""

import numpy as np
import torch

from common import autocast
from compose import to_device
from scenes import kBuckets, kCaptions, make_captioned

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


kShares = [0.74, 0.21, 0.05]  # of the cache, by caption length as the final mix has it


class Cache:
    """Composes and encodes scenes into one bucket per padded caption length."""

    def __init__(self, args, source, composer, vae, device):
        self.source, self.composer, self.vae, self.device = source, composer, vae, device
        self.size = args.encode_batch
        channels = 4 * vae.config["latent_channels"]
        self.buckets = [
            Bucket(max(int(args.cache * share), 8), tokens, channels, device)
            for share, tokens in zip(kShares, kBuckets)
        ]
        self.seen = [0] * len(kBuckets)
        self.progress = 0.0

    @torch.no_grad()
    def encode(self, batch):
        x = self.composer(batch).float() * 2 - 1
        with autocast(self.device):
            mean = self.vae.encode(x.contiguous(memory_format=torch.channels_last))[0]
        return self.vae.normalise(mean)

    @torch.no_grad()
    def add(self):
        """One job's scenes."""
        host = self.source.next(make_captioned, self.progress)
        # Captions sorted by length, so that bucket sizes are known here and nothing waits for the device.
        order = np.argsort(host["length"], kind="stable")
        ends = np.searchsorted(host["length"][order], kBuckets, side="right")
        batch = to_device({**host, "order": order}, self.device)
        order = batch.pop("order")
        ids, length = batch.pop("ids").long()[order], batch.pop("length").long()[order]
        parts = range(0, len(host["background"]), self.size)
        latents = torch.cat([self.encode({k: v[i : i + self.size] for k, v in batch.items()}) for i in parts])
        scene = torch.div(order, kCaptions, rounding_mode="floor")
        begin = 0
        for k, (bucket, end) in enumerate(zip(self.buckets, ends)):
            if end > begin:
                part = slice(begin, int(end))
                bucket.put(latents[scene[part]], ids[part], length[part])
                self.seen[k] += int(end) - begin
            begin = int(end)
        return len(ids)
