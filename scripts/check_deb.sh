#!/usr/bin/env bash
# Installs Intaglio's package on a bare Debian and uses it there: a picture by command, the server's page and a picture from it, the manual, completions;
# then removes it and looks for what is left. Of a package with CUDA kernels: that it needs neither toolkit nor driver for this, and says what a card needs.
#   check_deb.sh FOLDER_OF_PACKAGES [SUITE]
# As root; needs debootstrap and curl. The bare system comes from the mirror that this machine's apt uses.
set -euo pipefail
packages=$(realpath "${1:?usage: check_deb.sh FOLDER_OF_PACKAGES [SUITE]}")
suite=${2:-bookworm}
command -v debootstrap >/dev/null || { echo "check_deb: debootstrap is not installed" >&2; exit 1; }
command -v curl >/dev/null || { echo "check_deb: curl is not installed" >&2; exit 1; }
mirror=$(apt-get indextargets --format '$(SITE)' "Created-By: Packages" | head -1)
root=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; umount "$root/proc" 2>/dev/null || true; rm -rf --one-file-system "$root"' EXIT
bare=(chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8)
inside() { "${bare[@]}" "$@"; }

echo "check_deb: a bare $suite"
debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$root.log" 2>&1 || { tail -5 "$root.log"; exit 1; }
rm -f "$root.log"
mount -t proc proc "$root/proc"
cp /etc/resolv.conf "$root/etc/" 2>/dev/null || true
cp -r /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
inside dpkg-query -W -f='${Package}\n' | sort >"$root/before"
cp "$packages"/intaglio*.deb "$root/tmp/"

echo "check_deb: install"
# shellcheck disable=SC2016
inside sh -c 'dpkg -i /tmp/intaglio*.deb >/tmp/dpkg.log 2>&1; apt-get update -qq && apt-get install -y -qq --no-install-recommends -f >/tmp/apt.log 2>&1 || { tail -5 /tmp/apt.log; exit 1; }'
inside dpkg-query -W -f='${Status}\n' 'intaglio*' | grep -q '^install ok installed$'
inside dpkg-query -W -f='${Package}\n' | sort | comm -13 "$root/before" - | tr '\n' ' '; echo

echo "check_deb: use"
inside sh -c 'cd /tmp && intaglio generate --prompt "a red apple on a yellow background" --seed 1 --output apple.png --quiet'
head -c 8 "$root/tmp/apple.png" | cmp - <(printf '\x89PNG\r\n\x1a\n')
inside test -s /usr/share/man/man1/intaglio-generate.1.gz
inside bash -c 'source /usr/share/bash-completion/completions/intaglio; complete -p intaglio' >/dev/null
inside ldd /usr/bin/intaglio | { ! grep 'not found'; }

if inside dpkg-query -W -f='${Status}' intaglio-cuda 2>/dev/null | grep -q '^install ok installed$'; then
  echo "check_deb: a card, of which there is none"
  inside dpkg-query -W -f='${Package}\n' | { ! grep -E '^(nvidia|cuda|libnvidia|libcuda|libcublas)'; }
  for command in 'generate --prompt "a red apple" --output /tmp/card.png' 'serve --port 0 --data-dir /tmp/card' 'bench linear --m 64 --n 64 --k 64'; do
    said=$(inside sh -c "intaglio $command --device cuda:0 2>&1") && { echo "'$command --device cuda:0' did not fail"; exit 1; }
    grep 'there is no NVIDIA driver on this machine' <<<"$said" || { echo "'$command --device cuda:0' says: $said"; exit 1; }
  done
fi

echo "check_deb: serve"
"${bare[@]}" intaglio serve --port 0 --data-dir /tmp/served >"$root/address" 2>"$root/served.log" &
server=$!
for _ in $(seq 100); do [ -s "$root/address" ] && break; sleep 0.1; done
address=$(head -1 "$root/address")
address=${address%/}
[ -n "$address" ] || { cat "$root/served.log"; exit 1; }
page=$(curl -sSf "$address/")
for file in $(grep -oE '(src|href)="[^"]+\.(js|css)"' <<<"$page" | sed -E 's/^[^"]*"\/?(.*)"$/\1/'); do
  [ "$(curl -sSf "$address/$file" | wc -c)" -gt 1000 ] || { echo "$file of the page is missing"; exit 1; }
done
curl -sSf "$address/v1/images/generations" -H 'Content-Type: application/json' -d '{"prompt": "a red apple", "seed": 1}' |
  sed -E 's/.*"b64_json":"([^"]*)".*/\1/' | base64 -d >"$root/served.png"
head -c 8 "$root/served.png" | cmp - <(printf '\x89PNG\r\n\x1a\n')
kill "$server"
wait "$server" || { echo "the server ended with $?"; cat "$root/served.log"; exit 1; }
server=

echo "check_deb: remove"
# Of a package that is not installed dpkg says so and ends with 0.
inside dpkg --purge "$(dpkg-deb -f "$(ls "$packages"/intaglio*.deb)" Package)" >/dev/null
left=$(inside find /usr /etc /var/lib -name '*intaglio*' -not -path '/var/lib/dpkg/*')
[ -z "$left" ] || { echo "left behind: $left"; exit 1; }
echo "check_deb: all is well"
