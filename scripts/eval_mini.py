#!/usr/bin/env python3
"""What each precision and format costs the bundled model: every variant draws the same prompts, judges look, one JSON and one page sum up.

Usage: eval_mini.py PROGRAM FOLDER [--count 200] [--device cpu] [--trace 8] [--only NAME ...] [--json bench/results/mini_eval_cpu.json]
       eval_mini.py PROGRAM FOLDER --count 1024 --devices cuda:0 cuda:1 --shards 10 [--json bench/results/mini_eval_h200.json]
       eval_mini.py PROGRAM FOLDER --count 200 --shards 8 --threads 2 --timed 8 [--json bench/results/mini_eval_cpu.json]
       eval_mini.py PROGRAM FOLDER --progressive 3 6 [--count 200] [--device cpu] [--json bench/results/mini_progressive_cpu.json]

Prompts are scripts/draw_prompts.py's, with its seed. The source is fp32. Candidates: bf16; int8 by rows as it is made on the fly; files of `intaglio quantize`
by each scheme, and convrot with the linears protected that are off by more than 0.01; GGUF files of Q8_0 and Q4_0 whose weights are widened to bf16; on a GPU
fp8 and nf4, and each way of attention, too; each step mask of the model (`generate --cache`) in bf16 and int8, which `eval` holds against steps of as many passes; bf16 with as many steps as int8's time buys. Q4_K takes rows of a multiple of 256 values, which the model's 384 are not. Goes on where it was
stopped. With --shards that many processes draw at once, on the devices in turn, after one process alone has drawn the first --timed prompts: times are of those.
With --progressive the source is int8, and candidates are int8 with so many first steps at half size and with all steps at full size, as many of them as
take the same time: what a step at half size takes of one at full size is measured within pictures. Judges run where what they need is there (scripts/judges/): without, their columns are missing.
"""
import argparse
import datetime
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
MINI = ROOT / "models/mini"
SCHEMES = {"smooth": ["--scheme", "smooth"], "convrot": ["--scheme", "convrot"], "convrot+smooth": ["--scheme", "convrot+smooth"],
           "convrot+protected": ["--scheme", "convrot", "--protect", "auto", "--budget", "0.01"],
           "convrot+smooth+gptq": ["--scheme", "convrot+smooth", "--rounding", "gptq"]}


def run(*words, **options):
    subprocess.run([str(word) for word in words], check=True, **options)


def gguf(folder, kind):
    """Keys of a variant whose transformers are GGUF files."""
    keys = []
    for part, key in [("transformer", "transformer"), ("unconditional_transformer", "unconditional")]:
        file = folder / f"{part}-{kind}.gguf"
        if not file.exists():
            source, = (MINI / part).glob("*.safetensors")
            run(sys.executable, ROOT / "tests/e2e/to_gguf.py", source, file, kind, "own")
        keys.append(f"{key}={file}")
    return f"bf16,name={kind.lower()}," + ",".join(keys)


def variants(program, folder, device, only):
    """Files are made of what is asked for alone."""
    models = folder / "models"
    models.mkdir(parents=True, exist_ok=True)
    yield from ["bf16", "int8,name=row"]
    for scheme, words in SCHEMES.items():
        if only and scheme not in only:
            continue
        if not (models / scheme / "model_index.json").exists():
            run(program, "quantize", MINI, models / scheme, "--format", "diffusers", *words)
        yield f"int8,name={scheme},model={models / scheme}"
    yield from [gguf(models, kind) for kind in ("Q8_0", "Q4_0") if not only or kind.lower() in only]
    if device != "cpu":
        yield from ["fp8", "nf4", *(f"int8,attention={name},name=attention-{name}" for name in ("float", "int8", "int8-values"))]
    yield from masked_variants()


def masked_variants():
    """Of each mask for the model's own number of steps."""
    steps = default_steps()
    for mask in json.loads((MINI / "step_masks.json").read_text())["masks"]:
        if mask["steps"] != steps:
            continue
        yield from [f"{precision},cache={mask['name']},name={precision}-{mask['name']}" for precision in ("bf16", "int8")]


def half_step_share(program, prompts, device):
    """What a step at half size takes of one at full size: medians of the same pictures, without the first step of each size."""
    shares = []
    for prompt in [json.loads(line)["prompt"] for line in prompts.read_text().splitlines()[:6]]:
        drawn = subprocess.run([program, "generate", "--prompt", prompt, "--steps", "24", "--progressive", "12", "--seed", "1", "--output", prompts.parent / "timed.png", "--device", device, "--json",
                                "--quiet"], check=True, capture_output=True, text=True)
        times = json.loads(drawn.stdout)["pictures"][0]["step_ms"]
        shares.append(statistics.median(times[1:12]) / statistics.median(times[13:]))
    return statistics.median(shares)


def progressive_variants(half_steps, share):
    """Of each number of first steps at half size, and steps at full size that take as long."""
    for count in half_steps:
        yield f"int8,progressive={count},name=half-{count}"
    for steps in sorted({round(default_steps() - count * (1 - share)) for count in half_steps}, reverse=True):
        yield f"int8,steps={steps},name=steps-{steps}"


def default_steps():
    return json.loads((MINI / "model_index.json").read_text())["intaglio"]["default_steps"]


def judge(folder):
    """-> judges that could not run; what one has seen it does not look at again."""
    judges = {"tesseract": [sys.executable, "scripts/judges/tesseract.py"], "objects": [sys.executable, "scripts/judges/objects.py"], "ppocr": ["node", "scripts/judges/ppocr.mjs"]}
    failed = []
    for name, words in judges.items():
        try:
            if subprocess.run([*words, str(folder)], cwd=ROOT).returncode:
                failed.append(name)
        except OSError:  # no node here
            failed.append(name)
    return failed


def draw_in_shards(draw, asked, devices, shards, seconds, folder):
    """All prompts by so many processes at once, or what they draw in so many seconds; judges look at what is there meanwhile."""
    command = lambda shard: [*map(str, draw), "--device", devices[shard % len(devices)], "--shard", f"{shard}/{shards}", *asked]
    processes = [subprocess.Popen(command(shard)) for shard in range(shards)]
    stopped = threading.Event()

    def stop():
        stopped.set()
        for process in processes:
            process.send_signal(signal.SIGINT)

    timer = threading.Timer(seconds, stop)
    timer.daemon = True  # Ctrl-C ends the program, not the longest time
    timer.start()
    while any(process.poll() is None for process in processes):
        time.sleep(5)
        if (folder / "plan.json").exists():
            judge(folder)
    timer.cancel()
    failed = [shard for shard, process in enumerate(processes) if process.wait()]
    if failed and not stopped.is_set():
        sys.exit(f"eval_mini: shards {failed} of {shards} failed")


def report(program, folder):
    return json.loads(subprocess.run([program, "eval", "report", folder, "--json"], check=True, capture_output=True, text=True).stdout)


def fewer_steps(found):
    """bf16 with as many steps as int8's time buys, where that is fewer."""
    times = {one["name"]: one["denoise_ms"]["mean"] for one in found["candidates"]}
    if not {"row", "bf16"} <= set(times):
        return []
    whole = found["source"]["about"]["steps"]
    steps = max(1, round(whole * times["row"] / times["bf16"]))
    return ["--candidate", f"bf16,steps={steps},name=bf16-{steps}-steps"] if steps < whole else []


def with_times_of(result, timed):
    """Times of processes that run side by side are no times: those of one alone take their place."""
    known = {one["name"]: one for one in [timed["source"], *timed["candidates"]]}
    for one in [result["source"], *result["candidates"]]:
        for key in ("denoise_ms", "speedup"):
            one.pop(key, None)
            if key in known.get(one["name"], {}):
                one[key] = known[one["name"]][key]


def commit_of(program):
    done = subprocess.run(["git", "-C", str(program.parent), "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip()


def machine():
    names = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return f"{names[0] if names else 'unknown'}, {os.cpu_count()} threads"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--devices", nargs="+", metavar="DEVICE", help="of the shards, in turn; by default --device alone")
    parser.add_argument("--shards", type=int, default=1, help="processes that draw at once")
    parser.add_argument("--threads", type=int, help="of each of these processes, which share a CPU; by default all cores each")
    parser.add_argument("--seconds", type=float, default=24 * 3600, help="after which shards are stopped; the report is of what they have drawn")
    parser.add_argument("--timed", type=int, default=200, help="first prompts that one process draws alone before")
    parser.add_argument("--trace", type=int, default=8)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of the candidates these alone")
    parser.add_argument("--progressive", type=int, nargs="+", metavar="STEPS", help="first steps at half size, of these numbers, instead")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    program, folder = arguments.program.resolve(), arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    prompts = folder / "prompts.jsonl"
    with prompts.open("w") as file:
        run(ROOT / "scripts/draw_prompts.py", arguments.count, stdout=file)
    devices = arguments.devices or [arguments.device]
    name = lambda text: next((item.removeprefix("name=") for item in text.split(",") if item.startswith("name=")), text)
    share = half_step_share(program, prompts, devices[0]) if arguments.progressive else None
    wanted = progressive_variants(arguments.progressive, share) if arguments.progressive else variants(program, folder, devices[0], arguments.only)
    asked = [word for text in wanted if not arguments.only or name(text) in arguments.only for word in ("--candidate", text)]
    source, traced = ("int8", 0) if arguments.progressive else ("fp32", arguments.trace)
    # One process alone, whose times count: of all prompts, or of the first before many draw at once.
    in_shards = arguments.shards > 1
    alone, first = (folder / "timed", folder / "first.jsonl") if in_shards else (folder / "eval", prompts)
    if in_shards:
        first.write_text("".join(prompts.read_text().splitlines(keepends=True)[:arguments.timed]))
    command = lambda target, prompts, traced: [program, "eval", "run", target, "--model", MINI, "--prompts", prompts, "--source", source, "--trace", traced]
    draw_alone = [*command(alone, first, 0 if in_shards else traced), "--device", devices[0]]
    run(*draw_alone, *asked)
    if not arguments.progressive and (fewer := fewer_steps(report(program, alone))):
        run(*draw_alone, *fewer)
        asked += fewer
    if in_shards:
        shared = ["--threads", arguments.threads] if arguments.threads else []
        draw_in_shards([*command(folder / "eval", prompts, traced), *shared], asked, devices, arguments.shards, arguments.seconds, folder / "eval")
    for name in judge(folder / "eval"):
        print(f"eval_mini: {name} did not run", file=sys.stderr)
    result = report(program, folder / "eval")
    if in_shards:
        with_times_of(result, report(program, alone))
    for one in result["candidates"]:
        one["worst"] = one["worst"][:3]
    result = {"date": datetime.date.today().isoformat(), "commit": commit_of(program), "command": "eval_mini.py PROGRAM FOLDER " + " ".join(sys.argv[3:]), "cpu": machine(),
              **({"half_step_share": share} if arguments.progressive else {}), **result}
    del result["folder"]
    result = json.loads(json.dumps(result).replace(f"{folder}/", "FOLDER/"))  # variants name files that were made there
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{folder / 'eval/report.html'}")


if __name__ == "__main__":
    main()
