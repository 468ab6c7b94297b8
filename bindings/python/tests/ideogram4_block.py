"""Ideogram 4's transformer blocks with random weights: the names and sizes of the published model, for tests and timings only."""

import torch
from torch import nn
from torch.nn import functional as F

import intaglio.torch

WIDTH, HEADS, HEAD_SIZE, HIDDEN, ADALN, LAYERS = 4608, 18, 256, 12288, 512, 34
ROPE_THETA, ROPE_SECTIONS = 5e6, (24, 20, 20)
IMAGE_POSITION = 65536  # of the first image token; text counts from 0
EPS = 1e-5
# Modulations have one row a picture and are not worth quantizing.
SKIP = "*adaln_modulation*"
# Modules whose input goes to linears and nowhere else.
SHARE = ("*.attention", "*.feed_forward")


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.to_q = nn.Linear(WIDTH, WIDTH, bias=False)
        self.to_k = nn.Linear(WIDTH, WIDTH, bias=False)
        self.to_v = nn.Linear(WIDTH, WIDTH, bias=False)
        self.norm_q = nn.RMSNorm(HEAD_SIZE, eps=EPS)
        self.norm_k = nn.RMSNorm(HEAD_SIZE, eps=EPS)
        self.to_out = nn.ModuleList([nn.Linear(WIDTH, WIDTH, bias=False), nn.Dropout(0.0)])

    def forward(self, hidden_states, cos, sin):
        split = (HEADS, HEAD_SIZE)
        query = rotate(self.norm_q(self.to_q(hidden_states).unflatten(-1, split)), cos, sin)
        key = rotate(self.norm_k(self.to_k(hidden_states).unflatten(-1, split)), cos, sin)
        value = self.to_v(hidden_states).unflatten(-1, split)
        heads_first = [t.transpose(1, 2) for t in (query, key, value)]
        mixed = F.scaled_dot_product_attention(*heads_first).transpose(1, 2).flatten(2)
        return self.to_out[0](mixed)


class FeedForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.w1 = nn.Linear(WIDTH, HIDDEN, bias=False)
        self.w2 = nn.Linear(HIDDEN, WIDTH, bias=False)
        self.w3 = nn.Linear(WIDTH, HIDDEN, bias=False)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class FusedFeedForward(nn.Module):
    """w1, w3 and SwiGLU as one product."""

    def __init__(self, feed_forward):
        super().__init__()
        self.w13 = intaglio.torch.Int8SwiGLU.from_linears(feed_forward.w1, feed_forward.w3)
        self.w2 = feed_forward.w2

    def forward(self, x):
        return self.w2(self.w13(x))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = Attention()
        self.feed_forward = FeedForward()
        self.attention_norm1 = nn.RMSNorm(WIDTH, eps=EPS)
        self.attention_norm2 = nn.RMSNorm(WIDTH, eps=EPS)
        self.ffn_norm1 = nn.RMSNorm(WIDTH, eps=EPS)
        self.ffn_norm2 = nn.RMSNorm(WIDTH, eps=EPS)
        self.adaln_modulation = nn.Linear(ADALN, 4 * WIDTH, bias=True)

    def forward(self, hidden, conditioning, cos, sin):
        scale1, gate1, scale2, gate2 = self.adaln_modulation(conditioning).chunk(4, dim=-1)
        attended = self.attention(self.attention_norm1(hidden) * (1 + scale1), cos, sin)
        hidden = hidden + torch.tanh(gate1) * self.attention_norm2(attended)
        forwarded = self.feed_forward(self.ffn_norm1(hidden) * (1 + scale2))
        return hidden + torch.tanh(gate2) * self.ffn_norm2(forwarded)


class Stack(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(Block() for _ in range(layers))

    def forward(self, hidden, conditioning, cos, sin):
        for layer in self.layers:
            hidden = layer(hidden, conditioning, cos, sin)
        return hidden


def rotate(x, cos, sin):
    """Rope by halves; the tables are float32."""
    first, second = x.chunk(2, dim=-1)
    return (x * cos + torch.cat((-second, first), dim=-1) * sin).to(x.dtype)


def random_stack(layers, dtype=torch.bfloat16, device="cuda", seed=0):
    # Made in its own type at once: 34 layers in float32 would not fit beside the other models.
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            stack = Stack(layers).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(default)
    generator = torch.Generator(device).manual_seed(seed)
    for name, parameter in stack.named_parameters():
        if name.endswith("adaln_modulation.bias"):
            parameter.normal_(0.0, 0.1, generator=generator)
        elif parameter.dim() == 2:
            parameter.normal_(0.0, parameter.shape[1] ** -0.5, generator=generator)
        else:  # norms
            parameter.normal_(1.0, 0.1, generator=generator)
    return stack


def random_inputs(text_tokens, grid, dtype=torch.bfloat16, device="cuda", seed=1):
    """hidden [1, L, width], conditioning [1, 1, 512], cos and sin [L, 1, head size]; L = text + height * width."""
    generator = torch.Generator(device).manual_seed(seed)
    tokens = text_tokens + grid[0] * grid[1]
    hidden = torch.randn(1, tokens, WIDTH, generator=generator, device=device).to(dtype)
    # A few channels far above the others, as trained models have: the case that row scales find hard.
    hidden[..., :: WIDTH // 8] *= 8
    conditioning = torch.randn(1, 1, ADALN, generator=generator, device=device).to(dtype)
    cos, sin = rope_tables(text_tokens, grid, device)
    return hidden, conditioning, cos, sin


def rope_tables(text_tokens, grid, device):
    """Frequency j turns by the row if j % 3 == 1, by the column if j % 3 == 2, within its section, else by time."""
    height, width = grid
    text = torch.arange(text_tokens, dtype=torch.float64).expand(3, -1)
    rows = torch.arange(height, dtype=torch.float64).repeat_interleave(width)
    columns = torch.arange(width, dtype=torch.float64).repeat(height)
    image = torch.stack((torch.zeros_like(rows), rows, columns)) + IMAGE_POSITION
    positions = torch.cat((text, image), dim=1)  # [3, L]
    j = torch.arange(HEAD_SIZE // 2)
    axis = torch.zeros_like(j)
    for number in (1, 2):
        axis[(j % 3 == number) & (j < 3 * ROPE_SECTIONS[number])] = number
    angles = positions[axis].t() * ROPE_THETA ** (-2.0 * j.double() / HEAD_SIZE)
    angles = torch.cat((angles, angles), dim=-1).unsqueeze(1)
    return angles.cos().float().to(device), angles.sin().float().to(device)


def to_int8(stack, share=True, fuse=False):
    """Replaces the stack's linears in place; the report of replace_linears."""
    if fuse:
        for layer in stack.layers:
            layer.feed_forward = FusedFeedForward(layer.feed_forward)
    # The fused feed-forward has one reader of its input: nothing to share.
    patterns = () if not share else SHARE[:1] if fuse else SHARE
    return intaglio.torch.replace_linears(stack, skip=SKIP, share=patterns)
