"""Trains the tokenizer on captions: writes tokenizer/ beside this file."""

import json
import random
from pathlib import Path

import bpe
from checkpoint import write_json
from palette import kBackgrounds, kBackgroundWords, kColors, kFonts, kStyles, kStyleWords
from scenes import SceneMaker, empty_batch, kHere, load_objects

kTemplate = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' }}{%- for c in m.content %}"
    "{{- c.text }}{%- endfor %}{{- '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
kConfig = {
    "backend": "tokenizers",
    "clean_up_tokenization_spaces": False,
    "eos_token": "<|im_end|>",
    "extra_special_tokens": ["<|im_start|>", "<|im_end|>"],
    "model_max_length": 2048,
    "pad_token": "<|endoftext|>",
    "tokenizer_class": "TokenizersBackend",
}


def main():
    maker = SceneMaker([[40.0] * 36] * len(kFonts))
    maker.rng = random.Random(1)
    captions = [maker.fill(empty_batch(1), 0) for _ in range(60000)]
    # Every word of the lists, after a space, whatever the draw above missed.
    named = [*load_objects(), *kBackgrounds, *kColors, *kStyles, *kFonts]
    named += sum(kBackgroundWords.values(), []) + sum(kStyleWords, [])
    captions += [f"a {n}" for n in named] + ["user", "assistant"]
    layout = bpe.train(captions)
    out = kHere / "tokenizer"
    out.mkdir(exist_ok=True)
    (out / "tokenizer.json").write_text(json.dumps(layout, ensure_ascii=False, indent=1) + "\n")
    write_json(out / "tokenizer_config.json", kConfig)
    (out / "chat_template.jinja").write_text(kTemplate)
    tokenizer = bpe.Tokenizer(layout)
    lengths = sorted(len(tokenizer.encode_prompt(c)) for c in captions[:20000])
    short = sum(n <= 48 for n in lengths) / len(lengths)
    print(f"{tokenizer.size} tokens; lengths median {lengths[10000]}, 99% {lengths[19800]}, ", end="")
    print(f"longest {lengths[-1]}; up to 48: {short:.3f}; up to 128: {sum(n <= 128 for n in lengths) / 20000:.4f}")
    split = [n for n in named for w in n.split() if len(tokenizer.encode(" " + w)) != 1]
    print("not whole:", split)


if __name__ == "__main__":
    main()
