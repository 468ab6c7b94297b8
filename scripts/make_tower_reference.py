#!/usr/bin/env python3
"""Makes tests/reference/towers: small models with random weights, inputs, and what the published code computes of them.

  make_tower_reference.py PUBLISHED_FOLDER OUT_FOLDER

PUBLISHED_FOLDER holds the packages `lpips` (richzhang/PerceptualSimilarity) and `ImageReward` (THUDM/ImageReward) as they are published. CLIP is that of the
installed `transformers`. Needs torch, torchvision, transformers, safetensors, numpy and Pillow. What those packages import beside their towers is replaced by
stand-ins, so nothing else need be installed.
"""

import collections
import importlib.machinery
import json
import sys
import traceback
import types
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

PROMPTS = ["a red fox", "A Photo, of  two DOGS!! running;  it's 3:45pm", "café naïve Ünïcöde — “quotes” … 東京 タワー e\u0301te", "",
           "they're I'll 'S don't [MASK] <|endoftext|> tail [ENC]", "emoji 🦊 \u0130stanbul ΣΊΣΥΦΟΣ \t\n x²½Ⅷ a_b-c $5 \u00adsoft\u200bzero",
           "the quick brown fox jumps over the lazy dog " * 12]
WORDS = "photo of the a red fox running dogs quick brown jumps over lazy dog don they re ll it s tail cafe emoji quotes unicode tower soft zero".split()
SIZES = [(96, 96), (61, 90), (224, 131), (50, 40)]  # height, width


def picture(height, width, seed):
    """Waves with noise, uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x * random.uniform(.02, .3) + random.uniform(0, 6)) * np.cos(y * random.uniform(.02, .3)) for _ in range(3)]
    return np.clip(128 + 80 * np.stack(waves, -1) + 30 * random.standard_normal((height, width, 3)), 0, 255).astype(np.uint8)


def randomize(model, seed):
    """Weights that keep activations near 1, each one a bf16 number."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim >= 2:
                table = "embed" in name and value.ndim != 4
                value.normal_(0, .5 if table else 1 / value[0].numel()**.5)
            elif value.ndim == 1 and name.endswith("weight"):
                value.normal_(1, .2)
            elif value.ndim == 1:
                value.normal_(0, .2)
            value.copy_(value.bfloat16().float())


def as_bf16(tensors):
    return {name: value.contiguous().bfloat16() if value.is_floating_point() else value.contiguous() for name, value in tensors.items()}


def write_expected(folder, tensors, notes=None):
    tensors = {name: torch.as_tensor(value).contiguous() for name, value in tensors.items()}
    save_file(tensors, str(folder / "expected.safetensors"))
    if notes is not None:
        (folder / "expected.json").write_text(json.dumps(notes, ensure_ascii=False, indent=1) + "\n")


def module(name, **contents):
    made = types.ModuleType(name)
    made.__dict__.update(contents)
    made.__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.modules[name] = made


# --- resizing

def make_resize(folder):
    tensors = {}
    for i, (height, width) in enumerate(SIZES):
        pixels = picture(height, width, 10 + i)
        tensors[f"picture.{i}"] = pixels
        for h, w in ((32, 45), (70, 33), (120, 100))[:3 if i < 2 else 2]:
            tensors[f"resized.{i}.{h}x{w}"] = np.asarray(Image.fromarray(pixels).resize((w, h), Image.BICUBIC))
    write_expected(folder, tensors)


# --- CLIP

def merge_table(words, count):
    """Byte pairs of lower-case words, the most frequent first; the last letter of a word carries its end."""
    parts = [list(word[:-1]) + [word[-1] + "</w>"] for word in words]
    merges = []
    for _ in range(count):
        pairs = collections.Counter(pair for word in parts for pair in zip(word, word[1:]))
        if not pairs:
            break
        (left, right), _ = max(pairs.items(), key=lambda item: (item[1], item[0]))
        merges.append((left, right))
        for word in parts:
            i = 0
            while i + 1 < len(word):
                if (word[i], word[i + 1]) == (left, right):
                    word[i:i + 2] = [left + right]
                i += 1
    return merges


def write_clip_tokenizer(folder):
    printable = [c for c in range(256) if 33 <= c <= 126 or 161 <= c <= 172 or 174 <= c <= 255]
    alphabet = [chr(c) for c in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    merges = merge_table(WORDS, 90)
    tokens = alphabet + [c + "</w>" for c in alphabet] + ["".join(pair) for pair in merges] + ["<|startoftext|>", "<|endoftext|>"]
    assert len(set(tokens)) == len(tokens)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    return len(tokens)


def make_clip(folder, seed, act, vision, text, projection, image, patch, legacy_eos):
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
    count = write_clip_tokenizer(folder)
    tokenizer = CLIPTokenizer.from_pretrained(str(folder))
    config = CLIPConfig(
        projection_dim=projection,
        text_config=dict(vocab_size=count, hidden_act=act, projection_dim=projection, bos_token_id=count - 2, eos_token_id=2 if legacy_eos else count - 1, pad_token_id=count - 1, **text),
        vision_config=dict(hidden_act=act, projection_dim=projection, image_size=image, patch_size=patch, **vision))
    config._attn_implementation = "eager"
    model = CLIPModel(config).eval()
    randomize(model, seed)
    with torch.no_grad():
        model.logit_scale.fill_(torch.tensor(4.6052).bfloat16().float())
    model.save_pretrained(str(folder))
    save_file(as_bf16(load_file(str(folder / "model.safetensors"))), str(folder / "model.safetensors"), {"format": "pt"})
    processor = {"crop_size": {"height": image, "width": image}, "size": {"shortest_edge": image}, "do_center_crop": True, "do_normalize": True, "do_resize": True, "do_rescale": True,
                 "resample": 3, "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711], "image_processor_type": "CLIPImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=1) + "\n")
    from transformers import CLIPImageProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    # The one of torchvision and the one of Pillow.
    makers = {"pixels": CLIPImageProcessor.from_pretrained(str(folder)), "pixels_pil": CLIPImageProcessorPil.from_pretrained(str(folder))}
    tensors, notes = {}, {"prompts": PROMPTS, "ids": []}
    for i, (height, width) in enumerate(SIZES):
        pixels = picture(height, width, 100 * seed + i)
        tensors[f"picture.{i}"] = pixels
        for key, maker in makers.items():
            tensors[f"{key}.{i}"] = maker(images=Image.fromarray(pixels), return_tensors="pt")["pixel_values"][0]
    stacked = torch.stack([tensors[f"pixels.{i}"] for i in range(len(SIZES))])
    with torch.no_grad():
        seen = model.vision_model(pixel_values=stacked)
        tensors["image_pooled"] = seen.pooler_output
        tensors["image_embeds"] = model.visual_projection(seen.pooler_output)
        for i, prompt in enumerate(PROMPTS):
            inputs = tokenizer(prompt, padding=True, truncation=True, max_length=text["max_position_embeddings"], return_tensors="pt")
            notes["ids"].append(inputs["input_ids"][0].tolist())
            read = model.text_model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
            tensors[f"text_embeds.{i}"] = model.text_projection(read.pooler_output)[0]
            tensors[f"logits.{i}"] = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], pixel_values=stacked).logits_per_image[:, 0]
    write_expected(folder, tensors, notes)


# --- LPIPS

def features(kernels, channels, pools, strides):
    layers, before = [], 3
    for i, (kernel, channel) in enumerate(zip(kernels, channels)):
        if i in pools:
            layers.append(nn.MaxPool2d(*pools[i]))
        stride, padding = strides.get(i, (1, kernel // 2))
        layers += [nn.Conv2d(before, channel, kernel, stride, padding), nn.ReLU(inplace=True)]
        before = channel
    return types.SimpleNamespace(features=nn.Sequential(*layers))


def make_lpips(folder, published):
    from torchvision import models
    # The towers' own layer lists have fixed widths; of small ones, the list is given to the published code in their place.
    small = {"alex": (features((11, 5, 3, 3, 3), (8, 12, 10, 14, 6), {1: (3, 2), 2: (3, 2)}, {0: (4, 2)}), (8, 12, 10, 14, 6)),
             "vgg": (features((3,) * 13, (4, 4, 6, 6, 8, 8, 8, 10, 10, 10, 6, 6, 6), {2: (2, 2), 4: (2, 2), 7: (2, 2), 10: (2, 2)}, {}), (4, 6, 8, 10, 6))}
    # Where pooling stands in the published lists, checked here.
    for name, full in (("alex", models.alexnet(weights=None)), ("vgg", models.vgg16(weights=None))):
        ours = [(type(l).__name__, getattr(l, "kernel_size", 0), getattr(l, "stride", 0), getattr(l, "padding", 0)) for l in small[name][0].features]
        theirs = [(type(l).__name__, getattr(l, "kernel_size", 0), getattr(l, "stride", 0), getattr(l, "padding", 0)) for l in full.features][:len(ours)]
        assert ours == theirs, (ours, theirs)
    models.alexnet = lambda pretrained=False: small["alex"][0]
    models.vgg16 = lambda pretrained=False: small["vgg"][0]
    sys.path.insert(0, str(published))
    module("lpips.trainer")
    import lpips
    tensors = {}
    pairs = []
    for i, (height, width) in enumerate(((64, 64), (70, 93), (131, 77))):
        a = picture(height, width, 40 + i)
        b = np.clip(a.astype(float) + 12 * np.random.default_rng(i).standard_normal(a.shape), 0, 255).astype(np.uint8)
        pairs.append((a, b))
        tensors[f"a.{i}"], tensors[f"b.{i}"] = a, b
    for seed, net in enumerate(("alex", "vgg")):
        model = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
        for i, channel in enumerate(small[net][1]):
            layer = lpips.lpips.NetLinLayer(channel, use_dropout=True)
            setattr(model, f"lin{i}", layer)
            model.lins[i] = layer
        model.eval()
        randomize(model, 60 + seed)
        with torch.no_grad():
            for layer in model.lins:
                layer.model[1].weight.abs_()
        state = {f"features.{key}": value for key, value in small[net][0].features.state_dict().items()}
        heads = {key: value for key, value in model.state_dict().items() if key.startswith("lin") and not key.startswith("lins")}
        if net == "alex":
            save_file(as_bf16(state), str(folder / "alex.safetensors"))
            save_file(as_bf16(heads), str(folder / "alex_lin.safetensors"))
        else:
            whole = {key: value.float().contiguous() for key, value in model.state_dict().items() if not key.startswith("lins.")}
            save_file(whole, str(folder / "vgg.safetensors"))
        with torch.no_grad():
            for i, pair in enumerate(pairs):
                first, second = (torch.from_numpy(p).permute(2, 0, 1)[None].float() / 127.5 - 1 for p in pair)
                total, layers = model(first, second, retPerLayer=True)
                tensors[f"{net}.{i}"] = torch.stack([total.flatten()[0]] + [layer.flatten()[0] for layer in layers])
    write_expected(folder, tensors)


# --- ImageReward

class Stand(nn.Module):
    """The little of transformers' PreTrainedModel that BERT's towers call."""

    def __init__(self, config):
        super().__init__()
        self.config = config

    def init_weights(self):
        pass

    @property
    def dtype(self):
        return torch.float32

    def get_head_mask(self, mask, layers):
        return [None] * layers

    def invert_attention_mask(self, mask):
        return (1 - mask[:, None, None, :].float()) * -10000


class Patches(nn.Module):
    """What timm calls PatchEmbed: a convolution whose stride is its kernel."""

    def __init__(self, img_size, patch_size, in_chans, embed_dim):
        super().__init__()
        self.num_patches = (img_size // patch_size)**2
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, patch_size)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


def import_image_reward(published):
    import transformers
    import transformers.modeling_outputs as outputs
    import transformers.modeling_utils as utils
    nothing = lambda *_, **__: None
    for name in ("timm", "timm.models", "fairscale", "fairscale.nn", "fairscale.nn.checkpoint"):
        module(name, __path__=[])
    module("timm.models.hub", download_cached_file=nothing)
    module("timm.models.vision_transformer", _cfg=nothing, PatchEmbed=Patches)
    module("timm.models.registry", register_model=nothing)
    module("timm.models.layers", trunc_normal_=nn.init.trunc_normal_, DropPath=lambda rate: nn.Identity())
    module("timm.models.helpers", named_apply=nothing, adapt_input_conv=nothing)
    module("fairscale.nn.checkpoint.checkpoint_activations", checkpoint_wrapper=nothing)
    module("transformers.file_utils", ModelOutput=transformers.utils.ModelOutput)
    utils.PreTrainedModel = Stand
    utils.apply_chunking_to_forward = lambda function, size, dim, *inputs: function(*inputs)
    for name in ("find_pruneable_heads_and_indices", "prune_linear_layer"):
        setattr(utils, name, nothing)
    for name in ("CausalLMOutputWithCrossAttentions", "MaskedLMOutput", "MultipleChoiceModelOutput", "NextSentencePredictorOutput", "QuestionAnsweringModelOutput",
                 "SequenceClassifierOutput", "TokenClassifierOutput"):
        if not hasattr(outputs, name):
            setattr(outputs, name, object)
    for name, path in (("ImageReward", "ImageReward"), ("ImageReward.models", "ImageReward/models"), ("ImageReward.models.BLIP", "ImageReward/models/BLIP")):
        module(name, __path__=[str(published / path)])
    import ImageReward.ImageReward as reward
    import ImageReward.models.BLIP.med as med
    import ImageReward.models.BLIP.vit as vit
    return reward, med, vit


def write_bert_vocab(folder):
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    words = ["photo", "running", "quick", "##ning", "run", "dog", "##s", "fox", "the", "of", "a", "red", "cafe", "un", "##ico", "##de", "—", "“", "”", "…", "東", "ete", "x", "##²", "istanbul"]
    tokens = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + letters + ["##" + c for c in letters if c.isalnum()] + words
    tokens = list(dict.fromkeys(tokens))
    (folder / "vocab.txt").write_text("".join(token + "\n" for token in tokens), encoding="utf-8")
    return len(tokens)


def make_image_reward(folder, published):
    from transformers import BertTokenizer
    count = write_bert_vocab(folder)
    tokenizer = BertTokenizer.from_pretrained(str(folder))
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    reward, med, vit = import_image_reward(published)
    keys = {"architectures": ["BertModel"], "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 48, "initializer_range": 0.02,
            "intermediate_size": 96, "layer_norm_eps": 1e-12, "max_position_embeddings": 64, "model_type": "bert", "num_attention_heads": 3, "num_hidden_layers": 2, "pad_token_id": 0,
            "type_vocab_size": 2, "vocab_size": count + 2, "encoder_width": 768, "add_cross_attention": True}
    (folder / "med_config.json").write_text(json.dumps(keys, indent=1) + "\n")
    config = types.SimpleNamespace(**{**keys, "encoder_width": 128}, chunk_size_feed_forward=0, output_attentions=False, output_hidden_states=False, use_return_dict=True, use_cache=True,
                                   is_decoder=False, position_embedding_type="absolute")
    model = reward.ImageReward.__new__(reward.ImageReward)
    nn.Module.__init__(model)
    model.device = "cpu"
    model.blip = nn.Module()
    model.blip.visual_encoder = vit.VisionTransformer(img_size=64, patch_size=16, embed_dim=128, depth=2, num_heads=2, mlp_ratio=1)
    model.blip.text_encoder = med.BertModel(config=config, add_pooling_layer=False)
    model.mlp = reward.MLP(48)
    model.mean, model.std = 0.16717362830052426, 1.0333394966054072
    model.eval()
    randomize(model, 80)
    with torch.no_grad():
        for name, value in model.mlp.named_parameters():
            if value.ndim == 2:
                value.mul_(2)
    save_file(as_bf16(dict(model.state_dict())), str(folder / "model.safetensors"))
    transform = reward._transform(64)
    tensors, notes = {}, {"prompts": PROMPTS, "ids": [], "scores": []}
    seen = []
    for i, (height, width) in enumerate(SIZES):
        pixels = picture(height, width, 800 + i)
        tensors[f"picture.{i}"] = pixels
        tensors[f"pixels.{i}"] = transform(Image.fromarray(pixels))
        seen.append(tensors[f"pixels.{i}"])
    seen = torch.stack(seen)
    with torch.no_grad():
        tensors["image_states"] = model.blip.visual_encoder(seen)[:2]
        for i, prompt in enumerate(PROMPTS):
            inputs = tokenizer(prompt, padding="max_length", truncation=True, max_length=35, return_tensors="pt")
            ids, mask = inputs["input_ids"], inputs["attention_mask"]
            notes["ids"].append(ids[0][:int(mask.sum())].tolist())
            ids, mask = ids.expand(len(SIZES), -1), mask.expand(len(SIZES), -1)
            tensors[f"rewards.{i}"] = model.score_gard(ids, mask, seen)[:, 0]
    write_expected(folder, tensors, notes)


def main():
    published, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    import PIL
    import torchvision
    import transformers
    print("torch", torch.__version__, "torchvision", torchvision.__version__, "transformers", transformers.__version__, "Pillow", PIL.__version__)
    torch.set_grad_enabled(False)
    jobs = {
        "resize": make_resize,
        "clip": lambda folder: make_clip(folder, 1, "quick_gelu", dict(hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=3),
                                         dict(hidden_size=40, intermediate_size=80, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=77), 32, 42, 14, True),
        "pickscore": lambda folder: make_clip(folder, 2, "gelu", dict(hidden_size=40, intermediate_size=72, num_hidden_layers=3, num_attention_heads=2),
                                              dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=77), 24, 32, 8, False),
        "lpips": lambda folder: make_lpips(folder, published),
        "image_reward": lambda folder: make_image_reward(folder, published),
    }
    failed = 0
    for name, make in jobs.items():
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        try:
            make(folder)
        except Exception:
            traceback.print_exc()
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
