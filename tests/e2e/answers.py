#!/usr/bin/env python3
"""Answers of --json against their schemas in apps/intaglio/schemas.

  answers.py FOLDER    of each N.arguments in it (one a line) the answer N.json; lists what no schema allows
"""

import json
import sys
import warnings
from pathlib import Path

try:
    import jsonschema
except ImportError:
    sys.exit("answers.py: no jsonschema for this python3; scripts/setup.sh test installs python3-jsonschema")

kFolder = Path(__file__).resolve().parents[2] / "apps/intaglio/schemas"
kEnding = ".schema.json"
kShared = "common"  # no command's: what several refer to


def names():
    """Of the commands with a schema, as their man pages are called: bench-linear."""
    return sorted(file.name.removesuffix(kEnding) for file in kFolder.glob("*" + kEnding) if file.name != kShared + kEnding)


def read(name):
    return json.loads((kFolder / (name + kEnding)).read_text())


def command_of(arguments):
    """`bench linear --m 3` is bench-linear; None: no command with a schema."""
    for words in (2, 1):
        name = "-".join(arguments[:words])
        if name in names():
            return name
    return None


def wrong(name, answer):
    """What of an answer the schema of `name` does not allow; None: nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # RefResolver is what Debian 12's jsonschema has
        resolver = jsonschema.RefResolver(kFolder.as_uri() + "/", read(name))
        error = next(jsonschema.Draft202012Validator(read(name), resolver=resolver).iter_errors(answer), None)
    # Of a choice what the nearest alternative says.
    while error is not None and error.context:
        alternatives = {}
        for inner in error.context:
            alternatives.setdefault(inner.schema_path[0], []).append(inner)
        error = min(alternatives.values(), key=len)[0]
    return error and f"{'.'.join(map(str, error.absolute_path)) or 'the answer'}: {error.message[:300]}"


def wrong_text(arguments, text):
    """The same of what a command wrote."""
    name = command_of(arguments)
    if name is None:
        return "there is no schema for it"
    try:
        return wrong(name, json.loads(text))
    except ValueError as error:
        return f"no JSON: {error}"


def main():
    folder = Path(sys.argv[1])
    failed = 0
    files = sorted(folder.glob("*.arguments"))
    for file in files:
        arguments = file.read_text(errors="replace").splitlines()  # any bytes may be a name
        if problem := wrong_text(arguments, file.with_suffix(".json").read_text()):
            failed += 1
            print(f"FAIL: {' '.join(arguments)}: {problem}")
    print(f"{len(files)} answers of --json, {failed} not as their schemas have them")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
