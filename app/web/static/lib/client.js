/**
 * The JavaScript client: what the page, the widgets and any web page talk to an Inkling service with.
 *
 *   import { Inkling } from "http://127.0.0.1:8000/web/lib/client.js";
 *   const inkling = new Inkling();                      // the service this file came from
 *   const { predictions } = await inkling.predict({ text: "in the beginning" });
 *
 * One class, no dependency but the parser of event streams. It must not know the page.
 */
import { createParser } from "../vendor/eventsource-parser.js";

/** The service that served this file. */
export const HOME = new URL("../..", import.meta.url).href.replace(/\/$/, "");

/** An answer that is an error: `status` (0: no answer came), `code`, `detail`, `errors`, `retryAfter` in seconds. */
export class InklingError extends Error {
  constructor(status, problem = {}, retryAfter = null) {
    super(problem.detail || problem.title || `the service answered ${status}`);
    this.name = "InklingError";
    this.status = status;
    this.code = problem.code ?? "";
    this.detail = this.message;
    this.errors = problem.errors ?? [];
    this.retryAfter = retryAfter;
  }
}

const pause = (seconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });

const STREAM = "text/event-stream";
const seg = encodeURIComponent;
const query = (filters = {}) => {
  const given = Object.entries(filters).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
};

export class Inkling {
  /**
   * @param {{base?: string, key?: string, retries?: number}} options `base`: the service's address; `key` is sent as
   *   a bearer token; `retries`: how often a request that may be repeated is, on 429, 503 or when no answer comes.
   */
  constructor({ base = HOME, key = "", retries = 2 } = {}) {
    this.base = base.replace(/\/$/, "");
    this.key = key;
    this.retries = retries;
  }

  /** An address of the service, for a link or a picture. */
  url(path) {
    return this.base + path;
  }

  /** Send one request; the Response of a success, else an InklingError. An abort rejects with the signal's reason. */
  async send(method, path, { json, body, headers = {}, signal, accept, safe, retries = this.retries } = {}) {
    const all = { ...headers };
    if (json !== undefined) all["Content-Type"] = "application/json";
    if (accept) all.Accept = accept;
    if (this.key) all.Authorization = `Bearer ${this.key}`;
    const options = { method, headers: all, body: json === undefined ? body : JSON.stringify(json), signal };
    const repeatable = safe || method === "GET" || method === "PUT" || "Idempotency-Key" in all;
    for (let attempt = 0; ; attempt++) {
      const error = await this.#once(path, options);
      if (!(error instanceof InklingError)) return error;
      const again = repeatable && attempt < retries && [0, 429, 503].includes(error.status);
      if (!again) throw error;
      await pause(Math.min(error.retryAfter ?? 0.3 * 2 ** attempt, 10), signal);
    }
  }

  async #once(path, options) {
    let response;
    try {
      response = await fetch(this.base + path, options);
    } catch (error) {
      if (options.signal?.aborted) throw options.signal.reason;
      return new InklingError(0, { code: "unreachable", detail: `no answer from ${this.base}` });
    }
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({}));
    const wait = Number(response.headers.get("Retry-After"));
    return new InklingError(response.status, problem, response.headers.has("Retry-After") && wait >= 0 ? wait : null);
  }

  async #json(method, path, options) {
    const response = await this.send(method, path, options);
    return response.status === 204 ? null : response.json();
  }

  // -- what answers now ---------------------------------------------------------------------------------------------

  /** POST /predict-next-word */
  predict(body, options = {}) {
    return this.#json("POST", "/predict-next-word", { json: body, safe: true, ...options });
  }

  /** A longer continuation, word by word: an async generator of what the event stream's data holds. */
  async *continue(body, { signal } = {}) {
    const response = await this.send("POST", "/predict-next-word", { json: body, accept: STREAM, signal });
    for await (const { data } of readEvents(response)) yield data;
  }

  /** POST /generate as JSON: `{images: [{seed, b64_json, realness}], model}`. */
  generate(body, options = {}) {
    const asked = { accept: "application/json", safe: true };
    return this.#json("POST", "/generate", { json: body, ...asked, ...options });
  }

  /** POST /generate or /interpolate as a Blob of the wanted type. */
  async picture(path, body, accept, options = {}) {
    return (await this.send("POST", path, { json: body, accept, safe: true, ...options })).blob();
  }

  /** An animated walk between seeds, as a Blob. */
  interpolate(body, options = {}) {
    return this.picture("/interpolate", body, undefined, options);
  }

  /** The address of one picture; a numbered version never changes. */
  imageUrl(name, version, seed, parameters = {}, format = "png") {
    return this.url(`/images/${seg(name)}/${seg(version)}/${seg(seed)}.${format}${query(parameters)}`);
  }

  nearest(body, options = {}) {
    return this.#json("POST", "/nearest", { json: body, accept: "application/json", safe: true, ...options });
  }

  /** How real a picture looks to the discriminator of `model`. */
  score(file, model, options = {}) {
    const form = new FormData();
    form.append("file", file);
    if (model) form.append("model", model);
    return this.#json("POST", "/score", { body: form, ...options });
  }

  evaluate(body, options = {}) {
    return this.#json("POST", "/evaluate", { json: body, ...options });
  }

  // -- trainings ----------------------------------------------------------------------------------------------------

  families() {
    return this.#json("GET", "/families");
  }

  /** POST /train; the job. Repeated safely: it carries an Idempotency-Key. */
  train(body, options = {}) {
    return this.#json("POST", "/train", { json: body, headers: { "Idempotency-Key": uuid() }, ...options });
  }

  jobs(filters) {
    return this.#json("GET", `/jobs${query(filters)}`);
  }

  job(id) {
    return this.#json("GET", `/jobs/${seg(id)}`);
  }

  cancel(id) {
    return this.#json("POST", `/jobs/${seg(id)}/cancel`);
  }

  pause(id) {
    return this.#json("POST", `/jobs/${seg(id)}/pause`);
  }

  resume(id) {
    return this.#json("POST", `/jobs/${seg(id)}/resume`);
  }

  history(id) {
    return this.#json("GET", `/jobs/${seg(id)}/history`);
  }

  samples(id) {
    return this.#json("GET", `/jobs/${seg(id)}/samples`);
  }

  sampleUrl(id, step) {
    return this.url(`/jobs/${seg(id)}/samples/${seg(step)}.png`);
  }

  /**
   * Everything that happened and happens to a job: an async generator of `{id, event, data}` that ends after `done`.
   * A dropped connection is taken up again after the last event; `onLost(error)` hears of it.
   */
  async *events(id, { signal, after = "", onLost = () => {} } = {}) {
    for (let last = String(after), lost = 0; ; lost++) {
      try {
        const headers = last === "" ? {} : { "Last-Event-ID": last };
        const response = await this.send("GET", `/jobs/${seg(id)}/events`, { headers, accept: STREAM, signal, retries: 0 });
        if (response.status === 204) return; // everything was told before
        for await (const event of readEvents(response)) {
          last = event.id ?? last;
          lost = 0;
          yield event;
          if (event.event === "done") return;
        }
      } catch (error) {
        if (signal?.aborted) return;
        if (error instanceof InklingError && ![0, 429, 503].includes(error.status)) throw error;
        onLost(error);
      }
      await pause(Math.min(0.5 * 2 ** lost, 5), signal).catch(() => {});
      if (signal?.aborted) return;
    }
  }

  // -- data sets and models -----------------------------------------------------------------------------------------

  datasets(filters) {
    return this.#json("GET", `/datasets${query(filters)}`);
  }

  dataset(id) {
    return this.#json("GET", `/datasets/${seg(id)}`);
  }

  /** Upload files as one data set. `onProgress(share)` goes from 0 to 1. Fields: name, licence and what else there is. */
  upload(files, fields = {}, { onProgress = () => {}, signal } = {}) {
    const form = new FormData();
    for (const file of files) form.append("file", file);
    for (const [name, value] of Object.entries(fields)) if (value) form.append(name, value);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest(); // fetch does not tell how far an upload is
      request.open("POST", this.url("/datasets"));
      if (this.key) request.setRequestHeader("Authorization", `Bearer ${this.key}`);
      request.setRequestHeader("Idempotency-Key", uuid());
      request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
      request.onerror = () => reject(new InklingError(0, { code: "unreachable", detail: `no answer from ${this.base}` }));
      request.onload = () => {
        const body = parse(request.responseText);
        if (request.status < 300) resolve(body);
        else reject(new InklingError(request.status, typeof body === "object" ? body : {}));
      };
      signal?.addEventListener("abort", () => (request.abort(), reject(signal.reason)), { once: true });
      request.send(form);
    });
  }

  deleteDataset(id) {
    return this.#json("DELETE", `/datasets/${seg(id)}`);
  }

  /** A text's preview as JSON; a picture set's as a Blob. */
  async preview(id) {
    const response = await this.send("GET", `/datasets/${seg(id)}/preview`);
    const isText = response.headers.get("Content-Type").startsWith("application/json");
    return isText ? response.json() : response.blob();
  }

  models(filters) {
    return this.#json("GET", `/models${query(filters)}`);
  }

  model(name) {
    return this.#json("GET", `/models/${seg(name)}`);
  }

  version(name, version) {
    return this.#json("GET", `/models/${seg(name)}/versions/${seg(version)}`);
  }

  activate(name, version) {
    return this.#json("PUT", `/models/${seg(name)}/active`, { json: { version } });
  }

  rollback(name) {
    return this.#json("POST", `/models/${seg(name)}/rollback`);
  }

  /** Remove old versions, all but `keep` beside the active one and the one before it: `{deleted: [1, 2]}`. */
  prune(name, keep) {
    return this.#json("POST", `/models/${seg(name)}/prune`, { json: { keep } });
  }

  deleteVersion(name, version) {
    return this.#json("DELETE", `/models/${seg(name)}/versions/${seg(version)}`);
  }

  deleteModel(name) {
    return this.#json("DELETE", `/models/${seg(name)}`);
  }

  /** One version as a Blob, for another Inkling. */
  async exportVersion(name, version) {
    return (await this.send("GET", `/models/${seg(name)}/versions/${seg(version)}/export`)).blob();
  }

  importModel(file, fields = {}) {
    const form = new FormData();
    form.append("file", file);
    for (const [name, value] of Object.entries(fields)) if (value) form.append(name, value);
    return this.#json("POST", "/models/import", { body: form });
  }

  learn(name, text) {
    return this.#json("POST", `/models/${seg(name)}/learn`, { json: { text }, headers: { "Idempotency-Key": uuid() } });
  }

  learned(name, filters) {
    return this.#json("GET", `/models/${seg(name)}/learned${query(filters)}`);
  }

  /** `what`: a phrase, or `{id}`, `{text, containing: true}`, `{all: true}`. */
  forget(name, what) {
    const json = typeof what === "string" ? { text: what } : what;
    return this.#json("POST", `/models/${seg(name)}/forget`, { json });
  }

  /** The service's own account of itself; also when it is not ready. */
  async health() {
    const response = await fetch(this.url("/health/ready"), { cache: "no-store" });
    return response.json();
  }
}

/** The Server-Sent Events of a response; their data parsed as JSON where it is. */
async function* readEvents(response) {
  const waiting = [];
  const parser = createParser({ onEvent: (event) => waiting.push(event) });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      parser.feed(value);
      while (waiting.length) {
        const { id, event = "message", data } = waiting.shift();
        yield { id, event, data: parse(data) };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** A random id. crypto.randomUUID is missing on pages that did not come over HTTPS or from this machine. */
function uuid() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
