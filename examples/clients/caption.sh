#!/bin/sh
# Shell client of a served model: caption.sh http://127.0.0.1:5001 before.png after.png ['{"num_captions": 3}']
# Retries for a minute while the server is busy, unreachable or restarting. The variable IDC_TOKEN, if set, is sent as a
# bearer token; local servers are reached without a proxy.
set -eu

token=$(printf %s "${IDC_TOKEN:-}" | tr -d '[:space:]')
no_proxy="localhost,127.0.0.0/8,127.0.0.1,::1,${no_proxy:-${NO_PROXY:-}}"
export no_proxy

# Images go through a pipe because arguments are limited in length, and the token because others can read arguments. The
# status follows the response.
ask() {
  {
    printf '{"inputs": [{"before": "'; base64 < "$2" | tr -d '\n'
    printf '", "after": "'; base64 < "$3" | tr -d '\n'
    printf '"}], "params": %s}' "${4:-{\}}"
  } | curl --silent --show-error --connect-timeout 5 --max-time 90 --write-out '\n%{http_code}' \
    --header 'Content-Type: application/json' --header @/dev/fd/3 --data-binary @- "${1%/}/invocations" 3<<END
${token:+Authorization: Bearer $token}
END
}

give_up=$(($(date +%s) + 60))
pause=1
while :; do
  ended=0
  answer=$(ask "$@") || ended=$?
  status=${answer#"${answer%???}"}
  answer=${answer%????}
  case $ended:$status in
    0:2??) printf '%s\n' "$answer"; exit ;;
    0:429 | 0:50[234]) ended=22 ;;                # busy or restarting
    7:* | 18:* | 28:* | 52:* | 55:* | 56:*) ;;    # unreachable, or gone during the request
    0:40[13]) give_up=0 ended=22; echo "refused ($status): set IDC_TOKEN to the server's token" >&2 ;;
    0:*) give_up=0 ended=22 ;;                    # rejected with a reason
    *) give_up=0 ;;
  esac
  if [ $(($(date +%s) + pause)) -gt "$give_up" ]; then
    [ -z "$answer" ] || printf '%s\n' "$answer"
    exit "$ended"
  fi
  sleep "$pause"
  pause=$((pause < 4 ? 2 * pause : 5))
done
