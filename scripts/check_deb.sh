#!/usr/bin/env bash
# Installs Intaglio's package on a bare Debian and uses it there: a picture, the manual, completions; then removes it and looks for what is left.
#   check_deb.sh FOLDER_OF_PACKAGES [SUITE]
# As root; needs debootstrap. The bare system comes from the mirror that this machine's apt uses.
set -euo pipefail
packages=$(realpath "${1:?usage: check_deb.sh FOLDER_OF_PACKAGES [SUITE]}")
suite=${2:-bookworm}
command -v debootstrap >/dev/null || { echo "check_deb: debootstrap is not installed" >&2; exit 1; }
mirror=$(apt-get indextargets --format '$(SITE)' "Created-By: Packages" | head -1)
root=$(mktemp -d)
trap 'umount "$root/proc" 2>/dev/null || true; rm -rf --one-file-system "$root"' EXIT
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"; }

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

echo "check_deb: remove"
inside sh -c 'dpkg --purge intaglio >/dev/null 2>&1 || dpkg --purge intaglio-cuda >/dev/null'
left=$(inside find /usr /etc /var/lib -name '*intaglio*' -not -path '/var/lib/dpkg/*')
[ -z "$left" ] || { echo "left behind: $left"; exit 1; }
echo "check_deb: all is well"
