#!/usr/bin/env bash
# One run of llmkit on two machines that are reached by ssh:
#
#     deploy/two-hosts.sh FIRST SECOND GPUS_PER_MACHINE RECIPE [OPTIONS] [KEY=VALUE ...]
#
# Both machines need llmkit, and the data, in the folder of the same name as this one. The run is in
# that folder on FIRST. Ctrl-C or SIGTERM saves a checkpoint; run it again with `--resume auto`.
# $PORT (29500) and some other ports of FIRST must be open to SECOND.
set -uo pipefail

if [ "$#" -lt 4 ]; then
    sed -n '2,4s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
first=$1 second=$2 gpus=$3 port=${PORT:-29500}
shift 3

start() { # HOST NUMBER ARGUMENTS: the terminal passes Ctrl-C on, and a hangup if ssh ends
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
