#!/usr/bin/env bash
# A build as a SLURM job array of parts, and a job that finalizes it once all of them have ended.
#
#     scripts/slurm_array.sh SOURCE STORE [PARTS] [SBATCH OPTION...]
#
# Each task takes the cores and memory that it is given: pass --cpus-per-task, --mem, --time, --partition as your
# cluster asks. Run it again where tasks failed: what is whole is skipped. PLAN and COMMAND may be set, as may SBATCH.
set -euo pipefail

if [ "$#" -lt 2 ]; then
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
source=$1 store=$2 parts=${3:-16}
shift "$(($# < 3 ? $# : 3))"
command=${COMMAND:-ctspine-zarr}
sbatch=${SBATCH:-sbatch}
plan=${PLAN:-$(basename "$store").plan.json}

if [ -e "$plan" ]; then
    echo "goes by $plan, which is there; remove it for a new plan" >&2
fi
# Made once, here: the parts agree even if the source changes while they wait in the queue.
# Status 3 says that some cases cannot be built: the others can.
"$command" build "$source" "$store" --plan "$plan" --dry-run || [ $? -eq 3 ]

quoted() { printf '%q ' "$@"; }
array=$("$sbatch" --parsable --job-name=ctspine-build --array="1-$parts" "$@" \
    --wrap "$(quoted "$command" build "$source" "$store" --plan "$plan" --part slurm)")
# A part with refused cases ends with status 3: afterany, for finalize itself says what is missing.
"$sbatch" --job-name=ctspine-finalize --dependency="afterany:${array%%;*}" "$@" \
    --wrap "$(quoted "$command" finalize "$store" --plan "$plan")"
