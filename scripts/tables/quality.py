"""Tables of the bundled model: its sizes, what is drawn, and what precisions, formats and fewer passes cost."""

import json

from tables.results import all_results, read, Table


def quality_table():
    rows = []
    for r in read("mini_quality")["rows"]:
        wrong = "".join(f", `{word}`" for word in r.get("wrong_at_first_reading", []))
        rows.append([r["what"], r["goal"], f"{r['measured']}{'; not ' + wrong[2:] if wrong else ''}"])
    return Table(["what", "goal", "measured"], rows)


def mini_model_table():
    """What the bundled model is and how it was made: training/describe.py."""
    r = read("mini_model")
    s = r["sizes"]
    network = lambda c: f"{c['width']} wide, {c['heads']} x {c['head']} heads, {c['layers']} layers, FFN {c['ffn']}, AdaLN {c['adaln']}"
    slashed = lambda values: "/".join(map(str, values))
    text, vae = s["text_encoder"], s["vae"]
    parts = (f"conditional transformer ({network(s['conditional'])}), unconditional transformer ({network(s['unconditional'])}), text encoder of Qwen3 type ({text['width']} wide, "
             f"{text['layers']} layers, all tapped), FLUX.2-type VAE ({vae['latent_channels']} latent channels, encoder {slashed(vae['encoder'])}, decoder {slashed(vae['decoder'])}), "
             f"own byte-level BPE of {text['tokens']:,} tokens")
    made = "; ".join(f"{m['what']}: {m['minutes']:g} minutes on {m['device']}" + (f", {m['steps']:,} steps of {m['batch']}" if m["steps"] else "") for m in r["made"])
    rows = [["parts", parts], ["size", f"{s['weight_bytes']:,} bytes of bf16 safetensors"], ["objects", str(s["objects"])],
            ["defaults", f"{s['size'][0]} x {s['size'][1]}, {s['steps']} steps, guidance {s['guidance']:g}"], ["made by", f"`training/`: {made}"]]
    return Table(["what", "is"], rows)


kJudgedSets = {"words": ("a word alone, exact, Tesseract", 90), "objects": ("one object, nearest of all drawings of its style", 95),
               "beside": ("a word and an object, both right", 80), "colors": ("an object in a colour", None), "places": ("an object at a place", None),
               "counts": ("two to four of one kind", None)}


def judged_table():
    """Of training/judge.py: prompts in phrasings that the training never saw, by two writers."""
    fresh, rows = read("mini_judged_fresh")["sets"], []
    said = lambda one: f"{100 * one['share']:.1f} % ({100 * one['low']:.1f} to {100 * one['high']:.1f})"
    for name, one in read("mini_judged")["sets"].items():
        what, goal = kJudgedSets[name]
        rows.append([what, f"{goal} %" if goal else "", said(one), said(fresh[name]), str(one["of"])])
    return Table(["free phrasing", "goal", "right", "by another writer", "prompts each"], rows)


def mini_runs_table():
    """What each run of training/train_short.sh left, of the judged prompts: training/describe.py --run."""
    rows = []
    for one in read("mini_model")["made"]:
        if "judged" not in one:
            continue
        shares = [" / ".join(f"{100 * one[writer][kind]:.1f} %" for writer in ("judged", "judged_fresh") if writer in one) for kind in kJudgedSets]
        rows.append([f"`{one['command']}`", one["device"], f"{one['steps']:,}", *shares])
    return Table(["run", "on", "steps", "words", "objects", "words beside objects", "colours", "places", "counts"], rows)


kLinearErrorGoal = 0.009


def schemes_table():
    """Errors of the bundled model's int8 linears, by scheme of `intaglio quantize`."""
    rows = []
    for r in read("mini_schemes")["results"]:
        worst = " + ".join(r["worst_linear"])
        rows.append([r["part"], f"`{r['scheme']}`", f"{r['mean']:.4f}", "yes" if r["mean"] <= kLinearErrorGoal else "no", f"{r['worst']:.4f} ({worst})", f"{r['velocity_error']:.4f}"])
    return Table(["part", "scheme", "mean error", f"at most {kLinearErrorGoal}", "worst", "expected of the velocity"], rows, key=2)


def machine_of(name, prefix):
    """Of a result's file name, whatever part of the table it has."""
    return name.removeprefix(prefix).removesuffix(".json").partition("_")[0].upper()


def mini_evals():
    """(machine, result) of scripts/eval_mini.py."""
    for name, r in all_results("mini_eval_*"):
        yield machine_of(name, "mini_eval_"), r


def mean_of(interval, digits, scale=1):
    if not interval:
        return ""
    return "{:.{d}f} ({:.{d}f} to {:.{d}f})".format(*(interval[key] * scale for key in ("mean", "low", "high")), d=digits)


def eval_pictures_table():
    """What the bundled model's arithmetic and files cost, against fp32's pictures."""
    rows = []
    for machine, r in mini_evals():
        for c in r["candidates"]:
            if is_masked(c):
                continue
            size = f"{c['about']['file_bytes'] / 1e6:.0f} MB"
            rows.append([machine, f"`{c['name']}`", str(c["pictures"]), size, mean_of(c.get("speedup"), 2), mean_of(c.get("velocity"), 3), mean_of(c["latents"], 3), mean_of(c["psnr"], 1),
                         mean_of(c["ssim"], 4), mean_of(c["ms_ssim"], 4)])
    return Table(["on", "variant", "pictures", "files", "times as fast", "velocity error", "latents' error", "PSNR, dB", "SSIM", "MS-SSIM"], rows, key=3)


def is_masked(candidate):
    return "cache" in candidate["about"]


def masked_pictures_table():
    """Step masks of the bundled model, and fewer steps of as many passes."""
    rows, held = [], any("baseline" in c for _, r in mini_evals() for c in r["candidates"])
    for machine, r in mini_evals():
        steps = {c["about"]["steps"] for c in r["candidates"]}
        if not any(map(is_masked, r["candidates"])):
            continue
        for c in r["candidates"]:
            if not is_masked(c) and c["about"]["steps"] == max(steps) and c["name"] not in ("bf16", "row"):
                continue
            judged = [mean_of(c["judged"][judge]["right_difference"], 1, 100) if judge in c.get("judged", {}) else "" for judge in ("tesseract", "ppocr", "objects")]
            less = [mean_of(c.get("baseline", {}).get("psnr"), 1)] if held else []
            rows.append([machine, f"`{c['name']}`", str(c["pictures"]), mean_of(c.get("speedup"), 2), mean_of(c["latents"], 3), mean_of(c["psnr"], 1), *less, mean_of(c["ssim"], 4), *judged])
    return Table(["on", "variant", "pictures", "times as fast as fp32", "latents' error", "PSNR, dB", *(["less plain steps'"] if held else []), "SSIM",
                  "words, Tesseract, against fp32, points", "words, PP-OCRv4", "objects"], rows, key=2)


def modelled_masks():
    """Seconds of the steps on an RTX 3090 by mask: the table that tests/unit/ops/cuda/modelled_3090_test.cpp makes."""
    with open("docs/modelled-3090.md") as file:
        table = file.read().split("| mask | passes with text |", 1)[1].split("\n\n", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {mask: seconds for mask, _, _, seconds in rows}


def progressive_pictures_table():
    """First steps of the bundled model at half size, and fewer steps at full size."""
    rows = []
    for name, r in all_results("mini_progressive_*"):
        machine = machine_of(name, "mini_progressive_")
        for c in r["candidates"]:
            half = int(c["about"].get("progressive", 0))
            cost = c["about"]["steps"] - half * (1 - r["half_step_share"])
            judged = [mean_of(c["judged"][judge]["right_difference"], 1, 100) if judge in c.get("judged", {}) else "" for judge in ("tesseract", "objects")]
            rows.append([machine, f"{half} of {c['about']['steps']}", f"{cost:.1f}", str(c["pictures"]), mean_of(c["latents"], 3), mean_of(c["psnr"], 1), mean_of(c["ssim"], 4), *judged])
    head = ["on", "steps at half size", "time, in full-size steps", "pictures", "latents' error", "PSNR, dB", "SSIM", "words, Tesseract, against all steps, points", "objects"]
    return Table(head, rows, key=2)


def masked_times_table():
    rows, modelled = [], modelled_masks()
    for _, r in all_results("*_step_masks"):
        for one in r["masks"]:
            rows.append([r["card"], one["mask"], f"{one['share']:.0%}", f"{one['denoise_s']['median']:.2f} s", f"{one['picture_s']['median']:.2f} s", modelled[one["mask"]]])
    return Table(["card", "mask", "passes", "steps", "picture", "steps on an RTX 3090, modelled"], rows, key=2)


def one_branch_table():
    """Pictures of one branch, which is distilled: a pass a step."""
    with open("docs/models.md") as file:
        modelled_ms = float(next(line for line in file if line.startswith("| Ideogram 4 | `ideogram4` |")).split("|")[-2].strip().removesuffix(" ms"))
    rows = [[r["card"], str(r["steps"]), str(r["text_tokens"]), f"{r['denoise_s']['median']:.2f} s", f"{r['picture_s']['median']:.2f} s", f"{r['steps'] * modelled_ms / 1e3:.1f} s"] for _, r in all_results("*_one_branch")]
    return Table(["card", "steps", "text tokens", "steps take", "picture", "steps on an RTX 3090 with 512 text tokens, modelled"], rows)


def eval_judges_table():
    """What judges read and saw in the same pictures."""
    rows = []
    for machine, r in mini_evals():
        for c in [r["source"], *r["candidates"]]:
            if "judged" not in c or c is not r["source"] and is_masked(c):
                continue
            cells = []
            for judge in ("tesseract", "ppocr", "objects"):
                j = c.get("judged", {}).get(judge)
                cells.append(mean_of(j["right"], 1, 100) if j else "")
                cells.append("" if not j or c is r["source"] else mean_of(j["right_difference"], 1, 100))
            rows.append([machine, f"`{c['name']}`", str(c["pictures"]), *cells])
    return Table(["on", "variant", "pictures", "words, Tesseract, %", "against fp32", "words, PP-OCRv4, %", "against fp32", "objects, %", "against fp32"], rows, key=3)


def vocabulary_table():
    """What the bundled model can draw, for its card."""
    with open("models/mini/vocabulary.json") as file:
        sections = json.load(file)["sections"]
    text = lambda values: ("; " if any("," in value for value in values) else ", ").join(values)
    return Table(["what", "words"], [[s["title"], text(s["values"])] for s in sections if not s["title"].startswith("examples")])
