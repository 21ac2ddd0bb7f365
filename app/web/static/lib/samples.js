/**
 * What a model made along the way, as one picture or text with a slider through time.
 *
 *   const slider = sampleSlider({ label: "What it writes", signal });
 *   slider.show((await state.client.samples(job.id)).samples);   // all of them
 *   slider.add(event.data);                                      // one more, as a `sample` event brings it
 *
 * A sample is what GET /jobs/{id}/samples lists: {step, evaluation, url} of a picture, {step, evaluation, text} of a
 * text, with {answers: [{context, word, answers: [{word, probability}]}]} where it guesses last words, and
 * {sentences: [{begins, goes_on}]} where it ends sentences. It follows
 * the newest until somebody moves the slider back, and again once it is at the end. Arrow keys, Home and End move it;
 * "play" runs through all (with reduced motion too: somebody asked for it). `pixels: false` draws a picture smoothly.
 */
import { fill, h, set } from "./dom.js";
import { integer, percent, prose, t } from "./i18n.js";
import { state } from "./state.js";

const FRAME = 450; // milliseconds a sample stays while playing

/** @returns {HTMLElement & {show(samples: object[]): void, add(sample: object): void, count: number}} */
export function sampleSlider({ label, pixels = true, signal } = {}) {
  let samples = [];
  let at = -1;
  let following = true;
  let timer = 0;

  const stage = h("div", { class: "samples-stage" }, h("p", { class: "muted" }, t("samples.none")));
  const range = h("input", { type: "range", min: 0, max: 0, value: 0, step: 1, "aria-label": label, disabled: true });
  const play = h("button", { type: "button", class: "small samples-play", disabled: true }, t("samples.play"));
  const when = h("span", { class: "samples-when" });
  const element = h(
    "figure",
    { class: "samples", "aria-label": label },
    stage,
    h("figcaption", { class: "samples-bar" }, play, range, when),
  );
  const image = h("img", { alt: "", class: pixels ? "pixels" : "", decoding: "async" });

  range.addEventListener("input", () => (stop(), go(Number(range.value))));
  play.addEventListener("click", () => (timer ? stop() : start()));
  signal?.addEventListener("abort", stop);

  function go(index) {
    at = index;
    following = at === samples.length - 1;
    draw();
  }

  function start() {
    go(0);
    timer = setInterval(() => (at < samples.length - 1 ? go(at + 1) : stop()), FRAME);
    set(play, { "aria-pressed": "true" });
    fill(play, t("samples.stop"));
  }

  function stop() {
    clearInterval(timer);
    timer = 0;
    set(play, { "aria-pressed": null });
    fill(play, t("samples.play"));
  }

  function draw() {
    const sample = samples[at];
    const said = t("samples.at", { n: at + 1, all: samples.length, step: integer(sample.step) });
    set(range, {
      max: samples.length - 1,
      value: at,
      disabled: samples.length < 2,
      "aria-valuetext": `${said}. ${sample.text ?? ""}`,
    });
    play.disabled = samples.length < 2;
    fill(when, said);
    if (sample.url) {
      image.alt = t("samples.picture", { step: integer(sample.step) });
      load(image, sample.url);
      if (image.parentNode !== stage) fill(stage, image);
    } else
      fill(stage, told(sample));
  }

  element.show = (given) => {
    samples = [...given].sort((a, b) => a.step - b.step);
    if (samples.length) go(following ? samples.length - 1 : Math.min(at, samples.length - 1));
  };
  /** A training that went back says a step again: the newer one counts. */
  element.add = (sample) => {
    const [before, kept] = [samples[at]?.step, following];
    samples = [...samples.filter(({ step }) => step !== sample.step), sample].sort((a, b) => a.step - b.step);
    go(
      kept && !timer
        ? samples.length - 1
        : Math.max(
            0,
            samples.findIndex(({ step }) => step === before),
          ),
    );
    following = kept && !timer ? true : following;
  };
  Object.defineProperty(element, "count", { get: () => samples.length });
  return element;
}

/** What a text model said: the lecture's answers, the ends of unfinished sentences, or one sentence alone. */
function told({ answers, sentences, text }) {
  if (answers) return guesses(answers);
  if (!sentences) return h("blockquote", {}, text ? prose(text) : t("samples.silence"));
  const line = ({ begins, goes_on }) => h("li", {}, h("span", { class: "muted" }, prose(begins)), goesOn(goes_on));
  return h("ul", { class: "samples-guesses" }, sentences.map(line), text ? h("li", {}, prose(text)) : null);
}

/** A sentence may go on with a mark, which stands close. */
const goesOn = (words) => [/^[,.;:!?]/.test(words) ? "" : " ", h("strong", {}, words ? prose(words) : "…")];

/** The lecture's windows: what it reads, what it guesses, how sure it is. */
function guesses(answers) {
  const row = ({ context, word, answers: [first] }) => {
    const right = first.word === word;
    return h(
      "li",
      { class: right ? "right" : "wrong" },
      h("span", { class: "muted" }, context.join(" ")),
      " ",
      h("strong", {}, first.word),
      " ",
      h("span", { class: "muted" }, percent(first.probability), right ? null : ` · ${t("samples.expected", { word })}`),
    );
  };
  return h("ul", { class: "samples-guesses" }, answers.map(row));
}

const fetched = new Map(); // address -> a Promise of the picture's own address; used with a key alone

/** Show a picture of the service's. With a key it is fetched: an <img> cannot send one. The last call wins. */
async function load(image, path) {
  image.dataset.path = path;
  if (!state.client.key) return void (image.src = state.client.url(path));
  if (!fetched.has(path))
    fetched.set(
      path,
      state.client
        .send("GET", path)
        .then((answer) => answer.blob())
        .then(URL.createObjectURL),
    );
  const address = await fetched.get(path).catch(() => (fetched.delete(path), ""));
  if (image.dataset.path === path) image.src = address;
}
