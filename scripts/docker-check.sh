#!/usr/bin/env bash
# Proves that the Docker set-up does what the README says:
#   - both images build, run as a user that is not root, and only the all-in-one has torch;
#   - `docker compose up` serves, and its worker trains the lecture's model for a request over HTTP;
#   - after `down` and `up` that model still gives the same answers, from the named volume;
#   - the all-in-one image alone answers from its starter model, and SIGTERM stops it cleanly.
#
# Needs a docker with compose and python3 on PATH; the engine is the one that DOCKER_HOST and the like name.
# DOCKER_BUILD_NETWORK=host   builds on the host's network: for machines whose bridge has no way out
# TORCH_INDEX_URL=...         where torch comes from, see the README
# It leaves the images, and removes its containers, network and volumes however it ends.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PROJECT=inkling-check
ALONE=inkling-check-alone
CONTEXTS=("i like" "i love" "i hate" "you like" "you love" "you hate")
ANSWERS="dog coffee milk cat milk coffee"
START_SECONDS=120
TRAIN_SECONDS=180
STOP_SECONDS=20

work=$(mktemp -d)
files=(-f docker-compose.yml)

compose() { docker compose -p "$PROJECT" --project-directory . "${files[@]}" "$@"; }

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

remove() {
  compose down --volumes --remove-orphans --timeout 5
  docker rm --force --volumes "$ALONE"
}

finish() {
  code=$?
  trap - EXIT
  if [ "$code" -ne 0 ]; then
    # What the services said, before they go.
    compose ps --all >&2 || true
    compose logs --tail 40 >&2 || true
    docker logs --tail 40 "$ALONE" >&2 2>/dev/null || true
  fi
  remove >"$work/remove.log" 2>&1 || true
  rm -rf "$work"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# ask METHOD PATH JSON EXPRESSION: send it to the service at $url, print what EXPRESSION makes of the answer `a`.
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

# The lecture model's whole answers, one a line: the words and their probabilities.
lecture() {
  local text
  for text in "${CONTEXTS[@]}"; do
    ask POST /predict-next-word "{\"model\": \"lecture\", \"text\": \"$text \"}" \
      '" ".join("{word}={probability}".format(**p) for p in a["predictions"])'
  done
}

# The first word of each line, without its probability.
first_words() { sed 's/=.*//' | paste -sd ' ' -; }

up() { quietly "docker compose up" compose up --detach --wait --wait-timeout "$START_SECONDS"; }

remove >"$work/remove.log" 2>&1 || true # what a killed run may have left

INKLING_PORT=$(free_port)
export INKLING_PORT
url=http://127.0.0.1:$INKLING_PORT

if [ -n "${DOCKER_BUILD_NETWORK:-}" ]; then
  printf 'services:\n  api: {build: {network: "%s"}}\n  worker: {build: {network: "%s"}}\n' \
    "$DOCKER_BUILD_NETWORK" "$DOCKER_BUILD_NETWORK" >"$work/network.yml"
  files+=(-f "$work/network.yml")
fi
build() {
  quietly "the image $2 does not build" compose build "$1"
  step "built $2: $(docker image inspect --format '{{.Size}}' "$2" | awk '{printf "%.0f MB", $1 / 1e6}')"
}
build api inkling-api
build worker inkling

if compose run --rm --no-deps -T api python -c 'import torch' >"$work/torch.log" 2>&1; then
  fail "the API image has torch"
fi
grep -q "No module named 'torch'" "$work/torch.log" || {
  cat "$work/torch.log" >&2
  fail "the API image does not run"
}
version=$(docker run --rm inkling python -c 'import torch; print(torch.__version__)')
step "no torch in inkling-api; torch $version in inkling"

up
for service in api worker; do
  user=$(compose exec -T "$service" id -u)
  [ "$user" = 10001 ] || fail "$service runs as user $user"
done
step "up: the API and the worker are healthy, neither is root"

python3 - "$url" <<'PY'
import sys, urllib.request
for path in ("/", "/web/app.js", "/web/css/base.css", "/web/vendor/uPlot.esm.js", "/web/fonts/plex-sans.woff2", "/widgets/next-word.js"):
    assert urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1] + path, timeout=30).read(), path
PY
step "the page, its files and the widgets are in the image"

job=$(ask POST /train '{"family": "lstm", "dataset": "lecture", "preset": "lecture"}' 'a["id"]')
deadline=$((SECONDS + TRAIN_SECONDS))
until [ "$(ask GET "/jobs/$job" '' 'a["status"]')" = succeeded ]; do
  case $(ask GET "/jobs/$job" '' 'a["status"]') in
    failed | cancelled) fail "the training: $(ask GET "/jobs/$job" '' 'a["error"]')" ;;
  esac
  [ "$SECONDS" -lt "$deadline" ] || fail "the training did not end within $TRAIN_SECONDS s: $(ask GET "/jobs/$job" '' a)"
  sleep 1
done
step "trained the lecture's model over HTTP"

before=$(lecture)
words=$(first_words <<<"$before")
[ "$words" = "$ANSWERS" ] || fail "the lecture's model answers $words, not $ANSWERS"
step "it answers $words"

quietly "docker compose down" compose down
step "down; the volume stays"

up
after=$(lecture)
[ "$after" = "$before" ] || fail "after down and up other answers: $after"
step "up again: the same answers"
quietly "docker compose down" compose down

quietly "docker run" docker run --detach --name "$ALONE" --publish 127.0.0.1::8000 --env INKLING_ALLOW_OPEN=true inkling
url=http://$(docker port "$ALONE" 8000/tcp | head -n 1)
deadline=$((SECONDS + START_SECONDS))
until [ "$(ask GET /health/ready '' 'a["worker"]' 2>"$work/ready.log")" = up ]; do
  [ "$SECONDS" -lt "$deadline" ] || fail "the all-in-one image is not ready: $(cat "$work/ready.log")"
  sleep 1
done
[ "$(docker exec "$ALONE" id -u)" = 10001 ] || fail "the all-in-one image runs as root"
words=$(ask POST /predict-next-word '{"model": "next-word", "text": "in the beginning god created the "}' \
  '" ".join(p["word"] for p in a["predictions"])')
case " $words " in *" heaven "*) ;; *) fail "the starter model does not know how its book begins: $words" ;; esac
step "the all-in-one image alone answers from its starter model: in the beginning god created the ... $words"

start=$SECONDS
quietly "docker stop" docker stop --time "$STOP_SECONDS" "$ALONE" # sends SIGTERM, and SIGKILL when the time is over
code=$(docker inspect --format '{{.State.ExitCode}}' "$ALONE")
[ "$code" = 0 ] || fail "SIGTERM: exit code $code after $((SECONDS - start)) s"
step "SIGTERM stopped it in $((SECONDS - start)) s with exit code 0"

echo PASSED
