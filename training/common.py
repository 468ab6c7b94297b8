"""What both training runs share: the clock, the log, the average of weights, the scene workers."""

import collections
import json
import math
import multiprocessing
import sys
import time

import numpy as np
import torch

import scenes


class Clock:
    """Progress from `done` to `end` by wall time, whatever the speed, so that every run ends well annealed.

    A whole run goes from 0 to 1.
    """

    def __init__(self, minutes, done=0.0, end=1.0):
        self.deadline = time.time() + 60 * minutes
        self.done, self.end = done, end
        self.begin = None

    def start(self):
        """Call after set-up and compilation: only the loop counts."""
        self.begin = time.time()

    def progress(self):
        span = max(self.deadline - self.begin, 1.0)
        return self.done + (self.end - self.done) * min((time.time() - self.begin) / span, 1.0)

    def over(self):
        return time.time() >= max(self.deadline, self.begin + 1.0)


class Log:
    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8")
        self.begin = time.time()

    def __call__(self, **fields):
        fields = {"s": round(time.time() - self.begin, 1), **fields}
        line = json.dumps(fields)
        self.file.write(line + "\n")
        self.file.flush()
        print(line, flush=True)


class Average:
    """Exponential average of parameters, with the usual quick start."""

    def __init__(self, parameters, decay):
        self.live = list(parameters)
        self.values = [p.detach().clone() for p in self.live]
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self):
        self.steps += 1
        d = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_mul_(self.values, d)
        torch._foreach_add_(self.values, [p.detach() for p in self.live], alpha=1 - d)


def averaged_state(module, average, offset=0):
    """state_dict of `module` with the averaged values of its parameters, which begin at `offset`."""
    state = {k: v.clone() for k, v in module.state_dict().items()}
    for i, (name, _) in enumerate(module.named_parameters()):
        state[name] = average.values[offset + i].clone()
    return state


def rate(progress, step, peak, warmup):
    return peak * min(1.0, (step + 1) / warmup) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def adamw(groups, device, **options):
    if device.type == "cuda":
        options["fused"] = True
    return torch.optim.AdamW(groups, **options)


def autocast(device):
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


class SceneSource:
    """Keeps a few jobs under way in worker processes. Make it before the GPU is first touched."""

    def __init__(self, advances, workers, chunk, seed):
        context = multiprocessing.get_context("fork")
        self.pool = context.Pool(workers, scenes.start_worker, (np.asarray(advances),))
        self.chunk, self.seed = chunk, seed
        self.ahead = 4 * workers
        self.waiting = {}

    def next(self, function, progress=1.0):
        queue = self.waiting.setdefault(function.__name__, collections.deque())
        while len(queue) < self.ahead:
            self.seed += 1
            queue.append(self.pool.apply_async(function, ((self.seed, self.chunk, progress),)))
        return queue.popleft().get()

    def close(self):
        self.pool.terminate()


def setup(device_name, seed):
    """Device and fast settings, after the workers have been forked."""
    if device_name == "auto":
        device_name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(device_name)
    torch.manual_seed(seed)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    return device


def raise_compile_limits():
    import torch._dynamo

    for name in ("recompile_limit", "cache_size_limit"):
        if hasattr(torch._dynamo.config, name):
            setattr(torch._dynamo.config, name, 64)
            break


def fail(message):
    print(message, file=sys.stderr)
    sys.exit(1)
