/** The first lesson: six sentences, two words in, the third word out. */
import { debounce, fill, h, latest, set } from "../lib/dom.js";
import { percent, read, t, write } from "../lib/i18n.js";
import { empty, field, meter, problem } from "../lib/parts.js";
import { state } from "../lib/state.js";
import { costs } from "./lecture-cost.js";
import { runs } from "./lecture-run.js";
import { story } from "./lecture-story.js";
import { words } from "./lecture-words.js";

const SLIDE = ["i like dog", "i love coffee", "i hate milk", "you like cat", "you love milk", "you hate coffee"];
const EPOCHS = 500;
const EVALUATIONS = 50; // the slide prints five; ten times as many make the bars move
const MOST = 12; // sentences, that all of them are seen at once
const KEPT = "inkling-lecture-sentences";
const SEED = 1; // the same lesson in every classroom
const run = runs.lstm;

const linesOf = (text) => text.toLowerCase().split("\n").map((line) => line.trim().split(/\s+/).join(" ")).filter(Boolean);
const isSlides = (lines) => lines.join("\n") === SLIDE.join("\n");

/** What is wrong with the sentences, in words; "" if nothing is. */
function fault(lines) {
  if (lines.length < 2 || lines.length > MOST) return t("lecture.lstm.bad.count", { most: MOST });
  const long = lines.find((line) => line.split(" ").length !== 3);
  if (long) return t("lecture.lstm.bad.three", { line: long });
  const odd = lines.join(" ").split(" ").find((word) => !/^[\p{L}\p{M}\p{N}]+$/u.test(word));
  return odd ? t("lecture.lstm.bad.letters", { word: odd }) : "";
}

export default function lesson(root, { signal }) {
  let lines = SLIDE; // of which the words and the network are shown
  const box = h("textarea", { rows: 6, spellcheck: false, autocapitalize: "off", value: read(KEPT) ?? SLIDE.join("\n") });
  const wrong = h("p", { class: "hint lec-wrong", role: "status" });
  const trouble = h("div", { "aria-live": "assertive" });
  const says = h("p", { class: "run-says", role: "status" });
  const go = h("button", { type: "button", class: "primary", onclick: start }, t("lecture.lstm.train"));
  const back = h("button", { type: "button", class: "small", onclick: () => ((box.value = SLIDE.join("\n")), typed()) }, t("lecture.lstm.back"));
  const [alphabet, cost, answers, ask] = [words({ signal }), costs({ run, epochs: EPOCHS, signal }), rows(), question(signal)];
  const caption = (frame) => t("lecture.lstm.epoch", { epoch: frame.epoch });
  const time = story({ label: t("lecture.lstm.story"), run, total: EVALUATIONS - 1, caption, show, signal });

  const stage = h(
    "div",
    { class: "stack" },
    time,
    h("div", { class: "columns" }, h("div", { class: "stack" }, h("h3", {}, t("lecture.lstm.answers")), answers.element), h("div", { class: "stack" }, h("h3", {}, t("lecture.lstm.cost")), cost.element)),
  );

  function typed() {
    write(KEPT, box.value);
    const given = linesOf(box.value);
    const bad = fault(given);
    wrong.textContent = bad;
    set(box, { "aria-invalid": bad ? "true" : null });
    if (!bad && given.join("\n") !== lines.join("\n")) alphabet.show((lines = given));
  }

  function start() {
    const given = linesOf(box.value);
    const bad = fault(given);
    if (bad) {
      wrong.textContent = bad;
      return box.focus();
    }
    if (run.busy) return;
    run.start({ lines: given, isSlides: isSlides(given) }, () => order(given));
    stage.scrollIntoView({ block: "nearest" });
  }

  /** Where between the evaluations the story stands: the bars and the curve of that moment. */
  function show(head) {
    const frame = run.frames[Math.round(head)];
    answers.show(frame);
    cost.show(head, run.asked?.isSlides ?? true);
  }

  function changed() {
    set(go, { "aria-disabled": run.busy ? "true" : null });
    says.textContent = run.status ? t(`lecture.status.${run.status}`) : t("lecture.status.idle");
    fill(trouble, run.error ? problem(run.error, { retry: start }) : null);
    ask.show(run.result, run.asked?.lines[0]);
  }

  box.addEventListener("input", typed);
  run.addEventListener("change", changed, { signal });
  h(
    root,
    {},
    part("1", h("div", { class: "columns" }, h("div", { class: "stack" }, field(t("lecture.lstm.sentences"), box, t("lecture.lstm.sentences.hint")), wrong, h("p", { class: "row" }, back)), h("div", { class: "stack" }, p("lecture.lstm.1.text"), p("lecture.lstm.1.more")))),
    h(
      "div",
      { class: "columns even" },
      part("2", p("lecture.lstm.2.text"), alphabet.element, p("lecture.lstm.2.more", "hint")),
      part("3", p("lecture.lstm.3.text"), alphabet.network, p("lecture.lstm.3.more", "hint")),
    ),
    part("4", p("lecture.lstm.4.text"), h("div", { class: "row" }, go, says), trouble, stage),
    part("5", p("lecture.lstm.5.text"), ask.element),
  );
  lines = fault(linesOf(box.value)) ? SLIDE : linesOf(box.value);
  alphabet.show(lines);
  typed();
  changed();
  time.begin();
  run.resume();
}

const p = (name, kind = "lec-said") => h("p", { class: kind }, t(name));
const part = (number, ...children) => h("section", { class: "card lec-step", "aria-labelledby": `step-${number}` }, h("h2", { id: `step-${number}` }, h("span", { class: "step-number", "aria-hidden": "true" }, number), t(`lecture.lstm.${number}.title`)), children);

/** Send the sentences where they are not the slide's, and order the training. */
async function order(given) {
  const slides = isSlides(given);
  let dataset = "lecture";
  if (!slides) {
    const file = new File([`${given.join("\n")}\n`], "my-sentences.txt", { type: "text/plain" });
    dataset = (await state.client.upload([file], { name: "my-sentences" })).id;
  }
  // One's own sentences differ from time to time, and nothing tells which are better: the newest answer.
  const model = slides ? {} : { model: "my-sentences", activate: "always" };
  return state.client.train({ family: "lstm", dataset, preset: "lecture", seed: SEED, config: { evaluations: EVALUATIONS }, ...model });
}

/** One line a sentence: what the model says now, and how sure it is of the right word. */
function rows() {
  const list = h("ul", { class: "lec-answers" });
  const count = h("p", { class: "answers-count", role: "status" }, "");
  let shown = [];

  function make(answers) {
    shown = answers.map(() => ({ said: h("span", { class: "answer-said" }), bar: h("span", { class: "meter-bar" }), share: h("span", { class: "meter-value" }), mark: h("span", { class: "answer-mark" }) }));
    fill(list, shown.map(({ said, bar, share, mark }, i) => h("li", {}, h("span", { class: "answer-asked" }, answers[i].context.join(" ")), said, mark, h("span", { class: "meter-track", "aria-hidden": "true" }, bar), share)));
  }

  function show(frame) {
    if (!frame?.answers) {
      shown = [];
      fill(list, h("li", { class: "none" }, empty(t("lecture.lstm.empty"), t("lecture.lstm.empty.more"))));
      count.textContent = "";
      return;
    }
    if (shown.length !== frame.answers.length) make(frame.answers);
    let right = 0;
    frame.answers.forEach(({ word, probability, answers: [best] }, i) => {
      const isRight = best.word === word;
      right += isRight;
      shown[i].said.textContent = best.word;
      shown[i].bar.style.width = `${100 * probability}%`;
      shown[i].share.textContent = percent(probability);
      shown[i].mark.textContent = isRight ? t("lecture.lstm.right") : t("lecture.lstm.wrong", { word });
      set(shown[i].mark, { class: `answer-mark ${isRight ? "right" : "wrong"}` });
    });
    const said = t("lecture.lstm.count", { right, all: frame.answers.length });
    if (said !== count.textContent) count.textContent = said; // read out when it changes, and only then
  }
  return { element: h("div", { class: "stack answers-box" }, count, list), show };
}

/** Type two words: the trained model's next one. */
function question(signal) {
  let model = null;
  const input = h("input", { type: "text", autocomplete: "off", autocapitalize: "off", spellcheck: false, disabled: true });
  const out = h("div", { class: "ask-out", "aria-live": "polite" });
  const asked = latest((aborted, text) => state.client.predict({ text: `${text} `, model, top_k: 5, complete_partial: false }, { signal: aborted }));
  const later = debounce(150, put);
  input.addEventListener("input", later);
  signal.addEventListener("abort", () => (later.cancel(), asked.abort()));

  async function put() {
    const text = input.value.trim().toLowerCase();
    if (!model) return fill(out, h("p", { class: "muted" }, t("lecture.lstm.ask.first")));
    if (text.split(/\s+/).filter(Boolean).length !== 2) return asked.abort(), fill(out, h("p", { class: "muted" }, t("lecture.lstm.ask.two")));
    try {
      const answer = await asked(text);
      if (!answer) return;
      const unknown = answer.unknown_words.length ? h("p", { class: "hint" }, t("lecture.lstm.ask.unknown", { words: answer.unknown_words.join(", ") })) : null;
      fill(out, answer.predictions.map(({ word, probability }) => meter(word, probability, { digits: 1 })), unknown);
    } catch (error) {
      fill(out, problem(error, { retry: put }));
    }
  }

  /** The model to ask from now on, and what to ask it first. */
  function show(result, line) {
    const next = result ? `${result.name}@${result.version}` : null;
    if (next && next !== model) input.value ||= line.split(" ").slice(0, 2).join(" ");
    model = next;
    input.disabled = !model;
    put();
  }
  const form = h("form", { onsubmit: (event) => (event.preventDefault(), put()) }, field(t("lecture.lstm.ask"), input));
  return { element: h("div", { class: "lec-ask" }, form, out), show };
}
