/** A lesson's training, followed. It outlives the view, and in its tab a reload: nothing seen is lost. */
import { state } from "../lib/state.js";

const ENDED = ["", "succeeded", "failed", "cancelled", "broken"];

/**
 * Fires `change` when its status does and `frame` when an evaluation is in. `frames`: one object an evaluation, its
 * metrics and its sample together; `asked`: what the view wants to remember of the start.
 */
class Run extends EventTarget {
  frames = [];
  status = "";
  error = null;
  result = null;
  asked = null;
  job = null;
  isOld = false; // it had ended before this page was loaded: its end is what is to be seen
  #controller = new AbortController();
  #measured = {};
  #kept;

  constructor(name) {
    super();
    this.#kept = `inkling-lesson-${name}`;
  }

  get busy() {
    return !ENDED.includes(this.status);
  }

  /** `order()` asks the service for a training and resolves to its job. */
  async start(asked, order, isOld = false) {
    this.#controller.abort();
    const { signal } = (this.#controller = new AbortController());
    Object.assign(this, { frames: [], error: null, result: null, job: null, asked, isOld });
    this.#turn("sending");
    try {
      this.job = await order();
      keep(this.#kept, { id: this.job.id, asked });
      this.#turn(this.job.status);
      for await (const { event, data } of state.client.events(this.job.id, { signal })) this.#hear(event, data);
      const job = await state.client.job(this.job.id);
      if (signal.aborted) return;
      this.job = job;
      this.result = job.result;
      this.error = job.error ? new Error(job.error.message) : null;
      this.#turn(job.status);
    } catch (error) {
      if (signal.aborted) return;
      this.error = error;
      this.#turn("broken");
    }
  }

  /** Take up what this tab followed before it was loaded anew; nothing if the service no longer knows it. */
  async resume() {
    const kept = this.status ? null : recall(this.#kept);
    const job = kept && (await state.client.job(kept.id).catch(() => null));
    if (job && !this.status) this.start(kept.asked, async () => job, ENDED.includes(job.status));
  }

  async stop() {
    if (this.job && this.busy) await state.client.cancel(this.job.id);
  }

  #hear(event, data) {
    if (event === "status" && data.status && !ENDED.includes(data.status)) this.#turn(data.status);
    if (event === "metrics") this.#measured = data;
    if (event !== "sample") return;
    this.frames.push({ ...this.#measured, ...data });
    this.dispatchEvent(new Event("frame"));
  }

  #turn(status) {
    this.status = status;
    this.dispatchEvent(new Event("change"));
  }
}

function keep(name, value) {
  try {
    sessionStorage.setItem(name, JSON.stringify(value));
  } catch {
    /* storage is switched off: a reload forgets */
  }
}

function recall(name) {
  try {
    return JSON.parse(sessionStorage.getItem(name));
  } catch {
    return null;
  }
}

export const runs = { lstm: new Run("lstm"), gan: new Run("gan") };
