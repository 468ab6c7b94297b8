#!/usr/bin/env python3
"""Whether ComfyUI and diffusers load what `intaglio quantize` writes, with the same linears.

  scripts/check_loaders.py INTAGLIO --comfyui DIR --comfy-kitchen DIR --diffusers DIR --sdnq DIR [--json FILE]

The folders are checkouts of the four projects; the Python that runs this needs PyTorch and what they import. Small models are quantized by every
scheme, loaded by comfy.sd.load_diffusion_model and by from_pretrained, and every linear is compared:

  same      the linears that are int8 there are those that the file has as I8, turned in the same groups; nothing is missing or left over
  weight    largest difference of its dequantized weight from q * scale, turned back, in F64, over the largest weight
  product   relative difference (L2) of its int8 product of random rows from the same computed in integers and F64: a rounding to the other side
            in the rotation moves one code by one. SDNQ multiplies as floats where a size is below 32 or no multiple of 16: so does this
  adapter   relative difference (L2) of a weight from the source's with the adapter merged in floats: a rounding to int8
  verify    `intaglio verify` of rows of its weight and of their products: this engine's reading against its

ComfyUI knows one size of Ideogram 4 and of Z-Image: it is told those of smaller models, nothing else of it is replaced. `--preload FILE` runs a file
first, for stand-ins where a library that is imported is missing or old.
"""

import argparse
import json
import logging
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np

WEIGHT_TOLERANCE, FLOAT_TOLERANCE, PRODUCT_TOLERANCE = 2e-6, 2e-5, 1e-3
ADAPTED, ADAPTER_TOLERANCE = "layers.0.feed_forward.w1", 0.02
ROWS = 33  # SDNQ's int8 product begins at 32
TYPES = {"F32": np.float32, "I8": np.int8, "U8": np.uint8, "BF16": np.uint16, "I32": np.int32, "F16": np.float16}

# ---------------------------------------------------------------- files


def read_header(path):
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return header, 8 + size


class File:
    def __init__(self, path):
        self.path = path
        self.tensors, self.begin = read_header(path)

    def array(self, name):
        entry = self.tensors[name]
        first, last = entry["data_offsets"]
        raw = np.fromfile(self.path, np.uint8, last - first, offset=self.begin + first).view(TYPES[entry["dtype"]])
        if entry["dtype"] == "BF16":
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.reshape(entry["shape"])


def write_file(path, tensors):
    header, at = {}, 0
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            file.write(data)


def numbers(array):
    kind = {"float32": "F32", "int32": "I32"}[array.dtype.name]
    return kind, array.shape, np.ascontiguousarray(array).tobytes()


# ---------------------------------------------------------------- what a file says, by the rules of docs/numerics.md


def hadamard(group):
    h = np.ones((1, 1))
    while h.shape[0] < group:
        h = np.kron(h, np.array([[1, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]]) / 2)
    return h


def turned(rows, group):
    """Times H_group, the Kronecker product of two smaller ones, in F64."""
    if group == 0:
        return rows
    left = group // 16
    return (hadamard(left) @ (rows.reshape(-1, left, 16) @ hadamard(16))).reshape(rows.shape)


def stored_linears(file, config):
    """{linear: (codes, scales, columns of a group)}, from ComfyUI's descriptors or from SDNQ's config."""
    found = {}
    for name, entry in file.tensors.items():
        if entry["dtype"] != "I8":
            continue
        linear = name.removesuffix(".weight")
        if config is None:
            said = json.loads(file.array(linear + ".comfy_quant").tobytes())
            group = said.get("convrot_groupsize", 0) if said.get("convrot") else 0
            scales = file.array(name + "_scale")
        else:
            said = config["modules_quant_config"].get(name, {})
            k = entry["shape"][1]
            group = 0
            if said.get("use_hadamard", config["use_hadamard"]):
                group = said.get("hadamard_group_size", config.get("hadamard_group_size"))
                group = 1 << (min(k, group) - 1).bit_length()
                while k % group:
                    group //= 2
            scales = file.array(linear + ".scale")
        found[linear] = (file.array(name), scales.reshape(-1, 1).astype(np.float64), group)
    return found


def rounded(x, group, multiplies_integers=True):
    """Rows of x as a linear takes them: their integers and steps, or as they are."""
    x = turned(x.astype(np.float64), group)
    if not multiplies_integers:
        return x, 1.0
    step = np.abs(x).max(1, keepdims=True) / 127
    return np.rint(x / step), step


def compare(file, config, theirs, product_of, weights_of, groups_of, lora, multiplies_integers=lambda linear: True):
    """`theirs`: the linears that are int8 there. Returns the figures, and tensors for `intaglio verify`."""
    stored = stored_linears(file, config)
    result = {"linears": len(stored), "same": set(stored) == set(theirs), "weight": 0.0, "product": 0.0}
    expected, random = {}, np.random.default_rng(0)
    for linear in sorted(set(stored) & set(theirs)):
        codes, scales, group = stored[linear]
        result["same"] = result["same"] and groups_of(linear) == group
        weight, (n, k) = weights_of(linear), codes.shape
        if lora and linear == ADAPTED:
            a, b = (File(lora["file"]).array(f"diffusion_model.{ADAPTED}.lora_{x}.weight") for x in "AB")
            merged = File(lora["source"]).array(linear + ".weight") + lora["strength"] * b @ a
            result["adapter"] = float(np.linalg.norm(weight - merged) / np.linalg.norm(merged))
        x = random.standard_normal((ROWS, k)).astype(np.float32)
        shared = expected.setdefault(f"x/{k}", numbers(x[:3]))
        seen = np.frombuffer(shared[2], np.float32).reshape(3, k).astype(np.float64)
        integers, step = rounded(x, group, multiplies_integers(linear))
        wrong = largest = 0.0
        y, of_seen = np.empty((ROWS, n)), np.empty((3, n))
        for at in range(0, n, 1024):  # F64 of a whole weight would not fit everywhere
            some = slice(at, at + 1024)
            w, own = turned(codes[some] * scales[some], group), weight[some].astype(np.float64)
            wrong, largest = max(wrong, np.abs(own - w).max()), max(largest, np.abs(w).max())
            y[:, some] = (integers @ codes[some].T.astype(np.float64)) * step * scales[some].T
            of_seen[:, some] = seen @ own.T
        result["weight"] = max(result["weight"], float(wrong / largest))
        product = product_of(linear, x).astype(np.float64)
        result["product"] = max(result["product"], float(np.linalg.norm(product - y) / np.linalg.norm(y)))
        rows = np.unique(np.linspace(0, n - 1, 8).astype(np.int32))
        expected[f"{linear}/rows"] = numbers(rows)
        expected[f"{linear}/W"] = numbers(weight[rows])
        expected[f"{linear}/y"] = numbers(of_seen.astype(np.float32))
    return result, expected


def named(expected, file):
    return {name if name.startswith("x/") else f"{file}/{name}": value for name, value in expected.items()}


# ---------------------------------------------------------------- loaders


class Complaints(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        text = record.getMessage()
        if re.search("missing|unexpected|left over", text, re.I) and not re.search(r"(keys|model): (\[\]|dict_keys\(\[\]\))", text):
            self.lines.append(text[:200])


def told_sizes(config):
    if "Ideogram4" in config["_class_name"]:
        names = ("num_attention_heads", "attention_head_dim", "intermediate_size", "adaln_dim", "llm_features_dim", "rope_theta", "mrope_section", "norm_eps")
        return {name: config[name] for name in names}
    sizes = {name: config[name] for name in ("n_heads", "n_kv_heads", "axes_dims", "axes_lens", "rope_theta", "in_channels")}
    return dict(sizes, ffn_dim_multiplier=8 / 3, z_image_modulation=True, time_scale=config["t_scale"], pad_tokens_multiple=32)


def run_comfyui(cases):
    sys.argv = [sys.argv[0], "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.model_detection
    import comfy.sd
    import comfy.supported_models
    import torch
    from comfy.quant_ops import QuantizedTensor

    detect, sizes = comfy.model_detection.detect_unet_config, {}
    real = dict(comfy.supported_models.Ideogram4.unet_extra_config)
    comfy.model_detection.detect_unet_config = lambda *a, **k: dict(detect(*a, **k), **sizes)
    for case in cases:
        sizes = told_sizes(case["config"]) if case["config"] else {}
        is_ideogram = not case["config"] or "Ideogram4" in case["config"]["_class_name"]
        comfy.supported_models.Ideogram4.unet_extra_config = dict(real, **sizes) if is_ideogram else real
        complaints = Complaints()
        logging.getLogger().addHandler(complaints)
        logging.getLogger().setLevel(logging.INFO)
        with torch.no_grad():
            model = comfy.sd.load_diffusion_model(case["path"]).model.diffusion_model
            modules = {n: m for n, m in model.named_modules() if isinstance(getattr(m, "weight", None), QuantizedTensor)}
            group = lambda n: modules[n].weight._params.convrot_groupsize if modules[n].weight._params.convrot else 0
            result, expected = compare(File(case["path"]), None, modules, lambda n, x: without_bias(modules[n], torch.from_numpy(x)), lambda n: modules[n].weight.dequantize().float().numpy(), group, case["lora"])
        logging.getLogger().removeHandler(complaints)
        result["complaints"] = complaints.lines
        write_file(case["expected"], named(expected, "model"))
        yield result


def without_bias(module, x):
    y = module(x)
    return (y - module.bias if module.bias is not None else y).float().numpy()


def run_diffusers(cases):
    import diffusers
    import torch
    from sdnq.loader import apply_sdnq_options_to_model

    for case in cases:
        total, all_expected = None, {}
        for part in case["parts"]:
            folder = os.path.join(case["path"], part)
            with open(os.path.join(folder, "config.json")) as file:
                config = json.load(file)
            kind = getattr(diffusers, config["_class_name"])
            model, info = kind.from_pretrained(folder, torch_dtype=torch.float32, output_loading_info=True)
            modules = {n: m for n, m in model.named_modules() if hasattr(m, "sdnq_dequantizer")}
            group = lambda n: modules[n].sdnq_dequantizer.hadamard_group_size if modules[n].sdnq_dequantizer.use_hadamard else 0
            weight = lambda n: modules[n].sdnq_dequantizer(modules[n].weight, modules[n].scale, dtype=torch.float32).numpy()
            file = File(os.path.join(folder, "diffusion_pytorch_model.safetensors"))
            with torch.no_grad():
                weights = {n: weight(n) for n in modules}
                x = {n: torch.randn(ROWS, w.shape[1]) for n, w in weights.items()}
                floats = max(float(np.linalg.norm(without_bias(modules[n], x[n]) - x[n].numpy() @ w.T) / np.linalg.norm(x[n].numpy() @ w.T)) for n, w in weights.items())
                model = apply_sdnq_options_to_model(model, use_quantized_matmul=True)
                modules = {n: m for n, m in model.named_modules() if hasattr(m, "sdnq_dequantizer")}
                result, expected = compare(file, config["quantization_config"], modules, lambda n, x: without_bias(modules[n], torch.from_numpy(x)), weights.__getitem__, group, case["lora"] if part == "transformer" else None, lambda n: modules[n].sdnq_dequantizer.use_quantized_matmul)
            result["float_product"] = floats
            result["complaints"] = [f"{key}: {value[:3]}" for key, value in info.items() if value]
            all_expected.update(named(expected, part))
            if total is None:
                total = result
            else:
                total = {key: total[key] + result[key] if key in ("linears", "complaints") else total[key] and result[key] if key == "same" else max(total[key], result.get(key, 0)) for key in total}
        write_file(case["expected"], all_expected)
        yield total


# ---------------------------------------------------------------- cases


def full_width(path):
    """Ideogram 4 in its real sizes, but one layer, random."""
    d, f, a, c, text = 4608, 12288, 512, 128, 53248
    shapes = {"input_proj.weight": (d, c), "input_proj.bias": (d,), "llm_cond_norm.weight": (text,), "llm_cond_proj.weight": (d, text), "llm_cond_proj.bias": (d,), "adaln_proj.weight": (a, d), "adaln_proj.bias": (a,), "embed_image_indicator.weight": (2, d)}
    shapes.update({f"t_embedding.{m}.{p}": s for m in ("mlp_in", "mlp_out") for p, s in (("weight", (d, d)), ("bias", (d,)))})
    shapes.update({f"final_layer.{m}": s for m, s in (("linear.weight", (c, d)), ("linear.bias", (c,)), ("adaln_modulation.weight", (d, a)), ("adaln_modulation.bias", (d,)))})
    layer = {"attention.qkv": (3 * d, d), "attention.o": (d, d), "feed_forward.w1": (f, d), "feed_forward.w2": (d, f), "feed_forward.w3": (f, d), "attention.norm_q": (256,), "attention.norm_k": (256,), "adaln_modulation": (4 * d, a)}
    layer.update({n: (d,) for n in ("attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2")})
    shapes.update({f"layers.0.{name}.weight": shape for name, shape in layer.items()})
    shapes["layers.0.adaln_modulation.bias"] = (4 * d,)
    random = np.random.default_rng(1)
    block = (random.standard_normal(1 << 22).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    write_file(path, {n: ("BF16", s, np.resize(np.roll(block, i), s).tobytes()) for i, (n, s) in enumerate(shapes.items())})


def wide_z_image(tiny, folder):
    """The tiny Z-Image 24 times as wide, its transformer random: ComfyUI's class has sizes that no smaller one fits."""
    shutil.copytree(tiny, folder)
    place = os.path.join(folder, "transformer")
    with open(os.path.join(place, "config.json")) as file:
        config = json.load(file)
    config.update(dim=1152, n_heads=9, n_kv_heads=9, n_layers=1, axes_dims=[32, 48, 48])
    with open(os.path.join(place, "config.json"), "w") as file:
        json.dump(config, file)
    weights = os.path.join(place, "diffusion_pytorch_model.safetensors")
    random, tensors = np.random.default_rng(3), {}
    for name, entry in File(weights).tensors.items():
        if re.match(r"layers\.[1-9]", name):
            continue
        sizes = {48: 256} if name.startswith("t_embedder") else {16: 128} if re.search("norm_[qk]", name) else {48: 1152, 192: 4608, 128: 3072}
        shape = [sizes.get(n, n) for n in entry["shape"]]
        if "adaLN" in name and len(shape) == 2:
            shape[1] = 256
        values = random.standard_normal(shape).astype(np.float32) * 0.02
        tensors[name] = numbers(values + 1 if "norm" in name else values)
    write_file(weights, tensors)


def adapter(path, source):
    """LoRA of rank 4 on the first layer's w1."""
    n, k = File(source).tensors[ADAPTED + ".weight"]["shape"]
    random, p = np.random.default_rng(2), "diffusion_model." + ADAPTED
    a, b = (random.standard_normal(s).astype(np.float32) * 0.1 for s in ((4, k), (n, 4)))
    write_file(path, {p + ".lora_A.weight": numbers(a), p + ".lora_B.weight": numbers(b)})


def make_cases(intaglio, root, folder):
    wide = os.path.join(folder, "wide.safetensors")
    full_width(wide)
    z_image = os.path.join(folder, "z_image")
    wide_z_image(os.path.join(root, "tests/reference/z_image/tiny"), z_image)
    prompts = os.path.join(folder, "prompts.txt")
    with open(prompts, "w") as file:
        file.write("a red apple\n")
    sources = [
        ("Ideogram 4, `models/mini`", os.path.join(root, "models/mini"), ["row", "convrot", "smooth", "convrot+smooth", "convrot, LoRA"]),
        ("Ideogram 4, `tests/reference/data/tiny`", os.path.join(root, "tests/reference/data/tiny"), ["row", "convrot"]),
        ("Ideogram 4, real sizes, one layer", wide, ["convrot"]),
        ("Z-Image, `tests/reference/z_image/tiny` 24 times as wide", z_image, ["row", "convrot", "convrot+smooth", "convrot, LoRA"]),
    ]
    for number, (model, source, schemes) in enumerate(sources):
        is_model = os.path.isdir(source)
        config, parts = None, []
        if is_model:
            with open(os.path.join(source, "transformer/config.json")) as file:
                config = json.load(file)
            parts = [p for p in ("transformer", "unconditional_transformer") if os.path.isdir(os.path.join(source, p))]
        for scheme in schemes:
            lora = None
            options = ["--scheme", scheme.split(",")[0]]
            if "smooth" in scheme:
                options += ["--calibration", prompts, "--calibration-steps", "1"]
            if "LoRA" in scheme:
                lora = {"file": os.path.join(folder, f"lora{number}.safetensors"), "source": os.path.join(source, "transformer/diffusion_pytorch_model.safetensors"), "strength": 0.5}
                adapter(lora["file"], lora["source"])
                options += ["--lora", f"{lora['file']}:{lora['strength']}"]
            for loader in ("ComfyUI", "diffusers") if is_model else ("ComfyUI",):
                place = os.path.join(folder, f"{number}-{re.sub('[^a-z+]', '', scheme.lower())}-{loader}")
                os.mkdir(place) if loader == "ComfyUI" else None
                target = os.path.join(place, "model.safetensors") if loader == "ComfyUI" else place
                command = [intaglio, "quantize", source, target, *options]
                done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                if done.returncode:
                    sys.exit(f"{' '.join(command)}\n{done.stderr}")
                short = [os.path.relpath(c, root) if c.startswith(root) else os.path.basename(c) if c.startswith("/") else c for c in command]
                yield {"loader": loader, "model": model, "scheme": scheme, "lora": lora, "config": config, "parts": parts, "path": target, "place": place, "expected": os.path.join(place, "expected.safetensors"), "command": " ".join(["intaglio", *short[1:]])}


def run_loader(loader, arguments, cases, folder):
    request = os.path.join(folder, loader + ".json")
    with open(request, "w") as file:
        json.dump(cases, file)
    paths = [arguments.comfyui, arguments.comfy_kitchen] if loader == "ComfyUI" else [os.path.join(arguments.diffusers, "src"), os.path.join(arguments.sdnq, "src")]
    command = [sys.executable, os.path.abspath(__file__), "--child", loader, request, "--preload", arguments.preload or ""]
    done = subprocess.run(command, env=dict(os.environ, PYTHONPATH=os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])), cwd=folder)
    if done.returncode:
        sys.exit(f"{loader}: exit code {done.returncode}")
    with open(request + ".out") as file:
        return json.load(file)


def child(loader, request, preload):
    if preload:
        with open(preload) as file:
            exec(compile(file.read(), preload, "exec"), {"__name__": "preload"})
    with open(request) as file:
        cases = json.load(file)
    import torch

    results = list((run_comfyui if loader == "ComfyUI" else run_diffusers)(cases))
    with open(request + ".out", "w") as file:
        json.dump({"torch": torch.__version__, "results": results}, file)


def checkout(folder, commits, name, version_file, pattern):
    with open(os.path.join(folder, version_file)) as file:
        version = re.search(pattern, file.read()).group(1)
    commit = commits.get(name) or subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    return {"name": name, "version": version, "commit": commit}


def main():
    if sys.argv[1:2] == ["--child"]:
        return child(sys.argv[2], sys.argv[3], sys.argv[5])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("intaglio")
    for name in ("--comfyui", "--comfy-kitchen", "--diffusers", "--sdnq"):
        parser.add_argument(name, required=True, metavar="DIR", type=os.path.abspath)
    parser.add_argument("--preload", metavar="FILE", type=os.path.abspath)
    parser.add_argument("--commit", metavar="NAME=HASH", action="append", default=[], help="of a folder that is no git checkout")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    commits = dict(text.split("=", 1) for text in arguments.commit)
    checkouts = [
        checkout(arguments.comfyui, commits, "ComfyUI", "comfyui_version.py", r'__version__ = "(.*?)"'),
        checkout(arguments.comfy_kitchen, commits, "comfy-kitchen", "pyproject.toml", r'version = "(.*?)"'),
        checkout(arguments.diffusers, commits, "diffusers", "src/diffusers/__init__.py", r'__version__ = "(.*?)"'),
        checkout(arguments.sdnq, commits, "SDNQ", "pyproject.toml", r'version = "(.*?)"'),
    ]
    folder = tempfile.mkdtemp()
    try:
        cases = list(make_cases(os.path.abspath(arguments.intaglio), root, folder))
        rows, torch = [], None
        for loader in ("ComfyUI", "diffusers"):
            own = [c for c in cases if c["loader"] == loader]
            answer = run_loader(loader, arguments, own, folder)
            torch = answer["torch"]
            for case, result in zip(own, answer["results"]):
                done = subprocess.run([arguments.intaglio, "verify", case["place"]], capture_output=True, text=True)
                counts = re.search(r"(\d+) passed, (\d+) failed", done.stdout)
                result["verify_passed"], result["verify_failed"] = map(int, counts.groups()) if counts else (0, 1)
                rows.append({**{k: case[k] for k in ("loader", "model", "scheme", "command")}, **result})
        failed = 0
        for r in rows:
            good = r["same"] and not r["complaints"] and r["weight"] <= WEIGHT_TOLERANCE and r["product"] <= PRODUCT_TOLERANCE
            good = good and r.get("float_product", 0) <= FLOAT_TOLERANCE and r["verify_failed"] == 0 and r["verify_passed"] == 2 * r["linears"] > 0
            good = good and r.get("adapter", 0) <= ADAPTER_TOLERANCE and ("adapter" in r) == ("LoRA" in r["scheme"])
            failed += not good
            print(f"{'pass' if good else 'FAIL'}  {r['loader']:9}  {r['model']:42}  {r['scheme']:14}  {r['linears']:3} linears  weight {r['weight']:.1e}  product {r['product']:.1e}  verify {r['verify_passed']}/{r['verify_passed'] + r['verify_failed']}  {r['complaints'] or ''}")
        if arguments.json:
            with open(arguments.json, "w") as file:
                json.dump({"date": time.strftime("%Y-%m-%d"), "torch": torch, "stand_ins": bool(arguments.preload), "checkouts": checkouts, "tolerances": {"weight": WEIGHT_TOLERANCE, "product": PRODUCT_TOLERANCE, "float_product": FLOAT_TOLERANCE}, "files": rows}, file, indent=2)
                file.write("\n")
        print(f"{len(rows) - failed} passed, {failed} failed")
        return 1 if failed else 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
