#!/usr/bin/env bash
# Tests and measures denoised on this machine's GPU, in under ten minutes and without a network, and writes
# docs/benchmarks/cuda.md, its plot and the raw figures beside it.
#
#   scripts/gpu_report.sh [--programs FOLDER] [--out FOLDER]
#
#   --programs  take gpu_tests, gpu_marks, denoised and denoise from there instead of building them (preset gpu, which
#               needs a CUDA Toolkit and what a serving build needs, but neither LibTorch nor OpenCV)
#   --out       where the report goes instead of docs/benchmarks; cuda.md is completed there if it is there
#
# It goes as far as it can: a stage that fails, or whose tool is missing, is told in the report, and the next begins.
# Exit status 1 if a stage failed, 77 if there is no GPU.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

readonly model=$root/models/mnist.pt
programs='' out=$root/docs/benchmarks server=''
while (($#)); do
  case $1 in
    --programs) programs=${2:?--programs needs a folder} && shift 2 ;;
    --out) out=${2:?--out needs a folder} && shift 2 ;;
    *) die "usage: scripts/gpu_report.sh [--programs FOLDER] [--out FOLDER], not $1" ;;
  esac
done
forget_other_servers
raw=$(mktemp -d)
failed=0

stop_server() {
  if [[ -n $server ]]; then
    kill -KILL "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  server=
}

clean_up() {
  stop_ticker
  stop_server
  rm -rf "$raw"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# try TITLE LOG COMMAND...: a stage whose failure is told and goes on.
try() {
  local name=$1 log=$2 status=0
  stage "$@" || status=$?
  cp "$logs/$log" "$raw/"
  printf '%s\t%s\t%s\n' "$name" "$status" "$log" >>"$raw/stages.tsv"
  if ((status != 0)); then failed=1; fi
}

# pass_over TITLE WHY: a stage that cannot be here.
pass_over() {
  printf '%s%s\n' "$(title "$1")" "passed over: $2"
  printf '%s\t%s\t%s\n' "$1" "$2" "" >>"$raw/stages.tsv"
}

see_machine() {
  nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.draw,power.limit,temperature.gpu \
    --format=csv,noheader --id=0
}

# sanitize TOOL: one test of the kernel in fp16, at hundreds of times its duration.
sanitize() {
  timeout 90 compute-sanitizer --error-exitcode 1 --tool "$1" "$programs/gpu_tests" \
    --gtest_filter='*NoiseAndUpdate*/fp16'
}

# profile IMAGES: hardware counters of one step.
profile() {
  timeout 60 ncu --clock-control none --launch-skip 35 --launch-count 1 --csv --page raw --metrics \
"gpu__time_duration.sum,sm__inst_executed.sum,sm__inst_executed.avg.per_cycle_active,\
sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active,l1tex__t_sector_hit_rate.pct,lts__t_bytes.sum,\
launch__registers_per_thread,launch__shared_mem_per_block_dynamic,launch__grid_size" \
    "$programs/gpu_marks" --checkpoint "$model" --profile "$1"
}

# draw DIGIT SEED SAMPLER STEPS GUIDANCE OPTION...
draw() {
  local digit=$1 seed=$2 sampler=$3 steps=$4 guidance=$5
  shift 5
  "$programs/denoise" "$digit" --server "$address" --quiet --seed "$seed" --sampler "$sampler" --steps "$steps" \
    --guidance_scale "$guidance" "$@"
}

# Ten requests of a hundred images each, of mixed samplers, at the same time; then some of the images again, each alone.
compare_with_alone() {
  local work=$raw/pictures image alone i compared=0
  local -a mixed=("ddpm 1000 1" "ddpm 1000 2" "ddim 50 1" "ddim 20 1.5" "dpm_solver_pp_2m 20 1" "ddpm 200 1"
    "ddim 100 1" "dpm_solver_pp_2m 10 2" "ddpm 1000 1" "ddim 250 1") jobs=() kind
  mkdir -p "$work"
  for i in "${!mixed[@]}"; do
    read -ra kind <<<"${mixed[i]}"
    mkdir "$work/$i"
    draw "$i" "$((100 + i))" "${kind[@]}" --count 100 --priority batch --out "$work/$i/many.png" &
    jobs+=($!)
  done
  for i in "${jobs[@]}"; do wait "$i" || return 1; done
  for i in "${!mixed[@]}"; do
    read -ra kind <<<"${mixed[i]}"
    [[ $(find "$work/$i" -name 'many*.png' | wc -l) == 100 ]] || { echo "of kind $i, images are missing"; return 1; }
    for image in 0 37 99; do
      alone=$work/$i/alone.png
      draw "$i" "$((100 + i))" "${kind[@]}" --index "$image" --out "$alone" || return 1
      cmp "$alone" "$(find "$work/$i" -name 'many*.png' | sort -V | sed -n "$((image + 1))p")" || return 1
      compared=$((compared + 1))
    done
  done
  echo "1000 images were drawn at the same time, $compared of them again alone: the same bytes"
}

# As clients see it: digits a second through gRPC.
bench() {
  "$programs/denoise" bench --server "$address" --sampler ddpm --steps 1000 --concurrency 1,16,256,1024 \
    --duration 4 --warmup 1
}

serve() {
  local status=0
  {
    start_and_await "$raw/server.txt" "$programs/denoised" --checkpoint="$model" --device=cuda --lame_duck=0 \
      --listen=127.0.0.1:0 --metrics_listen=127.0.0.1:0 --max_queued_images=2048 && compare_with_alone && bench
  } || status=$?
  stop_server
  return "$status"
}

if ! see_machine >"$raw/machine.csv" 2>/dev/null; then
  say "There is no NVIDIA GPU that nvidia-smi can see here: nothing was measured."
  exit 77
fi
sed 's/^/GPU: /' "$raw/machine.csv"
if [[ -z $programs ]]; then
  stage "Configuring" configure.log configure gpu
  stage "Building" build.log build gpu
  programs=$root/build/gpu/bin
fi
for program in gpu_tests gpu_marks denoised denoise; do
  [[ -x $programs/$program ]] || die "$programs has no $program."
done
try "Tests" gpu_tests.log timeout 200 "$programs/gpu_tests"
try "Marks" gpu_marks.log "$programs/gpu_marks" --checkpoint "$model" --out "$raw/marks.json"
see_machine >"$raw/machine_busy.csv" || true
if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
  try "The same by PyTorch" torch_marks.log timeout 150 python3 "$root/tests/gpu/torch_marks.py" \
    --checkpoint "$model" --out "$raw/torch.json"
else
  pass_over "The same by PyTorch" "no PyTorch that can use this GPU"
fi
try "A server" gpu_server.log serve
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck synccheck racecheck; do try "compute-sanitizer $tool" "gpu_$tool.log" sanitize $tool; done
else
  pass_over "compute-sanitizer" "it is not installed"
fi
if command -v ncu >/dev/null; then
  for images in 1 264; do try "Counters, $images images" "gpu_counters_$images.log" profile $images; done
else
  pass_over "Counters" "ncu is not installed"
fi
mkdir -p "$out"
try "Writing the report" gpu_write.log python3 "$root/tests/gpu/write_report.py" --raw "$raw" --out "$out" \
  --template "$root/docs/benchmarks/cuda.md"
say
stage_table
say "The report: $out/cuda.md"
((failed == 0))
