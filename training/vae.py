"""The FLUX.2 autoencoder, encoder and decoder, with the published weight names."""

import torch
import torch.nn.functional as F
from torch import nn

from model import attention


def group_norm_silu(x, weight, bias, groups, eps):
    """silu(group_norm(x)), channels-last friendly and with float32 sums; a compiler fuses it whole."""
    b, c, h, w = x.shape
    y = x.permute(0, 2, 3, 1).reshape(b, h * w, groups, c // groups).float()
    # Both sums in one pass over the data; float32 leaves room enough for the difference.
    mean = y.mean((1, 3), keepdim=True)
    var = (y.square().mean((1, 3), keepdim=True) - mean.square()).clamp(min=0)
    y = (y - mean) * torch.rsqrt(var + eps)
    y = y.reshape(b, h, w, c) * weight + bias
    return F.silu(y).to(x.dtype).permute(0, 3, 1, 2)


def group_norm_silu_plain(x, weight, bias, groups, eps):
    return F.silu(F.group_norm(x, groups, weight, bias, eps))


class NormSilu(nn.GroupNorm):
    """GroupNorm followed by SiLU; `kernel` may be replaced by a compiled version."""

    kernel = staticmethod(group_norm_silu_plain)

    def forward(self, x):
        return NormSilu.kernel(x, self.weight, self.bias, self.num_groups, self.eps)


class Resnet(nn.Module):
    def __init__(self, c_in, c_out, groups):
        super().__init__()
        self.norm1 = NormSilu(groups, c_in, eps=1e-6)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2 = NormSilu(groups, c_out, eps=1e-6)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        if c_in != c_out:
            self.conv_shortcut = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x):
        y = self.conv2(self.norm2(self.conv1(self.norm1(x))))
        return y + (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x)


class MidAttention(nn.Module):
    def __init__(self, c, groups):
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, c, eps=1e-6)
        self.to_q = nn.Linear(c, c)
        self.to_k = nn.Linear(c, c)
        self.to_v = nn.Linear(c, c)
        self.to_out = nn.ModuleList([nn.Linear(c, c)])

    def forward(self, x):
        b, c, h, w = x.shape
        y = self.group_norm(x).flatten(2).transpose(1, 2)
        q, k, v = (p(y)[:, None] for p in (self.to_q, self.to_k, self.to_v))
        y = self.to_out[0](attention(q, k, v)[:, 0])
        return x + y.transpose(1, 2).reshape(b, c, h, w)


class MidBlock(nn.Module):
    def __init__(self, c, groups, attend):
        super().__init__()
        self.attentions = nn.ModuleList([MidAttention(c, groups)] if attend else [])
        self.resnets = nn.ModuleList([Resnet(c, c, groups), Resnet(c, c, groups)])

    def forward(self, x):
        x = self.resnets[0](x)
        for a in self.attentions:
            x = a(x)
        return self.resnets[1](x)


class Downsample(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, stride=2)

    def forward(self, x):
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Block(nn.Module):
    def __init__(self, c_in, c_out, layers, groups, down=False, up=False):
        super().__init__()
        self.resnets = nn.ModuleList(
            Resnet(c_in if i == 0 else c_out, c_out, groups) for i in range(layers)
        )
        if down:
            self.downsamplers = nn.ModuleList([Downsample(c_out)])
        if up:
            self.upsamplers = nn.ModuleList([Upsample(c_out)])

    def forward(self, x):
        for r in self.resnets:
            x = r(x)
        for name in ("downsamplers", "upsamplers"):
            for s in getattr(self, name, []):
                x = s(x)
        return x


class Encoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        widths, groups = c["block_out_channels"], c["norm_num_groups"]
        self.conv_in = nn.Conv2d(c["in_channels"], widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            Block(widths[max(i - 1, 0)], w, c["layers_per_block"], groups, down=i + 1 < len(widths))
            for i, w in enumerate(widths)
        )
        self.mid_block = MidBlock(widths[-1], groups, c["mid_block_add_attention"])
        self.conv_norm_out = NormSilu(groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], 2 * c["latent_channels"], 3, padding=1)

    def forward(self, x):
        x = self.conv_in(x)
        for b in self.down_blocks:
            x = b(x)
        return self.conv_out(self.conv_norm_out(self.mid_block(x)))


class Decoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        widths = c.get("decoder_block_out_channels") or c["block_out_channels"]
        widths, groups = list(reversed(widths)), c["norm_num_groups"]
        self.conv_in = nn.Conv2d(c["latent_channels"], widths[0], 3, padding=1)
        self.mid_block = MidBlock(widths[0], groups, c["mid_block_add_attention"])
        n = c["layers_per_block"] + 1
        self.up_blocks = nn.ModuleList(
            Block(widths[max(i - 1, 0)], w, n, groups, up=i + 1 < len(widths))
            for i, w in enumerate(widths)
        )
        self.conv_norm_out = NormSilu(groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], c["out_channels"], 3, padding=1)

    def forward(self, x):
        x = self.mid_block(self.conv_in(x))
        for b in self.up_blocks:
            x = b(x)
        return self.conv_out(self.conv_norm_out(x))


class PackedStats(nn.Module):
    """The `bn` buffers: mean and variance of each packed latent channel."""

    def __init__(self, channels):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.int64))


def pack(z):
    """[B, c, 2h, 2w] -> [B, h*w, 4c], channel order (dy, dx, c)."""
    b, c, h, w = z.shape
    z = z.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1)
    return z.reshape(b, h * w // 4, 4 * c)


def unpack(x, grid):
    b, _, c4 = x.shape
    h, w = grid
    x = x.reshape(b, h, w, 2, 2, c4 // 4).permute(0, 5, 1, 3, 2, 4)
    return x.reshape(b, c4 // 4, 2 * h, 2 * w)


class Vae(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = dict(config)
        c = config["latent_channels"]
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * c, 2 * c, 1)
        self.post_quant_conv = nn.Conv2d(c, c, 1)
        self.bn = PackedStats(4 * c)

    def encode(self, x):
        """Picture in [-1, 1] -> mean, log variance, each [B, c, H/8, W/8]."""
        return self.quant_conv(self.encoder(x)).float().chunk(2, 1)

    def decode(self, z):
        """Latent [B, c, H/8, W/8] -> picture before the clamp, [-1, 1]."""
        return self.decoder(self.post_quant_conv(z))

    def normalise(self, z):
        """[B, c, 2h, 2w] -> packed and normalised [B, h*w, 4c]."""
        eps = self.config["batch_norm_eps"]
        return (pack(z) - self.bn.running_mean) / (self.bn.running_var + eps).sqrt()

    def denormalise(self, x, grid):
        eps = self.config["batch_norm_eps"]
        return unpack(x * (self.bn.running_var + eps).sqrt() + self.bn.running_mean, grid)
