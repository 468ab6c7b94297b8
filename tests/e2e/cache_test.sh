#!/usr/bin/env bash
# Prepared weights on disk: what `generate` keeps, `cache` lists and removes.
#   cache_test.sh INTAGLIO_BINARY REFERENCE_DATA_FOLDER
. "$(dirname "$0")/common.sh"

export XDG_CACHE_HOME=$PWD/kept
draw() {  # PICTURE ARGUMENTS...
  local picture=$1
  shift
  expect 0 "$picture" generate "${tiny[@]}" --size 64x64 --prompt cat --seed 1 --steps 1 --output "$picture" "$@"
}
count() { find kept -name '*.packed' 2>/dev/null | wc -l; }

draw off.png --packed-cache off
draw small.png
[ "$(count)" -eq 0 ]; pass_or_fail $? "a small model is kept only where a size is given"
draw first.png --packed-cache 100M
[ "$(count)" -ge 1 ]; pass_or_fail $? "weights are kept"
kept=$(count)
INTAGLIO_PACKED_CACHE=100M draw second.png
[ "$(count)" -eq "$kept" ]; pass_or_fail $? "and used again"
for picture in first second; do
  cmp off.png $picture.png; pass_or_fail $? "the $picture picture is the same to the byte"
done
expect 0 "the list" cache list
stdout_has "int8, cpu"
stdout_has "in $kept file"
expect 0 "the list as JSON" cache list --json
python3 - "$kept" <<'P'
import json, sys
result = json.load(open("out.txt"))
files = result["files"]
assert result["status"] == "ok" and len(files) == int(sys.argv[1]), result
assert result["bytes"] == sum(f["bytes"] for f in files) > 0
assert all(f["precision"] == "int8" and not f["in_use"] and f["source"] for f in files)
open("name", "w").write(files[0]["name"][:6])
P
pass_or_fail $? "the JSON of the list"
expect 0 "nothing is as old" cache clear --older-than 1d
stdout_has "removed 0"
expect 1 "no such name" cache clear 0000nothing
stderr_has "0000nothing: no packed weights are called so"
expect 0 "one by its name" cache clear "$(cat name)"
[ "$(count)" -eq $((kept - 1)) ]; pass_or_fail $? "one is gone"
expect 0 "all of them" cache clear --json
stdout_has '"status": "ok"'
[ "$(count)" -eq 0 ]; pass_or_fail $? "all are gone"
expect 0 "an empty list" cache list
stdout_has "0 files"

finish
