"""Beginning with the weights of an exported checkpoint, also where the vocabulary has grown since."""

import torch

from bpe import Tokenizer, kAdded
from checkpoint import load_weights, read_safetensors
from common import fail
from scenes import kHere

kFolders = ["text_encoder", "transformer", "unconditional_transformer"]
kEmbedding = "language_model.embed_tokens.weight"


def old_pieces(before, now):
    """For each id of tokenizer `now`, the ids that `before` cuts the same bytes into."""
    names = {i: t for t, i in now.vocab.items()}
    out = []
    for i in range(now.size):
        if i in names:
            whole = before.vocab.get(names[i])  # text may be cut otherwise, but the row is its own
            out.append([whole] if whole is not None else before.merge_parts(list(names[i])))
        else:
            (content,) = (c for c in kAdded if now.added.get(c) == i)
            out.append([before.added[content]])
    return out


def grown_embedding(rows, before, now, spread=0.05):
    """Rows of `now`'s tokens from those of `before`: itself, or the mean of its pieces and a little noise."""
    out = torch.empty(now.size, rows.shape[1])
    generator = torch.Generator().manual_seed(3)
    noise = spread * rows.std() * torch.randn(out.shape, generator=generator)
    for i, pieces in enumerate(old_pieces(before, now)):
        out[i] = rows[pieces].mean(0) + (noise[i] if len(pieces) > 1 else 0)
    return out


def warm_start(nets, folder):
    """Weights of an exported checkpoint; sizes must be the same, tokens are known by their bytes."""
    try:
        before = Tokenizer.load(folder / "tokenizer" / "tokenizer.json")
        now = Tokenizer.load(kHere / "tokenizer" / "tokenizer.json")
        for net, name in zip(nets, kFolders):
            if name == "text_encoder":
                (path,) = (folder / name).glob("*.safetensors")
                tensors = {k: v.float() for k, v in read_safetensors(path)[0].items()}
                tensors[kEmbedding] = grown_embedding(tensors[kEmbedding], before, now)
                net.load_state_dict(tensors)
            else:
                load_weights(net, folder / name)
            net.train()
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        fail(f"--init {folder}: {error}")
