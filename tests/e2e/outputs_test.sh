#!/usr/bin/env bash
# Outputs are checked before any work, and none replaces an input or another output, however its path is spelled.
#   outputs_test.sh INTAGLIO_BINARY REFERENCE_DATA_FOLDER
. "$(dirname "$0")/common.sh"

cat_picture=(generate "${small[@]}" --prompt cat --seed 9)
before_work() {  # CODE MESSAGE ARGUMENTS...: refused with no phase begun
  expect_refused "$@"
  grep -q "hashing\|loading" err.txt; [ $? -ne 0 ]; pass_or_fail $? "nothing is begun: ${*:3}"
}
expect 0 "a picture" "${cat_picture[@]}" --output cat.png

# Names that cannot be.
long=$(printf 'n%.0s' $(seq 300))
for flag in --latents-out --features-out; do
  before_work 1 "File name too long" "${cat_picture[@]}" --output refused/x.png $flag "refused/$long"
  before_work 1 "there is no folder nowhere" "${cat_picture[@]}" --output refused/x.png $flag nowhere/x
  before_work 1 "Not a directory" "${cat_picture[@]}" --output refused/x.png $flag cat.png/x
done
before_work 1 "File name too long" "${cat_picture[@]}" --output "refused/$long.png"
before_work 1 "there is no folder nowhere" "${cat_picture[@]}" --output nowhere/x.png
before_work 1 "Not a directory" "${cat_picture[@]}" --output cat.png/x.png
expect 2 "an option twice" "${cat_picture[@]}" --output a.png --output b.png; stderr_has "--output: given 2 times"
mkdir folder.png
before_work 1 "--latents-out: cannot write folder.png: is a folder" "${cat_picture[@]}" --output refused/x.png --latents-out folder.png
expect 0 "a folder that looks like a picture" "${cat_picture[@]}" --output folder.png; present folder.png/intaglio-9.png
ln -s loop_b loop_a; ln -s loop_a loop_b
before_work 1 "symbolic links" "${cat_picture[@]}" --output refused/x.png --latents-out loop_a
before_work 1 "cannot write" "${cat_picture[@]}" --output refused/x.png --latents-out /proc/l.safetensors
if [ "$(id -u)" -ne 0 ]; then
  : >kept.png && chmod a-w kept.png
  before_work 1 "Permission denied" "${cat_picture[@]}" --output kept.png
fi

# The same file twice.
mkdir sub && ln -s sub other
same_file() { before_work 2 "is the same file as" "${cat_picture[@]}" "$@"; }
same_file --output refused/x.png --latents-out refused/x.png
same_file --output refused/x.png --latents-out ./refused//x.png
same_file --output refused/x.png --latents-out sub/../refused/x.png
same_file --output refused/x.png --latents-out "$PWD/refused/x.png"
same_file --latents-out sub/t --features-out other/t --output refused/x.png
: >one && ln one two && ln -s one three && ln -s nothing_yet four
same_file --latents-out one --features-out two --output refused/x.png
same_file --latents-out one --features-out three --output refused/x.png
same_file --latents-out nothing_yet --features-out four --output refused/x.png
absent nothing_yet

# An input: every file of the model, the noise, prompts, what the shell redirects.
cp -r "$data/tiny" model && chmod -R u+w model
sum() { (cd model && find . -type f -exec md5sum {} + | sort | md5sum); }
whole=$(sum)
of_model=(generate --model model --size 64x64 --steps 2 --prompt cat --seed 9 --output refused/x.png)
for file in $(cd model && find . -type f -name '*.json' -o -type f -name '*.safetensors'); do
  before_work 2 "a file of the model" "${of_model[@]}" --latents-out "model/$file"
  before_work 2 "a file of the model" "${of_model[@]}" --features-out "sub/../model/$file"
done
ln -s ../model/tokenizer/tokenizer.json sub/link; ln model/vae/config.json sub/hard
before_work 2 "a file of the model" "${of_model[@]}" --features-out sub/link
before_work 2 "a file of the model" "${of_model[@]}" --latents-out sub/hard
mv model/vae/diffusion_pytorch_model.safetensors blob && ln -s ../../blob model/vae/diffusion_pytorch_model.safetensors
before_work 2 "a file of the model" "${of_model[@]}" --latents-out blob
mv blob model/vae/diffusion_pytorch_model.safetensors
[ "$(sum)" = "$whole" ]; pass_or_fail $? "the model is as it was"
printf cat >prompt.png
before_work 2 "--prompt, an input" generate "${small[@]}" --prompt @prompt.png --output prompt.png
before_work 2 "--prompts, an input" generate "${small[@]}" --prompts prompt.png --output refused/x.png --latents-out ./prompt.png
expect 0 "latents" "${cat_picture[@]}" --output x.png --latents-out noise
before_work 2 "--noise, an input" generate "${small[@]}" --prompt cat --noise noise --output refused/x.png --latents-out noise
"$intaglio" "${cat_picture[@]}" --output refused/x.png --latents-out redirected --json >redirected 2>err.txt </dev/null
[ $? -eq 2 ]; pass_or_fail $? "what the shell redirects stdout to"; stderr_has "standard output"
[ "$(cat prompt.png)" = cat ]; pass_or_fail $? "the prompt is as it was"

# Links are written through, what is no file is written to.
: >target.png && ln -s target.png link.png && ln -s new.png fresh.png
expect 0 "a link" "${cat_picture[@]}" --output link.png
[ -L link.png ]; pass_or_fail $? "the link stays"; same target.png cat.png
expect 0 "a link to nothing" "${cat_picture[@]}" --output fresh.png
[ -L fresh.png ]; pass_or_fail $? "the link stays"; same new.png cat.png
expect 0 "/dev/null" "${cat_picture[@]}" --output x.png --latents-out /dev/null --features-out /dev/null
[ -c /dev/null ]; pass_or_fail $? "/dev/null stays a device"
if mknod null.png c 1 3 2>/dev/null; then
  expect 0 "a device node" "${cat_picture[@]}" --output null.png; [ -c null.png ]; pass_or_fail $? "the device node stays"
  mknod disk.png b 7 200
  before_work 1 "is a disk" "${cat_picture[@]}" --output disk.png; [ -b disk.png ]; pass_or_fail $? "the disk stays"
fi
mkfifo pipe.png
cat pipe.png >from_pipe.png &
expect 0 "a pipe" "${cat_picture[@]}" --output pipe.png
wait; [ -p pipe.png ]; pass_or_fail $? "the pipe stays"; same from_pipe.png cat.png
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket.png")'
before_work 1 "is a socket" "${cat_picture[@]}" --output socket.png; [ -S socket.png ]; pass_or_fail $? "the socket stays"

# Folders that are made, files that are kept.
expect 0 "a new folder" "${cat_picture[@]}" --output made/deep/
same made/deep/intaglio-9.png cat.png
before_work 1 "is no folder" "${cat_picture[@]}" --output cat.png/
before_work 2 "multiples of 16" generate "${tiny[@]}" --prompt cat --size 63x64 --output unmade/
absent unmade
before_work 1 "--no-overwrite" "${cat_picture[@]}" --no-overwrite --output cat.png
before_work 1 "--no-overwrite" "${cat_picture[@]}" --no-overwrite --output refused/x.png --latents-out noise
expect 0 "--no-overwrite of a new file" "${cat_picture[@]}" --no-overwrite --output unlike.png
same unlike.png cat.png

# The picture on stdout.
"$intaglio" "${cat_picture[@]}" --output - >stdout.png 2>err.txt </dev/null; pass_or_fail $? "--output -"
same stdout.png cat.png
expect_refused 2 "--output -: --json" "${cat_picture[@]}" --output - --json
expect_refused 2 "--output -: takes one picture, found 2" "${cat_picture[@]}" --output - --count 2
if command -v script >/dev/null; then
  TERM=xterm script -qec "$(printf '%q ' "$intaglio" "${cat_picture[@]}" --output -)" out.txt >/dev/null 2>&1 </dev/null
  stdout_has "standard output is a terminal"
fi

# Folders that are yet to be made, and "..".
before_work 1 "there is no folder" "${cat_picture[@]}" --output unmade/../refused/new/
mkdir -p real/deep; ln -s real/deep climb
expect 0 "behind a link .. is where the system says" "${cat_picture[@]}" --output climb/../made/
present real/made/intaglio-9.png
cp -r "$data/tiny" model; echo '{}' >model/vocabulary.json
for file in vocabulary.json model_index.json tokenizer/tokenizer.json; do
  before_work 2 "is the same file as a file of the model" generate --model model --size 64x64 --steps 2 --prompt cat --output refused/x.png --latents-out model/$file
done
if [ "$(id -u)" -eq 0 ] && mknod nodevice.png c 250 99 2>/dev/null; then
  before_work 1 "No such device" "${cat_picture[@]}" --output nodevice.png
fi

# Quiet.
expect 0 "quiet" "${cat_picture[@]}" --output quiet.png --quiet
[ ! -s err.txt ]; pass_or_fail $? "quiet says nothing"
expect 0 "quiet, with more threads than processors" "${cat_picture[@]}" --output quiet.png --quiet --threads 999
[ ! -s err.txt ]; pass_or_fail $? "quiet says nothing of threads"
expect 1 "quiet errors" "${cat_picture[@]}" --output nowhere/quiet.png --quiet
stderr_has "there is no folder"

# Benchmarks and maps, too.
printf 'first 8 16 32\n' >shapes.txt
early() {  # MESSAGE CODE ARGUMENTS...
  expect "$2" "refuses ${*:3}" "${@:3}"; stderr_has "$1"
  [ ! -s out.txt ]; pass_or_fail $? "nothing is measured: ${*:3}"
}
for bench in "bench linear" "bench block" "bench step --device cpu" "map --device cpu"; do
  # shellcheck disable=SC2086
  early "there is no folder" 1 $bench --json nowhere/x.json
done
early "there is no folder" 1 bench image --device cpu --model synthetic:mini --json nowhere/x.json
early "is the same file as" 2 bench linear --shapes shapes.txt --json ./shapes.txt
early "is the same file as" 2 bench step --device cpu --json x.json --profile ./x.json
early "there is no folder" 1 tune --export nowhere/x.json
early "is the same file as" 2 tune --import shapes.txt --export shapes.txt

finish
