#!/usr/bin/env bash
# Completion scripts complete, man pages are whole: for every command and option that --help knows.
#   shell_test.sh INTAGLIO_BINARY REFERENCE_DATA_FOLDER
. "$(dirname "$0")/common.sh"

for shell in bash zsh fish; do
  expect 0 "completion $shell" completion $shell
  cp out.txt complete.$shell
  if command -v $shell >/dev/null; then $shell -n complete.$shell; pass_or_fail $? "$shell parses its script"; fi
done
expect 2 "a shell that is not known" completion tcsh
stderr_has 'expected one of bash, zsh, fish, found "tcsh"'

# What bash offers for the last word.
offers() {  # EXPECTED WORDS...
  local expected=$1
  shift
  bash -c 'source ./complete.bash; compopt() { echo "files"; }; COMP_WORDS=(intaglio "$@"); COMP_CWORD=$#; _intaglio; echo "${COMPREPLY[*]}"' _ "$@" 2>err.txt | tr '\n' ' ' | sed 's/ *$//' >out.txt
  [ "$(cat out.txt)" = "$expected" ]; pass_or_fail $? "\"$*\" offers \"$expected\", found \"$(cat out.txt)\""
}
offers "generate" gen
offers "linear link" bench li
offers "linear block step image load link schemes" bench ''
offers "--precision" generate --prec
offers "int8 int8-dequant" generate --precision int8
offers "" generate --seed ''
offers "files" generate --model ''
offers "files" inspect ''
offers "bash" completion b
offers "--precision" generate --model x --prec

# Every option of --help is completed and stands in the command's page.
expect 0 "man pages" manual man
for command in generate verify inspect tune map quantize completion manual "cache list" "cache clear" "bench linear" "bench block" "bench step" "bench image" "bench load" "bench link" "bench schemes"; do
  # shellcheck disable=SC2086
  "$intaglio" $command --help | grep -oE '^  (-h,)?--[a-z0-9-]+' | sed 's/^ *//; s/^-h,//' >options.txt
  check_page=man/intaglio-${command// /-}.1
  present "$check_page"
  while read -r option; do
    grep -qF -- "${option//-/\\-}" "$check_page"; pass_or_fail $? "$check_page has $option"
    for script in complete.bash complete.zsh; do grep -qF -- "$option" $script; pass_or_fail $? "$script has $option of $command"; done
    grep -qF -- "-l ${option#--} " complete.fish; pass_or_fail $? "complete.fish has $option of $command"
  done <options.txt
done
[ "$(grep -c . options.txt)" -gt 3 ]; pass_or_fail $? "bench image has options"
if command -v groff >/dev/null; then
  for page in man/*.1; do
    groff -man -Tutf8 -ww "$page" >/dev/null 2>err.txt
    [ ! -s err.txt ]; pass_or_fail $? "$page is good man"
  done
fi
expect 1 "a folder that cannot be made" manual /proc/man
stderr_has 'error: /proc/man: cannot make the folder: '

finish
