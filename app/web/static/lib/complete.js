/**
 * Suggestions for a text that is being typed: when to ask, what to drop, what to remember. It must not know the box.
 *
 * An answer is `{text, model, unknown_words, predictions, ghost}`. Each prediction has `full`, what the text becomes when
 * it is taken, and `ghost` is the same for the continuation: nobody else has to reckon with places in the text.
 */
import { InklingError } from "./client.js";

const KEPT = 200; // answers remembered
const FRESH = 60_000; // milliseconds; an older one is asked for again, since another version may answer by now
const LONGEST = 2_000; // UTF-16 units before the caret that are sent; the service uses the last words only
const QUIET = 2; // seconds without requests after a refusal that names no time, and after the first lost connection
const QUIETEST = 30;
const PASSING = [0, 429, 503, 504]; // no answer, too many requests, not ready, too slow: the same request may work later
const OPENING = /[\s([{«“‘¿¡/-]$/u; // no space is put between these and a word

export class Completer {
  /** @param client an Inkling; `show(answer | null)` hears what to show now, `fail(error)` what went wrong. */
  constructor(client, { show, fail = () => {} }) {
    this.client = client;
    this.delay = 80;
    this.least = 0; // suggestions less probable than this are left out
    this.options = { top_k: 5, words: 3 };
    this.#show = show;
    this.#fail = fail;
  }

  #show;
  #fail;
  #kept = new Map(); // text -> {answer, at}; the oldest first
  #last = null; // the newest answer that came
  #wanted = null; // the text of the newest question
  #timer;
  #controller;
  #quietUntil = 0;
  #lost = 0; // refusals in a row
  #held = false;

  /** The text up to the caret is `text` now. Whatever was asked before is of no interest any more. */
  ask(text) {
    this.cancel();
    if (this.#held) return;
    this.#wanted = text;
    const kept = this.#kept.get(text);
    if (kept && Date.now() - kept.at < FRESH) return this.#show((this.#last = kept.answer));
    this.#show(typedOn(this.#last, text));
    this.#timer = setTimeout(() => this.#send(text), Math.max(this.delay, this.#quietUntil - Date.now()));
  }

  /** Nothing is wanted: abort what is under way. */
  cancel() {
    clearTimeout(this.#timer);
    this.#controller?.abort();
    this.#wanted = null;
  }

  /** While a composition (Korean, Japanese, Chinese) is under way nothing is asked and nothing shown. */
  hold() {
    this.cancel();
    this.#held = true;
    this.#show(null);
  }

  release() {
    this.#held = false;
  }

  /** Forget every answer and every refusal: another model, key or service, or something was learned. */
  reset() {
    this.cancel();
    this.#kept.clear();
    this.#last = null;
    this.#quietUntil = this.#lost = 0;
  }

  async #send(text) {
    const { signal } = (this.#controller = new AbortController());
    const sent = text.slice(start(text)).toWellFormed?.() ?? text.slice(start(text));
    try {
      const said = await this.client.predict({ ...this.options, text: sent }, { signal, retries: 0 });
      if (signal.aborted) return;
      const answer = read(text, said, this.least);
      this.#quietUntil = this.#lost = 0;
      this.#keep(text, answer);
      this.#show((this.#last = answer));
    } catch (error) {
      if (signal.aborted) return;
      this.#refused(text, error);
    }
  }

  #keep(text, answer) {
    const before = this.#last?.model;
    const same = before?.name === answer.model.name && before?.version === answer.model.version;
    if (!same) this.#kept.clear(); // another version answers: what the one before said is of no use
    this.#kept.set(text, { answer, at: Date.now() });
    if (this.#kept.size > KEPT) this.#kept.delete(this.#kept.keys().next().value);
  }

  #refused(text, error) {
    const passing = error instanceof InklingError && PASSING.includes(error.status);
    const seconds = passing ? (error.retryAfter ?? Math.min(QUIET * 2 ** this.#lost, QUIETEST)) : QUIETEST;
    this.#lost += 1;
    this.#quietUntil = Date.now() + 1000 * seconds;
    this.#show(null);
    this.#fail(error);
    if (passing && this.#wanted === text) this.#timer = setTimeout(() => this.#send(text), 1000 * seconds);
  }
}

/** Where the part of a long text that is sent begins: after white space, so that no half word is sent. */
function start(text) {
  if (text.length <= LONGEST) return 0;
  const from = text.length - LONGEST;
  const gap = text.slice(from).search(/\s/);
  return gap >= 0 ? from + gap + 1 : from;
}

function read(text, said, least) {
  const from = start(text);
  const full = (words, { kind, replace_from }) =>
    taken(text, from + units(text.slice(from), replace_from), words, kind);
  const predictions = said.predictions
    .filter(({ probability }) => probability >= least)
    .map((found) => ({ ...found, full: full(found.word, found) }));
  const ghost = predictions.length && said.continuation ? full(said.continuation, said.predictions[0]) : null;
  return {
    text,
    model: said.model,
    unknown_words: said.unknown_words,
    continuation: said.continuation,
    predictions,
    ghost,
  };
}

/** The text with `words` in it from the UTF-16 index `at` on: a half-typed word is replaced, a next one gets its space. */
export function taken(text, at, words, kind) {
  const before = text.slice(0, at);
  return before + (kind === "completion" || !before || OPENING.test(before) ? "" : " ") + words;
}

/** The service counts code points, JavaScript UTF-16 units. */
export function units(text, points) {
  let index = 0;
  for (const character of text) {
    if (points-- <= 0) break;
    index += character.length;
  }
  return index;
}

/** What is left of an answer when its words themselves were typed on; null when something else was. */
function typedOn(answer, text) {
  if (!answer) return null;
  const fits = (full) => full !== null && full.length > text.length && full.startsWith(text);
  const predictions = answer.predictions.filter(({ full }) => fits(full));
  const ghost = fits(answer.ghost) && text.startsWith(answer.text) ? answer.ghost : null;
  return ghost === null ? null : { ...answer, text, predictions, ghost, provisional: true };
}
