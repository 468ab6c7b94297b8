"""What the bundled model is, for its card: sizes from models/mini, the training from a run's log.

    describe.py [--run RUN_DIR --command COMMAND]    writes bench/results/mini_model.json; `make tables` puts it into the card

--run adds that run, whose log it reads, to how the weights were made, with the command that made it and the shares of bench/results/mini_judged*.json,
which are of the weights of that run: judge.py comes first.
"""

import argparse
import datetime
import json
import subprocess
from pathlib import Path

from scenes import kHere, load_objects

kRoot = kHere.parent
kMini = kRoot / "models" / "mini"
kOut = kRoot / "bench" / "results" / "mini_model.json"


def read(path):
    return json.loads(Path(path).read_text())


def transformer(name):
    c = read(kMini / name / "config.json")
    return {"width": c["num_attention_heads"] * c["attention_head_dim"], "heads": c["num_attention_heads"], "head": c["attention_head_dim"], "layers": c["num_layers"],
            "ffn": c["intermediate_size"], "adaln": c["adaln_dim"]}


def sizes():
    text = read(kMini / "text_encoder" / "config.json")["text_config"]
    vae = read(kMini / "vae" / "config.json")
    own = read(kMini / "model_index.json")["intaglio"]
    return {
        "conditional": transformer("transformer"),
        "unconditional": transformer("unconditional_transformer"),
        "text_encoder": {"width": text["hidden_size"], "layers": text["num_hidden_layers"], "tokens": text["vocab_size"]},
        "vae": {"latent_channels": vae["latent_channels"], "encoder": vae["block_out_channels"], "decoder": vae["decoder_block_out_channels"]},
        "weight_bytes": sum(f.stat().st_size for f in kMini.glob("*/*.safetensors")),
        "objects": len(load_objects()),
        "size": own["default_size"], "steps": own["default_steps"], "guidance": own["default_guidance"],
    }


def of_run(run):
    """One line a training: what, minutes in its loop, steps, pictures a step, device."""
    short = run / "short_joint.jsonl"  # of train_short.py
    log = short if short.exists() else run / "dit_log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    seconds, begin, device, batch, step = 0.0, None, "", 0, 0
    for line in lines:
        if line.get("event") == "ready":
            begin, device, batch = line["s"], line["device"], line["batch"]
        elif line.get("event") in ("done", "piece done") and begin is not None:
            seconds, step, begin = seconds + line["s"] - begin, line["step"], None
    if not lines or lines[-1].get("event") != "done":
        raise SystemExit(f"{log}: the run is not done")
    return {"what": "text encoder and transformers, from the weights before", "minutes": round(seconds / 60, 1), "steps": step, "batch": batch, "device": device,
            "date": datetime.date.today().isoformat()}


def judged():
    """Shares of the judged prompts, and of those that somebody wrote who had not seen the captions."""
    shares = lambda name: {kind: one["share"] for kind, one in read(kOut.parent / f"{name}.json")["sets"].items()}
    return {"judged": shares("mini_judged"), "judged_fresh": shares("mini_judged_fresh")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--command", help="of that run")
    args = parser.parse_args()
    if args.run and not args.command:
        parser.error("--run needs --command, what that run was started with")
    made = read(kOut)["made"] if kOut.exists() else []
    if args.run:
        made.append({**of_run(args.run), "command": args.command, **judged()})
    commit = subprocess.run(["git", "log", "-1", "--format=%h", "--", "models/mini/transformer"], cwd=kRoot, capture_output=True, text=True).stdout.strip()
    kOut.write_text(json.dumps({"command": "training/describe.py", "weights_commit": commit, "sizes": sizes(), "made": made}, indent=1) + "\n")


if __name__ == "__main__":
    main()
