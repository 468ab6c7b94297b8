#!/usr/bin/env bash
# Installs a wheel into an environment of its own and multiplies with it.
#   check_wheel.sh WHEEL
set -euo pipefail
wheel=$(realpath "${1:?usage: check_wheel.sh WHEEL}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --no-index "$wheel"
cd "$work"
env -u INTAGLIO_LIBRARY "$work/venv/bin/python" - <<'PY'
import intaglio
from intaglio import _library
library = _library.library()
assert "site-packages" in library.path, library.path
with open("/proc/self/maps") as maps:
    loaded = {line.split()[-1] for line in maps if ".so" in line}
outside = [path for path in loaded if any(name in path for name in ("libfmt", "libpng", "libutf8proc", "libxxhash")) and "site-packages" not in path]
assert not outside, f"taken from the system: {outside}"
print("intaglio from", library.path)
PY
echo "check_wheel: all is well"
