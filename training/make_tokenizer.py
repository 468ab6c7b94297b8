"""Trains the tokenizer on captions: writes tokenizer/ beside this file.

--extend FOLDER begins with that tokenizer: words it does not have become tokens behind its own, so that
weights trained with it can go on (train_dit.py --init).
"""

import argparse
import json
from pathlib import Path

import bpe
from checkpoint import write_json
from palette import kFonts
from scenes import SceneMaker, empty_batch, kHere, known_words

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
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--extend", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    maker = SceneMaker([[40.0] * 36] * len(kFonts))
    maker.strange = 0.0
    maker.seed(1)
    batch = empty_batch(1)
    captions = [maker.fill(batch, 0) for _ in range(60000)]
    # Every word of the tables, after a space and as the first, whatever the draw above missed.
    words = sorted(known_words())
    captions += [f"{w} {w}" for w in words] + ["user", "assistant"]
    old = bpe.Tokenizer.load(args.extend / "tokenizer.json") if args.extend else None
    layout = bpe.extend(old.layout, captions) if old else bpe.train(captions)
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
    print("not whole:", [w for w in words if len(tokenizer.encode(" " + w)) != 1])
    if old:
        changed = [t for t, i in old.vocab.items() if tokenizer.vocab.get(t) != i]
        cut = [w for w in old.vocab if w.isascii() and w.isalpha() and w.islower() and tokenizer.encode(" " + w) != old.encode(" " + w) and len(old.encode(" " + w)) == 1]
        print(f"{tokenizer.size - old.size} tokens more than {args.extend}; changed: {changed}, cut in another way: {cut}")


if __name__ == "__main__":
    main()
