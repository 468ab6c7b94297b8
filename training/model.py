"""The three networks of an Ideogram 4 checkpoint in PyTorch, with the published weight names.

Runs in float32 as the reference and under bf16 autocast for training. Row-major, batch first:
latents [B, Li, C], text features [B, Lt, F], pictures [B, 3, H, W] in [-1, 1].
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

kImagePosition = 65536  # image tokens sit at kImagePosition + (0, y, x) on the three rope axes


def attention(q, k, v, mask=None, causal=False):
    """q, k, v: [B, heads, L, d]; mask: added to the scores, broadcastable to [B, heads, L, L]."""
    if hasattr(F, "scaled_dot_product_attention"):
        mask = mask if mask is None else mask.to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if causal:
        n = q.shape[-2]
        mask = torch.full((n, n), -1e4, device=q.device).triu(1)
    if mask is not None:
        scores = scores + mask
    return scores.softmax(-1) @ v


class RmsNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)
        return y * self.weight


def rotate(x, cos, sin):
    """Rope by halves: feature j turns with feature j + d/2. cos, sin: [L, d/2]."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


# ---------------------------------------------------------------- transformer


def rope_axes(half, section):
    """Axis (0 t, 1 h, 2 w) of each of the `half` frequencies."""
    j = torch.arange(half)
    axis = torch.zeros(half, dtype=torch.long)
    axis[(j % 3 == 1) & (j < 3 * section[1])] = 1
    axis[(j % 3 == 2) & (j < 3 * section[2])] = 2
    return axis


def rope_tables(config, text_tokens, grid_h, grid_w, device):
    """cos, sin [Lt + Li, d/2] float32; angles near 65536 need float64 until the sine is taken."""
    d = config["attention_head_dim"]
    j = torch.arange(d // 2, dtype=torch.float64)
    frequency = float(config["rope_theta"]) ** (-2.0 * j / d)
    text = torch.arange(text_tokens, dtype=torch.float64)[:, None].expand(-1, 3)
    y, x = torch.meshgrid(torch.arange(grid_h), torch.arange(grid_w), indexing="ij")
    image = torch.stack([torch.zeros_like(y), y, x], -1).reshape(-1, 3).double() + kImagePosition
    position = torch.cat([text, image], 0)
    angle = position[:, rope_axes(d // 2, config["mrope_section"])] * frequency
    return angle.cos().float().to(device), angle.sin().float().to(device)


class Attention(nn.Module):
    def __init__(self, width, heads, eps):
        super().__init__()
        d = width // heads
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width, bias=False)])
        self.norm_q = RmsNorm(d, eps)
        self.norm_k = RmsNorm(d, eps)

    def forward(self, x, cos, sin, mask):
        b, n, c = x.shape
        split = (b, n, self.heads, c // self.heads)
        q, k, v = (p(x).view(split).transpose(1, 2) for p in (self.to_q, self.to_k, self.to_v))
        q = rotate(self.norm_q(q), cos, sin).to(v.dtype)
        k = rotate(self.norm_k(k), cos, sin).to(v.dtype)
        y = attention(q, k, v, mask).transpose(1, 2).reshape(b, n, c)
        return self.to_out[0](y)


class FeedForward(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.w1 = nn.Linear(width, hidden, bias=False)
        self.w2 = nn.Linear(hidden, width, bias=False)
        self.w3 = nn.Linear(width, hidden, bias=False)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Layer(nn.Module):
    def __init__(self, width, heads, hidden, adaln, eps):
        super().__init__()
        self.attention = Attention(width, heads, eps)
        self.feed_forward = FeedForward(width, hidden)
        self.attention_norm1 = RmsNorm(width, eps)
        self.attention_norm2 = RmsNorm(width, eps)
        self.ffn_norm1 = RmsNorm(width, eps)
        self.ffn_norm2 = RmsNorm(width, eps)
        self.adaln_modulation = nn.Linear(adaln, 4 * width)

    def forward(self, h, a, cos, sin, mask):
        s1, g1, s2, g2 = self.adaln_modulation(a).float()[:, None].chunk(4, -1)
        y = self.attention(self.attention_norm1(h) * (1 + s1), cos, sin, mask)
        h = h + g1.tanh() * self.attention_norm2(y)
        y = self.feed_forward(self.ffn_norm1(h) * (1 + s2))
        return h + g2.tanh() * self.ffn_norm2(y)


class TimeEmbedding(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.mlp_in = nn.Linear(width, width)
        self.mlp_out = nn.Linear(width, width)
        self.width = width

    def forward(self, t):
        half = self.width // 2
        j = torch.arange(half, device=t.device, dtype=torch.float32)
        angle = 1e4 * t.float()[:, None] * torch.exp(-math.log(1e4) * j / (half - 1))
        return self.mlp_out(F.silu(self.mlp_in(torch.cat([angle.sin(), angle.cos()], -1))))


class FinalLayer(nn.Module):
    def __init__(self, width, channels, adaln):
        super().__init__()
        self.linear = nn.Linear(width, channels)
        self.adaln_modulation = nn.Linear(adaln, width)

    def forward(self, h, a):
        scale = 1 + self.adaln_modulation(F.silu(a)).float()[:, None]
        h = F.layer_norm(h.float(), h.shape[-1:], eps=1e-6) * scale
        return self.linear(h)


class Transformer(nn.Module):
    """forward(x, t, grid, text, text_mask) -> velocity [B, Li, C]. text None = unconditional.

    text_mask [B, Lt] bool marks real tokens; None means that all are real (no padding).
    """

    def __init__(self, config):
        super().__init__()
        self.config = dict(config)
        heads = config["num_attention_heads"]
        width = heads * config["attention_head_dim"]
        adaln, channels = config["adaln_dim"], config["in_channels"]
        text = config["llm_features_dim"]
        self.input_proj = nn.Linear(channels, width)
        self.llm_cond_norm = RmsNorm(text, 1e-6)
        self.llm_cond_proj = nn.Linear(text, width)
        self.embed_image_indicator = nn.Embedding(2, width)
        self.t_embedding = TimeEmbedding(width)
        self.adaln_proj = nn.Linear(width, adaln)
        self.layers = nn.ModuleList(
            Layer(width, heads, config["intermediate_size"], adaln, config["norm_eps"])
            for _ in range(config["num_layers"])
        )
        self.final_layer = FinalLayer(width, channels, adaln)
        self.rope_cache = {}

    def rope(self, text_tokens, grid, device):
        key = (text_tokens, *grid, str(device))
        if key not in self.rope_cache:
            self.rope_cache[key] = rope_tables(self.config, text_tokens, *grid, device)
        return self.rope_cache[key]

    def init_weights(self):
        """Gates start near tanh(0.3) so that every layer passes gradient; the output starts at zero."""
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.trunc_normal_(m.weight, std=m.in_features**-0.5)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
        for layer in self.layers:
            nn.init.normal_(layer.adaln_modulation.weight, std=0.02)
            bias = torch.zeros(4, layer.adaln_modulation.out_features // 4)
            bias[1] = bias[3] = 0.3
            layer.adaln_modulation.bias.data.copy_(bias.flatten())
        nn.init.normal_(self.embed_image_indicator.weight, std=0.1)
        nn.init.zeros_(self.final_layer.adaln_modulation.weight)
        nn.init.zeros_(self.final_layer.linear.weight)

    def forward(self, x, t, grid, text=None, text_mask=None):
        tag = self.embed_image_indicator.weight
        h = (self.input_proj(x) + tag[1]).float()
        n_text, mask = 0, None
        if text is not None:
            n_text = text.shape[1]
            h_text = (self.llm_cond_proj(self.llm_cond_norm(text)) + tag[0]).float()
            h = torch.cat([h_text, h], 1)
            if text_mask is not None:
                # Added, not boolean, and never expanded: fused kernels then read B * L numbers.
                mask = torch.cat([text_mask, text_mask.new_ones(x.shape[:2])], 1)
                mask = (~mask).float()[:, None, None] * -1e4
        a = F.silu(self.adaln_proj(self.t_embedding(t)))
        cos, sin = self.rope(n_text, grid, x.device)
        for layer in self.layers:
            h = layer(h, a, cos, sin, mask)
        return self.final_layer(h[:, n_text:], a)


# ---------------------------------------------------------------- text encoder


class QwenAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        width, d = c["hidden_size"], c["head_dim"]
        self.heads, self.kv_heads, self.d = c["num_attention_heads"], c["num_key_value_heads"], d
        self.q_proj = nn.Linear(width, self.heads * d, bias=False)
        self.k_proj = nn.Linear(width, self.kv_heads * d, bias=False)
        self.v_proj = nn.Linear(width, self.kv_heads * d, bias=False)
        self.o_proj = nn.Linear(self.heads * d, width, bias=False)
        self.q_norm = RmsNorm(d, c["rms_norm_eps"])
        self.k_norm = RmsNorm(d, c["rms_norm_eps"])

    def forward(self, x, cos, sin):
        b, n, _ = x.shape
        q = self.q_proj(x).view(b, n, self.heads, self.d).transpose(1, 2)
        k = self.k_proj(x).view(b, n, self.kv_heads, self.d).transpose(1, 2)
        v = self.v_proj(x).view(b, n, self.kv_heads, self.d).transpose(1, 2)
        q = rotate(self.q_norm(q), cos, sin).to(v.dtype)
        k = rotate(self.k_norm(k), cos, sin).to(v.dtype)
        group = self.heads // self.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        y = attention(q, k, v, causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(b, n, -1))


class QwenMlp(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class QwenLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.self_attn = QwenAttention(c)
        self.mlp = QwenMlp(c["hidden_size"], c["intermediate_size"])
        self.input_layernorm = RmsNorm(c["hidden_size"], c["rms_norm_eps"])
        self.post_attention_layernorm = RmsNorm(c["hidden_size"], c["rms_norm_eps"])

    def forward(self, h, cos, sin):
        h = h + self.self_attn(self.input_layernorm(h), cos, sin)
        return h + self.mlp(self.post_attention_layernorm(h))


class QwenModel(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(QwenLayer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = RmsNorm(c["hidden_size"], c["rms_norm_eps"])


class TextEncoder(nn.Module):
    """forward(ids [B, n]) -> features [B, n, width * taps], taps interleaved fastest.

    Causal, so tokens padded on the right never reach the real ones. The final norm belongs to the
    published file but is never used.
    """

    def __init__(self, config, taps):
        super().__init__()
        self.config = dict(config)
        self.taps = list(taps)
        self.language_model = QwenModel(config["text_config"])
        self.rope_cache = {}

    def init_weights(self):
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.trunc_normal_(m.weight, std=0.7 * m.in_features**-0.5)
            if isinstance(m, nn.Embedding):
                nn.init.normal_(m.weight, std=0.5)

    def rope(self, n, device):
        key = (n, str(device))
        if key not in self.rope_cache:
            c = self.config["text_config"]
            d = c["head_dim"]
            theta = float(c["rope_parameters"]["rope_theta"])
            frequency = theta ** (-2.0 * torch.arange(d // 2, dtype=torch.float64) / d)
            angle = torch.arange(n, dtype=torch.float64)[:, None] * frequency
            self.rope_cache[key] = (angle.cos().float().to(device), angle.sin().float().to(device))
        return self.rope_cache[key]

    def forward(self, ids):
        h = self.language_model.embed_tokens(ids).float()
        cos, sin = self.rope(ids.shape[1], ids.device)
        tapped = {}
        for i, layer in enumerate(self.language_model.layers):
            h = layer(h, cos, sin)
            tapped[i] = h
        return torch.stack([tapped[i] for i in self.taps], -1).flatten(2)
