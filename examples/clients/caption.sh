#!/bin/sh
# What changed, from a shell: caption.sh http://127.0.0.1:5001 before.png after.png ['{"num_captions": 3}']
# The images go through a pipe, since a shell's arguments are short; curl asks again while the server is busy or away.
set -eu
{
  printf '{"inputs": [{"before": "'; base64 < "$2" | tr -d '\n'
  printf '", "after": "'; base64 < "$3" | tr -d '\n'
  printf '"}], "params": %s}' "${4:-{\}}"
} | curl --silent --show-error --fail-with-body --retry 8 --retry-connrefused --retry-max-time 60 \
  --header 'Content-Type: application/json' --data-binary @- "${1%/}/invocations"
