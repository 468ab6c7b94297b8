#!/usr/bin/env python3
"""What pages promise and no compiler checks: README's length, links that lead somewhere, quotes of files, a notice for every library that the build asks for.

Exits 1 and names each page and line at fault.
"""

import re
import subprocess
import sys
from pathlib import Path

kReadmeLines = 80
kTop = Path(__file__).resolve().parent.parent
# The build's name of a library -> what THIRD_PARTY_NOTICES.md calls it. What is part of CMake or a tool is None.
kNotices = {
    "fmt": "fmt",
    "nlohmann_json": "nlohmann-json",
    "UTF8PROC": "utf8proc",
    "XXHASH": "xxHash",
    "PNG": "libpng",
    "OpenMP": "libgomp",
    "dnnl": "oneDNN",
    "CLI11": "CLI11",
    "SQLITE3": "SQLite",
    "HIREDIS": "hiredis",
    "CURL": "libcurl",
    "MICROHTTPD": "libmicrohttpd",
    "GNUTLS": "GnuTLS",
    "JPEG": "libjpeg-turbo",
    "WEBP": "libwebp",
    "tl-expected": "tl-expected",
    "CUDAToolkit": "CUDA run time",
    "GTest": "GoogleTest",
    "PCRE2": "PCRE2",
    "Threads": None,
    "PkgConfig": None,
    "intaglio": None,
}


def tracked(*patterns):
    listing = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns], cwd=kTop, capture_output=True, text=True, check=True)
    return [kTop / name for name in listing.stdout.split("\0") if name and (kTop / name).is_file()]


def anchors(page):
    """The names GitHub gives a page's headings."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head)).strip().lower().replace(" ", "-") for head in heads}


def broken_links(page):
    text = re.sub(r"```.*?```", lambda m: "\n" * m[0].count("\n"), page.read_text(), flags=re.S)
    for number, line in enumerate(text.splitlines(), 1):
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            if not file.exists():
                yield f"{page.relative_to(kTop)}:{number}: {target} is not there"
            elif anchor and file.suffix == ".md" and anchor not in anchors(file):
                yield f"{page.relative_to(kTop)}:{number}: {name or page.name} has no heading #{anchor}"


def pages_that_are_gone(source):
    """Comments name pages by their path in the repository."""
    for number, line in enumerate(source.read_text(errors="replace").splitlines(), 1):
        for name in re.findall(r"\bdocs/[\w\-/]+\.md\b", line):
            if not (kTop / name).exists():
                yield f"{source.relative_to(kTop)}:{number}: {name} is not there"


def stale_quotes(page):
    """`<!-- quote: FILE -->` before a code block: FILE holds the block as it is."""
    text = page.read_text()
    for found in re.finditer(r"<!-- quote: (\S+) -->\n```\w*\n(.*?)\n```", text, flags=re.S):
        number = text[: found.start()].count("\n") + 1
        source = kTop / found[1]
        if not source.is_file():
            yield f"{page.relative_to(kTop)}:{number}: {found[1]} is not there"
        elif found[2] not in source.read_text():
            yield f"{page.relative_to(kTop)}:{number}: {found[1]} does not say this"


def missing_notices():
    notices = (kTop / "THIRD_PARTY_NOTICES.md").read_text()
    for file in tracked("CMakeLists.txt", "*/CMakeLists.txt", "cmake/*.cmake"):
        text = file.read_text()
        for name in re.findall(r"find_package\((\w[\w\-]*)", text) + re.findall(r"pkg_check_modules\((\w+)", text):
            if name not in kNotices:
                yield f"{file.relative_to(kTop)}: {name} is new; name it in THIRD_PARTY_NOTICES.md and in scripts/check_pages.py"
            elif kNotices[name] and kNotices[name] not in notices:
                yield f"THIRD_PARTY_NOTICES.md: nothing about {kNotices[name]}, which {file.relative_to(kTop)} asks for"


def main():
    wrong = []
    lines = len((kTop / "README.md").read_text().splitlines())
    if lines > kReadmeLines:
        wrong.append(f"README.md has {lines} lines; at most {kReadmeLines}: move what not everyone needs to docs/")
    for page in tracked("*.md"):
        wrong.extend(broken_links(page))
        wrong.extend(stale_quotes(page))
    for source in tracked("*.h", "*.cpp", "*.cu", "*.cuh", "*.py", "*.sh", "*.cmake", "*.md", "Makefile"):
        wrong.extend(pages_that_are_gone(source))
    wrong.extend(missing_notices())
    print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
