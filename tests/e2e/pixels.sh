# What a picture shows: sourced by tests, whose pass_or_fail is called.
# The pixels of a picture, without its notes.
pixels() { python3 - "$1" <<'PY'
import sys, struct, zlib, hashlib
raw = open(sys.argv[1], "rb").read()
i, idat = 8, b""
while i < len(raw):
    n = struct.unpack(">I", raw[i:i + 4])[0]
    if raw[i + 4:i + 8] == b"IDAT": idat += raw[i + 8:i + 8 + n]
    i += n + 12
print(hashlib.sha256(zlib.decompress(idat)).hexdigest())
PY
}
same_pixels() { [ "$(pixels "$1")" = "$(pixels "$2")" ]; pass_or_fail $? "$1 shows what $2 shows"; }
differ_in_pixels() { [ "$(pixels "$1")" != "$(pixels "$2")" ]; pass_or_fail $? "$1 shows something else than $2"; }
