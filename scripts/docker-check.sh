#!/usr/bin/env bash
# Proves that the Docker set-up does what the README says:
#   - both images build, run as a user that is not root, and only the all-in-one has torch;
#   - `docker compose up` serves, and its worker trains the lecture's model for a request over HTTP;
#   - after `down` and `up` that model still gives the same answers, from the named volume;
#   - the all-in-one image alone answers from its starter model, and SIGTERM stops it cleanly;
#   - the API image runs as any user, with nothing writable but its volume, without a network and without capabilities; it
#     is healthy and stopped in time, and says so where the volume cannot be written;
#   - under limits of processor and memory it counts the processors right, and survives an upload larger than its memory:
#     the upload itself may be refused, since the process that reads it may be ended for the memory it takes;
#   - the profiles of the compose file start what they say;
#   - a volume that the previous release filled gives the same answers under this one.
#
# Needs a docker with compose and python3 on PATH; the engine is the one that DOCKER_HOST and the like name.
# DOCKER_BUILD_NETWORK=host   builds on the host's network: for machines whose bridge has no way out
# TORCH_INDEX_URL=...         where torch comes from, see the README
# PREVIOUS=...                the commit to upgrade from; default: the newest tag, or the commit before there were keys
# It leaves the images, and removes its containers, network and volumes however it ends.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PROJECT=inkling-check
ALONE=inkling-check-alone
VOLUME=inkling-check-volume
PREVIOUS=${PREVIOUS:-$(git describe --tags --abbrev=0 2>/dev/null || echo 8c50ec5)}
CONTEXTS=("i like" "i love" "i hate" "you like" "you love" "you hate")
ANSWERS="dog coffee milk cat milk coffee"
START_SECONDS=120
TRAIN_SECONDS=180
HEALTHY_SECONDS=10 # on an idle machine; the limits of the check of limits are another matter
STOP_SECONDS=10
UPLOAD_MB=300
MEMORY_MB=256

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
  compose --profile '*' down --volumes --remove-orphans --timeout 5
  docker rm --force --volumes "$ALONE"
  docker volume rm --force "$VOLUME"
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

# stopped: end the container with SIGTERM, as `docker stop` does.
stopped() {
  local start=$SECONDS code
  quietly "docker stop" docker stop --time "$STOP_SECONDS" "$ALONE" # SIGKILL when the time is over: then the code is 137
  code=$(docker inspect --format '{{.State.ExitCode}}' "$ALONE")
  [ "$code" = 0 ] || fail "SIGTERM: exit code $code after $((SECONDS - start)) s"
  step "SIGTERM stopped it in $((SECONDS - start)) s with exit code 0"
}
stopped

fresh() { # a new container's place, on the same volume
  docker logs "$ALONE" >"$work/last.log" 2>&1 || true
  docker rm --force --volumes "$ALONE" >/dev/null 2>&1 || true
}
emptied() {
  fresh
  docker volume rm --force "$VOLUME" >/dev/null
}
LOCKED=(--read-only --tmpfs /tmp:size=64m,mode=1777 --cap-drop ALL --security-opt no-new-privileges:true
  --volume "$VOLUME:/data" --env INKLING_ALLOW_OPEN=true)

# inside EXPRESSION: of the answer `a` of /predict-next-word, asked from inside, since there is no network.
inside() {
  docker exec "$ALONE" python -c "
import json, urllib.request as r
request = r.Request('http://127.0.0.1:8000/predict-next-word', json.dumps({'text': 'in the beginning god created the '}).encode(), {'Content-Type': 'application/json'})
a = json.load(r.build_opener(r.ProxyHandler({})).open(request, timeout=10))
print($1)"
}

# healthy SECONDS: wait until the engine says so of the container, and print the seconds that it took.
healthy() {
  local start
  start=$(date +%s%N)
  until [ "$(docker inspect --format '{{.State.Health.Status}}' "$ALONE")" = healthy ]; do
    [ "$(docker inspect --format '{{.State.Running}}' "$ALONE")" = true ] || fail "it ended: $(docker logs "$ALONE" 2>&1 | tail -n 3)"
    [ $((($(date +%s%N) - start) / 1000000000)) -lt "$1" ] || fail "not healthy within $1 s"
    sleep 0.1
  done
  echo "$(((($(date +%s%N) - start) + 50000000) / 100000000))" | sed 's/\(.\)$/.\1/; s/^\./0./'
}

for user in 10001:10001 12345:0; do
  emptied
  quietly "docker run" docker run --detach --name "$ALONE" --user "$user" --network none "${LOCKED[@]}" inkling-api
  took=$(healthy "$HEALTHY_SECONDS")
  [ "$(docker exec "$ALONE" id -u):$(docker exec "$ALONE" id -g)" = "$user" ] || fail "it does not run as $user"
  inside 'a["predictions"][0]["word"]' >"$work/inside" || fail "it does not answer"
  step "user $user, read-only, offline, no capability: healthy in $took s, answers $(cat "$work/inside")"
  stopped
done

# A user that neither the image nor group 0 knows needs a volume that it may write.
emptied
if docker run --name "$ALONE" --user 54321:54321 --network none "${LOCKED[@]}" inkling-api >"$work/refused" 2>&1; then
  fail "it starts on a volume that it cannot write"
fi
grep -q 'inkling: the data folder /data cannot be written' "$work/refused" || fail "it says $(tail -n 1 "$work/refused")"
! grep -q Traceback "$work/refused" || fail "it shows a traceback"
step "a volume that cannot be written: $(tail -n 1 "$work/refused")"
fresh
# With a file in it: an empty volume is given the image's owner again at every start.
docker run --rm --user 0 --volume "$VOLUME:/data" inkling-api sh -c 'touch /data/mine && chown -R 54321:54321 /data'
quietly "docker run" docker run --detach --name "$ALONE" --user 54321:54321 --network none "${LOCKED[@]}" inkling-api
took=$(healthy "$HEALTHY_SECONDS")
step "user 54321:54321, on a volume of its own: healthy in $took s"
stopped

emptied
quietly "docker run" docker run --detach --name "$ALONE" --cpus 0.5 --memory "${MEMORY_MB}m" --memory-swap "${MEMORY_MB}m" \
  --publish 127.0.0.1::8000 "${LOCKED[@]}" inkling-api
took=$(healthy "$START_SECONDS")
cpus=$(docker exec "$ALONE" python -c 'from ml.cpus import available; print(available())')
[ "$cpus" = 1 ] || fail "with half a processor it counts $cpus"
step "half a processor, $MEMORY_MB MB: healthy in $took s, counts $cpus processor"
url=http://$(docker port "$ALONE" 8000/tcp | head -n 1)
# A text larger than the memory. Receiving it needs little; reading it may need more than there is. Then the process that
# reads it gives up (`out_of_memory`) or is ended (`crashed`), and nothing else may suffer.
python3 - "$url" "$UPLOAD_MB" <<'PY'
import http.client, json, sys, urllib.parse
address, size = urllib.parse.urlsplit(sys.argv[1]).netloc, int(sys.argv[2])
head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
tail = b"\r\n--b--\r\n"
line = b"the quick brown fox jumps over the lazy dog %07d\n"
def body():
    yield head
    for i in range(size):
        yield b"".join(line % (i * 20000 + j) for j in range(20000))[:1_000_000].ljust(1_000_000)
    yield tail
connection = http.client.HTTPConnection(address, timeout=400)
length = len(head) + size * 1_000_000 + len(tail)
connection.request("POST", "/datasets", body(), {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": str(length)})
answer = connection.getresponse()
said = answer.read().decode()
print(f"       the upload of {size} MB was answered {answer.status}: {said[:240]}")
problem = json.loads(said).get("type", "").removeprefix("urn:inkling:problem:")
assert (answer.status, problem) in ((201, ""), (413, "out_of_memory"), (500, "crashed")), said
PY
[ "$(docker inspect --format '{{.State.Running}} {{.RestartCount}} {{.State.OOMKilled}}' "$ALONE" | cut -d ' ' -f 1,2)" = "true 0" ] \
  || fail "the upload ended the service"
inside 'a["model"]' >/dev/null || fail "it does not answer after the upload"
step "it outlived the upload of $UPLOAD_MB MB, answered as above, and still answers"
stopped
emptied

for profile in api worker; do
  quietly "docker compose --profile $profile up" compose --profile "$profile" up --detach --wait --wait-timeout "$START_SECONDS"
  [ "$(compose --profile '*' ps --services)" = "$profile" ] || fail "profile $profile starts $(compose --profile '*' ps --services)"
  quietly "down" compose --profile '*' down --volumes
done
wanted=$(compose --profile all --profile prometheus config --services | sort | paste -sd ' ' -)
[ "$wanted" = "api prometheus worker" ] || fail "profile prometheus has $wanted"
step "profiles: api alone, worker alone, and $wanted" # Prometheus' image is not run: it would have to be downloaded

if git cat-file -e "$PREVIOUS^{commit}" 2>/dev/null; then
  git archive --format tar "$PREVIOUS" >"$work/previous.tar"
  quietly "the image of $PREVIOUS does not build" docker build --quiet --tag inkling-previous \
    ${DOCKER_BUILD_NETWORK:+--network "$DOCKER_BUILD_NETWORK"} \
    ${TORCH_INDEX_URL:+--build-arg "TORCH_INDEX_URL=$TORCH_INDEX_URL"} - <"$work/previous.tar"
  run_alone() {
    fresh
    quietly "docker run $1" docker run --detach --name "$ALONE" --publish 127.0.0.1::8000 --volume "$VOLUME:/data" \
      --env INKLING_ALLOW_OPEN=true "$1"
    url=http://$(docker port "$ALONE" 8000/tcp | head -n 1)
    local deadline=$((SECONDS + START_SECONDS))
    until [ "$(ask GET /health/ready '' 'a["worker"]' 2>"$work/ready.log")" = up ]; do
      [ "$SECONDS" -lt "$deadline" ] || fail "$1 is not ready: $(cat "$work/ready.log")"
      sleep 1
    done
  }
  run_alone inkling-previous
  job=$(ask POST /train '{"family": "lstm", "dataset": "lecture", "preset": "lecture"}' 'a["id"]')
  deadline=$((SECONDS + TRAIN_SECONDS))
  until [ "$(ask GET "/jobs/$job" '' 'a["status"]')" = succeeded ]; do
    [ "$SECONDS" -lt "$deadline" ] || fail "$PREVIOUS does not train"
    sleep 1
  done
  old=$(lecture)
  old_jobs=$(ask GET /jobs '' '[(j["id"], j["status"]) for j in a["jobs"]]')
  run_alone inkling
  [ "$(lecture | first_words)" = "$(first_words <<<"$old")" ] || fail "after the upgrade it answers $(lecture), not $old"
  [ "$(lecture)" = "$old" ] || step "after the upgrade the words are the same, their probabilities are not"
  [ "$(ask GET /jobs '' '[(j["id"], j["status"]) for j in a["jobs"]]')" = "$old_jobs" ] || fail "the jobs are not those of before"
  step "upgraded from $PREVIOUS on its volume: the same answers, the same jobs"
  stopped
fi

echo PASSED
