"""Scene descriptions -> pictures, in batches on the GPU.

Scaling is two small matrix products per layer (rows, then columns) whose weights are a triangle
filter as wide as the shrink asks for: exact anti-aliasing, no gather, all on matrix units.
"""

import numpy as np
import torch

from palette import kStyles
from scenes import kCanvas, kCapHeight

kBaseline = 56  # row of the baseline in a glyph cell


def resize_weights(origin, scale, n_in, pad):
    """origin, scale [...]: canvas position of the source's edge, canvas pixels per source pixel.

    -> [..., kCanvas, n_in]. Source pixels outside count as clear, so edges fade as they should.
    """
    device = origin.device
    out = torch.arange(kCanvas, device=device, dtype=torch.float32) + 0.5
    source = torch.arange(-pad, n_in + pad, device=device, dtype=torch.float32) + 0.5
    scale = scale[..., None]
    u = (out - origin[..., None]) / scale
    radius = (1 / scale).clamp(min=1.0)[..., None]
    w = (1 - (u[..., None] - source).abs() / radius).clamp(min=0)
    w = w / w.sum(-1, keepdim=True).clamp(min=1e-3)
    return w[..., pad : pad + n_in]


class Composer:
    def __init__(self, assets, device):
        """assets: the loaded assets.npz."""
        self.device = device
        self.dtype = torch.float16 if device.type == "cuda" else torch.float32
        sprites = torch.from_numpy(assets["sprites"]).flatten(0, 1)
        self.sprites = sprites.to(device).to(self.dtype) / 255
        glyphs = torch.from_numpy(assets["glyphs"]).flatten(0, 1)
        self.glyphs = glyphs.to(device).to(self.dtype) / 255
        light = torch.tensor([0.299, 0.587, 0.114], device=device, dtype=self.dtype)
        self.light = light[:, None, None]
        ink = (self.sprites[:, :3].float() * self.light.float()).sum((1, 2, 3))
        area = self.sprites[:, 3].float().sum((1, 2)).clamp(min=1)
        self.mean_light = (ink / area).clamp(0.12, 0.85)

    def recolor(self, rgba, mean, color):
        """Keeps light and shade, replaces the hue. rgba premultiplied [n, 4, s, s], color [n, 4]."""
        m = mean[:, None, None, None].to(rgba.dtype)
        alpha = rgba[:, 3:]
        level = (rgba[:, :3] * self.light).sum(1, keepdim=True)
        dark = torch.minimum(level / m, alpha)
        bright = (level - m * alpha).clamp(min=0) / (1 - m) * 0.85
        c = color[:, 1:, None, None].to(rgba.dtype)
        rgb = c * dark + (1 - c) * bright
        return torch.where(color[:, :1, None, None] > 0.5, torch.cat([rgb, alpha], 1), rgba)

    @torch.no_grad()
    def __call__(self, batch):
        """batch: dict of tensors on the device -> pictures [n, 3, 256, 256] in [0, 1]."""
        n, slots = batch["sprite"].shape
        picture = batch["background"][:, :, None, None].to(self.dtype)
        picture = picture.expand(-1, -1, kCanvas, kCanvas)
        index = batch["sprite"].flatten()
        rgba = self.sprites[index.clamp(min=0)]
        mean = self.mean_light[index.clamp(min=0)]
        rgba = self.recolor(rgba, mean, batch["sprite_color"].flatten(0, 1))
        x, y, size = batch["sprite_box"].flatten(0, 1).unbind(-1)
        n_in = rgba.shape[-1]
        scale = size / n_in
        rows = resize_weights(y - size / 2, scale, n_in, 4).to(self.dtype)
        columns = resize_weights(x - size / 2, scale, n_in, 4).to(self.dtype)
        rows = rows * (index >= 0)[:, None, None]
        layer = rows[:, None] @ rgba @ columns.transpose(1, 2)[:, None]
        layer = layer.view(n, slots, 4, kCanvas, kCanvas)
        for k in range(slots):
            picture = picture * (1 - layer[:, k, 3:]) + layer[:, k, :3]
        # All letters of a word share their rows: spread each along the columns, sum, then the rows.
        code = batch["glyph"]
        baseline, scale = batch["text_box"].unbind(-1)
        cells = self.glyphs[code.clamp(min=0)]
        height, width = cells.shape[-2:]
        columns = resize_weights(batch["glyph_x"], scale[:, None].expand_as(batch["glyph_x"]), width, 4)
        columns = (columns * (code >= 0)[:, :, None, None]).to(self.dtype)
        rows = resize_weights(baseline - kBaseline * scale, scale, height, 4).to(self.dtype)
        strip = (cells @ columns.transpose(2, 3)).sum(1)
        ink = (rows @ strip).clamp(0, 1)[:, None]
        picture = picture * (1 - ink) + batch["text_color"][:, :, None, None].to(self.dtype) * ink
        return picture.clamp(0, 1)


def to_device(batch, device):
    return {k: torch.from_numpy(v).to(device, non_blocking=True) for k, v in batch.items()}


def slice_batch(batch, begin, end):
    return {k: v[begin:end] for k, v in batch.items()}


def join(batches):
    return {k: np.concatenate([b[k] for b in batches]) for k in batches[0]}


def save_sheet(pictures, path, columns):
    """pictures [n, 3, h, w] in [0, 1] -> one PNG."""
    from PIL import Image

    p = (pictures.detach().float().cpu().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    n, h, w, _ = p.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (h + 4), columns * (w + 4), 3), 255, np.uint8)
    for i in range(n):
        y, x = i // columns * (h + 4), i % columns * (w + 4)
        sheet[y : y + h, x : x + w] = p[i]
    Image.fromarray(sheet).save(path)
