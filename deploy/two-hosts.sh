#!/usr/bin/env bash
# One run of llmkit on two machines that accept ssh:
#
#     deploy/two-hosts.sh FIRST SECOND GPUS_PER_MACHINE RECIPE [OPTIONS] [KEY=VALUE ...]
#
# Start it in a folder that has the same path, and contains the same data, on both machines; llmkit must
# be installed on both. The run folder is created on FIRST. Ctrl-C or SIGTERM saves a checkpoint; start
# again with `--run-dir RUN --resume auto` to continue. FIRST must accept connections from SECOND on
# $PORT (29500) and on other ports.
set -uo pipefail

if [ "$#" -lt 4 ]; then
    sed -n '2,4s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
first=$1 second=$2 gpus=$3 port=${PORT:-29500}
shift 3

start() { # HOST NUMBER ARGUMENTS; the remote terminal forwards Ctrl-C, and a hangup when ssh ends
    local host=$1 number=$2
    shift 2
    ssh -tt "$host" "cd $(printf %q "$PWD") && exec torchrun --nnodes=2 --node-rank=$number" \
        "--nproc-per-node=$gpus --master-addr=$first --master-port=$port --shutdown-timeout=600" \
        "-m llmkit finetune $(printf '%q ' "$@")" </dev/null
}

start "$first" 0 "$@" &
processes=$!
start "$second" 1 "$@" &
processes="$processes $!"

# shellcheck disable=SC2064,SC2086 # a list of numbers
trap "kill -TERM $processes 2>/dev/null" INT TERM HUP
code=0
for process in $processes; do
    wait "$process"
    one=$?
    while kill -0 "$process" 2>/dev/null; do # a signal ended `wait`
        wait "$process"
        one=$?
    done
    [ "$code" -ne 0 ] || code=$one
done
exit "$code"
