#!/usr/bin/env bash
# Proves that the compose file's profile `cluster` does what docs/scale.md says:
#   - the images build; two APIs, a worker, PostgreSQL, nginx, a Ray head and a node come up healthy;
#   - Ray answers nobody without the token, and is not reached from where nginx and PostgreSQL are;
#   - the walks of a user, through nginx and at each API by itself (cluster_flows.py), with trainings on the Ray node;
#   - killed while a job trains, each by itself: an API, the worker, the node, the head, PostgreSQL: the job succeeds, its
#     version is published once, and who asks nginx for words meanwhile loses no answer.
#
# Needs a docker with compose and python3 on PATH; the engine is the one that DOCKER_HOST and the like name.
# DOCKER_BUILD_NETWORK=host   builds on the host's network: for machines whose bridge has no way out
# TORCH_INDEX_URL=...         where torch comes from, see the README
# NGINX_IMAGE=...             instead of nginx:1.28; `stand-in` makes one of Debian's package
# It leaves the images, and removes its containers, networks and volumes however it ends.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PROJECT=inkling-cluster-check
START_SECONDS=300
TRAIN_SECONDS=600
DIGITS='"family": "gan", "dataset": "mnist", "budget": {"steps": 800}, "config": {"channels": [16, 8], "latent": 16, "evaluations": 4}'

work=$(mktemp -d)
files=(-f docker-compose.yml)

compose() { docker compose -p "$PROJECT" --project-directory . "${files[@]}" --profile cluster "$@"; }

step() { printf '%4ds  %s\n' "$SECONDS" "$*"; }

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# quietly WHAT COMMAND...: run it, and show what it printed only if it fails.
quietly() {
  local what=$1
  shift
  "$@" >"$work/output" 2>&1 || {
    tail -n 40 "$work/output" >&2
    fail "$what"
  }
}

finish() {
  code=$?
  trap - EXIT
  [ -z "${load:-}" ] || kill "$load" 2>/dev/null || true
  if [ "$code" -ne 0 ]; then
    compose ps --all >&2 || true
    compose logs --tail 30 >&2 || true
  fi
  compose down --volumes --remove-orphans --timeout 5 >"$work/remove.log" 2>&1 || true
  rm -rf "$work"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

INKLING_PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
POSTGRES_PASSWORD=$(python3 -c 'import secrets; print(secrets.token_hex(12))')
INKLING_RAY_TOKEN=$(python3 -c 'import secrets; print(secrets.token_hex(24))')
export INKLING_PORT POSTGRES_PASSWORD INKLING_RAY_TOKEN
url=http://127.0.0.1:$INKLING_PORT

# ask METHOD PATH JSON EXPRESSION: send it through nginx, print what EXPRESSION makes of the answer `a`.
ask() {
  python3 - "$url" "$@" <<'PY'
import json, sys, urllib.error, urllib.request
url, method, path, body, expression = sys.argv[1:]
request = urllib.request.Request(url + path, body.encode() or None, {"Content-Type": "application/json"}, method=method)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine needs no proxy
try:
    a = json.load(opener.open(request, timeout=30))
except urllib.error.HTTPError as error:
    sys.exit(f"{method} {path}: {error.code} {error.read().decode()}")
except OSError as error:
    sys.exit(f"{method} {path}: {error}")
print(eval(expression))
PY
}

# until_job JOB STATUS: wait for it; another end is a failure.
until_job() {
  local deadline=$((SECONDS + TRAIN_SECONDS)) status
  until status=$(ask GET "/jobs/$1" '' 'a["status"]') && [ "$status" = "$2" ]; do
    case $status in failed | cancelled | succeeded) fail "$1 $status: $(ask GET "/jobs/$1" '' 'a["error"]')" ;; esac
    [ "$SECONDS" -lt "$deadline" ] || fail "$1 is not $2 within $TRAIN_SECONDS s: $(ask GET "/jobs/$1" '' a)"
    sleep 1
  done
}

if [ "${NGINX_IMAGE:-}" = stand-in ]; then
  quietly "nginx" docker build --quiet --tag inkling-nginx ${DOCKER_BUILD_NETWORK:+--network "$DOCKER_BUILD_NETWORK"} - <<'DOCKERFILE'
FROM python:3.11-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light && rm -rf /var/lib/apt/lists/*
CMD ["nginx", "-g", "daemon off;"]
DOCKERFILE
  NGINX_IMAGE=inkling-nginx
fi
{
  echo 'services:'
  [ -z "${NGINX_IMAGE:-}" ] || echo "  nginx: {image: \"$NGINX_IMAGE\"}"
  for service in api-1 api-2 cluster-worker ray-head ray-node; do
    echo "  $service:"
    echo "    build: {${DOCKER_BUILD_NETWORK:+network: \"$DOCKER_BUILD_NETWORK\"}}"
    case $service in api-*) echo '    ports: ["127.0.0.1::8000"]' ;; esac # each by itself, for the check alone
  done
} >"$work/override.yml"
files+=(-f "$work/override.yml")

for service in api-1 ray-node; do
  quietly "the image of $service does not build" compose build "$service"
done
step "built inkling-api and inkling-ray: $(docker image inspect --format '{{.Size}}' inkling-ray | awk '{printf "%.0f MB", $1 / 1e6}')"

quietly "docker compose up" compose up --detach --wait --wait-timeout "$START_SECONDS"
step "up: $(compose ps --services | sort | paste -sd ' ' -)"

for service in api-1 api-2 cluster-worker ray-head ray-node; do
  [ "$(compose exec -T "$service" id -u)" = 10001 ] || fail "$service does not run as user 10001"
done
code=$(compose exec -T cluster-worker python -c '
import urllib.error, urllib.request
try:
    print(urllib.request.urlopen("http://ray-head:8265/api/jobs/", timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)')
[ "$code" = 401 ] || fail "without a token Ray answers $code"
if compose exec -T api-1 python -c 'import socket; socket.create_connection(("ray-head", 8265), 5)' >/dev/null 2>&1; then
  fail "an API reaches Ray"
fi
step "nobody is root; Ray asks for its token, and only the worker reaches it"

api() { echo "http://$(compose port "$1" 8000)"; }

python3 scripts/cluster_flows.py "$url" "$(api api-1)" "$(api api-2)" || fail "a walk"
step "every walk"

for victim in api-1 cluster-worker ray-node ray-head postgresql; do
  job=$(ask POST /train "{\"model\": \"digits-$victim\", $DIGITS}" 'a["id"]')
  until_job "$job" running
  deadline=$((SECONDS + TRAIN_SECONDS))
  until [ "$(ask GET "/jobs/$job" '' 'a["step"]')" -gt 0 ]; do
    [ "$SECONDS" -lt "$deadline" ] || fail "$job makes no step"
    sleep 1
  done
  rm -f "$work/stop"
  python3 scripts/cluster_flows.py --load "$work/stop" "$url" >"$work/load" &
  load=$!
  sleep 1
  quietly "docker kill" docker kill "$(compose ps --quiet "$victim" | head -n 1)"
  sleep 1
  quietly "docker compose up" compose up --detach --no-recreate "$victim" # a killed container is not restarted by itself
  until_job "$job" succeeded
  touch "$work/stop"
  wait "$load" || fail "$victim killed: $(cat "$work/load")"
  versions=$(ask GET "/models/digits-$victim" '' 'len(a["versions"])')
  [ "$versions" = 1 ] || fail "$versions versions of one job"
  step "$victim killed while a job trained: it succeeded in attempt $(ask GET "/jobs/$job" '' 'a["attempt"]'), one version; $(cat "$work/load")"
done

echo PASSED
