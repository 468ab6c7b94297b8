#!/usr/bin/env python3
"""A wheel of bindings/python with libintaglio.so inside, and with the libraries that it needs and a manylinux system may lack.

Usage: make_wheel.py LIBRARY FOLDER

LIBRARY: libintaglio.so, linked with an rpath of $ORIGIN (`make wheel` does it). The wheel's tag names the newest glibc
that anything in it asks for. Prints the wheel's path.
"""
import base64
import hashlib
import pathlib
import re
import subprocess
import sys
import tomllib
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = ROOT / "bindings" / "python"
# What PEP 600 lets a wheel take from the system, as far as anything here asks for it.
OF_THE_SYSTEM = re.compile(r"^(libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s|ld-linux-x86-64)\.so")
DATE = (2020, 1, 1, 0, 0, 0)  # equal contents, equal bytes


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed(library):
    """By soname, the files that the loader would take for the library and for what it needs."""
    found = {}
    for line in output("ldd", str(library)).splitlines():
        match = re.match(r"\s*(\S+) => (\S+)", line)
        if match and not OF_THE_SYSTEM.match(match[1]):
            if match[2] == "not":
                sys.exit(f"make_wheel: {library}: {match[1]} is not found")
            found[match[1]] = pathlib.Path(match[2])
    return found


def newest_glibc(libraries):
    versions = set()
    for library in libraries:
        versions |= {tuple(map(int, v)) for v in re.findall(r"\bGLIBC_(\d+)\.(\d+)", output("readelf", "-V", str(library)))}
    return max(versions)


def metadata(project):
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}",
             f"Summary: {project['description']}", f"License: {project['license']['text']}",
             f"Requires-Python: {project['requires-python']}", "Description-Content-Type: text/markdown"]
    for extra, wanted in project["optional-dependencies"].items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {name}; extra == '{extra}'" for name in wanted]
    return "\n".join(lines) + "\n\n" + (SOURCE / project["readme"]).read_text()


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: make_wheel.py LIBRARY FOLDER")
    library, folder = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    if "$ORIGIN" not in output("readelf", "-d", str(library)):
        sys.exit(f"make_wheel: {library}: has no rpath of $ORIGIN, so it would not find the libraries beside it")
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    soname = re.search(r"SONAME.*\[(.*)\]", output("readelf", "-d", str(library)))[1]
    libraries = {soname: library, **needed(library)}
    glibc = "_".join(map(str, newest_glibc(libraries.values())))
    tag = f"py3-none-manylinux_{glibc}_x86_64"
    name = f"{project['name']}-{project['version']}"

    files = {f"intaglio/{soname}": path.read_bytes() for soname, path in libraries.items()}
    for path in sorted((SOURCE / "intaglio").rglob("*.py")):
        files[str(path.relative_to(SOURCE))] = path.read_bytes()
    info = f"{name}.dist-info"
    for licence in ("LICENSE", "NOTICE", "THIRD_PARTY_NOTICES.md"):
        files[f"{info}/licenses/{licence}"] = (ROOT / licence).read_bytes()
    files[f"{info}/METADATA"] = metadata(project).encode()
    files[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: intaglio\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
    record = ""
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(data)}\n"
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()

    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path, DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if ".so" in path else 0o644) << 16
            archive.writestr(entry, data)
    print(wheel)


if __name__ == "__main__":
    main()
