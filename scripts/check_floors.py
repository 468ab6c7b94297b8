#!/usr/bin/env python3
"""No include of src goes up or round: check_floors.py [TREE].

src/CMakeLists.txt says which floors there are, from the ground up, and which of them each may include (BELOW). Held here:
- a file includes its own floor's files and those of the floors that BELOW names, each of which stands before it in src/CMakeLists.txt;
- BELOW names no floor that the sources could do without;
- no file includes itself over others, and no folder's headers include those of a folder that includes them.
Exits 1 and names each file and line at fault.
"""

import os
import re
import sys
from pathlib import Path

kKeywords = ("BELOW", "SOURCES", "CUDA_SOURCES", "LINK")
kSources = {".h", ".cpp", ".cu", ".cuh"}
kHeaders = {".h", ".cuh"}


def read_floors(text):
    """{floor: floors it may include}, in the order of the lines."""
    floors = {}
    for name, arguments in re.findall(r"^intaglio_floor\((\w+)([^)]*)\)", text, re.MULTILINE):
        taking, below = False, []
        for word in arguments.split():
            if word in kKeywords:
                taking = word == "BELOW"
            elif taking:
                below.append(word)
        floors[name] = below
    return floors


def read_includes(src):
    """[(file, line, included file)], as the compiler finds it: beside the file, else in src. What is in neither is a library's, or include/'s."""
    files = sorted(path for path in src.rglob("*") if path.suffix in kSources)
    known, found = {str(path): path for path in files}, []
    for file in files:
        text = file.read_text(errors="replace")
        for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*["<]([^">\n]+)[">]', text, re.MULTILINE):
            for folder in (file.parent, src):
                name = os.path.normpath(f"{folder}/{match[1]}")
                if name in known or ".." in match[1] and os.path.isfile(name):
                    found.append((file, text.count("\n", 0, match.start()) + 1, known.get(name, Path(name))))
                    break
    return found


def circles(edges):
    """Each strongly connected set of more than one node as a path that returns to its start."""
    def path(start):
        came, queue = {}, [start]
        for node in queue:
            for next_node in sorted(edges.get(node, ())):
                if next_node == start:
                    way = [start, node]
                    while way[-1] != start:
                        way.append(came[way[-1]])
                    return way[::-1]
                if next_node not in came:
                    came[next_node] = node
                    queue.append(next_node)
        return None

    seen, found = set(), []
    for node in sorted(edges):
        way = None if node in seen else path(node)
        if way:
            seen.update(way)
            found.append(way)
    return found


def wrong_floors(floors, src):
    order = list(floors)
    for name, below in floors.items():
        for other in below:
            if other not in floors:
                yield f"src/CMakeLists.txt: {name} names {other}, which is no floor"
            elif order.index(other) >= order.index(name):
                yield f"src/CMakeLists.txt: {name} names {other}, which does not stand below it"
    for folder in sorted(path.name for path in src.iterdir() if path.is_dir()):
        if folder not in floors:
            yield f"src/{folder}: no floor of src/CMakeLists.txt"


def wrong_includes(floors, src, includes):
    order, used = list(floors), set()
    for file, number, included in includes:
        place = f"src/{file.relative_to(src)}:{number}"
        if src not in included.parents:
            yield f"{place}: includes {included}, which is outside src"
            continue
        floor, other = file.relative_to(src).parts[0], included.relative_to(src).parts[0]
        used.add((floor, other))
        if floor == other or other in floors.get(floor, ()):
            continue
        name = included.relative_to(src)
        if floor in order and other in order and order.index(other) > order.index(floor):
            yield f"{place}: includes {name}, and {other} stands above {floor}"
        else:
            yield f"{place}: includes {name}, and {floor} may not: src/CMakeLists.txt names {', '.join(floors.get(floor, ())) or 'no floor'} below it"
    for name, below in floors.items():
        for other in below:
            if (name, other) not in used:
                yield f"src/CMakeLists.txt: {name} names {other}, of which it includes nothing"


def wrong_circles(src, includes):
    files, folders = {}, {}
    for file, _, included in includes:
        if src not in included.parents:
            continue
        files.setdefault(file.relative_to(src), set()).add(included.relative_to(src))
        # A .cpp stands above the folders within its own: it is what nobody includes.
        if file.suffix in kHeaders and file.parent != included.parent:
            folders.setdefault(file.parent.relative_to(src), set()).add(included.parent.relative_to(src))
    for kind, edges in (("files", files), ("headers of folders", folders)):
        for way in circles(edges):
            yield f"{kind} that include each other: " + " -> ".join(f"src/{node}" for node in way)


def main():
    src = (Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve() / "src"
    floors = read_floors((src / "CMakeLists.txt").read_text())
    includes = read_includes(src)
    wrong = [*wrong_floors(floors, src), *wrong_includes(floors, src, includes), *wrong_circles(src, includes)]
    if not floors or not includes:
        wrong.append(f"{src}: no floor or no include found")
    print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
