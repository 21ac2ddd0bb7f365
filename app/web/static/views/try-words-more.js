/** On demand beside the text box: why these words, a longer continuation, and a corner to teach and forget phrases. */
import { taken, units } from "../lib/complete.js";
import { fill, h } from "../lib/dom.js";
import { number, percent, t } from "../lib/i18n.js";
import { doing, field, problem } from "../lib/parts.js";
import { state } from "../lib/state.js";

const EXPLAINED = 3; // words
const style = { temperature: 0.7, words: 20 }; // stays when the view is left
let draft = "";

/** "Why these words?": which part of the model spoke, and the lines it has them from. */
export function why({ box, widget, signal }) {
  const panel = h("div", { class: "why stack", id: "why", "aria-live": "polite" });
  const button = doing(
    t("words.why"),
    async () => {
      const text = box.value;
      const { predictions } = await state.client.predict(
        { text, model: widget.model, top_k: EXPLAINED, explain: true },
        { signal },
      );
      const end = text.trim().split(/\s+/).slice(-4).join(" ");
      fill(
        panel,
        h("p", { class: "hint" }, end ? t("words.why.after", { text: end }) : t("words.why.start")),
        h("ol", { class: "stack" }, predictions.map(reason)),
      );
    },
    { into: panel, class: "small why-button", "aria-controls": "why" },
  );
  return h("div", { class: "stack" }, h("p", {}, button), panel);
}

function reason({ word, why: { parts, words, sources, phrases } }) {
  const spoke = Object.entries(parts)
    .filter(([, share]) => share >= 0.005)
    .sort(([, a], [, b]) => b - a);
  return h(
    "li",
    { class: "reason" },
    h("h3", {}, word),
    h("p", { class: "hint" }, spoke.map(([part, share]) => `${percent(share)} ${t(`words.part.${part}`)}`).join(", ")),
    phrases
      ? h(
          "p",
          {},
          t("words.why.taught"),
          " ",
          phrases.map((each) => h("q", {}, each)),
        )
      : null,
    sources.length
      ? h(
          "details",
          {},
          h("summary", {}, t("words.why.lines", { words })),
          h(
            "ul",
            { class: "stack" },
            sources.map(({ line, text }) =>
              h("li", {}, h("q", {}, text), " ", h("span", { class: "hint" }, t("words.why.line", { n: line }))),
            ),
          ),
        )
      : null,
  );
}

/** A button that lets the model write on by itself. Its words wait beside the text until they are wanted there. */
export function writeOn({ box, widget, signal, put }) {
  const out = h("div", { class: "written" });
  let under; // the controller of what is being written
  signal.addEventListener("abort", () => under?.abort());

  async function write() {
    under?.abort();
    const mine = (under = new AbortController());
    const text = box.value;
    const said = h("p", { class: "said", "aria-busy": "true" });
    const stop = h("button", { type: "button", class: "small", onclick: () => mine.abort() }, t("words.stop"));
    const row = h("p", { class: "row" }, stop);
    fill(out, h("div", { class: "stack", role: "group", "aria-label": t("words.written") }, said, row));
    let done = null;
    try {
      const chance = style.temperature ? { temperature: style.temperature, top_p: 0.95 } : {};
      const body = { text, model: widget.model, words: style.words, punctuation: true, ...chance };
      for await (const data of state.client.continue(body, { signal: mine.signal })) {
        if (data.predictions) done = data;
        else said.textContent += data.text;
      }
    } catch (error) {
      if (!mine.signal.aborted) return void fill(out, problem(error, { retry: write }));
    }
    if (mine !== under || signal.aborted) return;
    said.removeAttribute("aria-busy");
    if (!said.textContent) return void fill(out);
    const full = () => whole(text, done, said.textContent);
    const take = () => (put(box.value === text ? full() : `${box.value.trimEnd()} ${said.textContent}`), fill(out));
    const focused = row.contains(document.activeElement);
    const button = h("button", { type: "button", class: "small primary", onclick: take }, t("words.take"));
    fill(
      row,
      button,
      h("button", { type: "button", class: "small", onclick: () => (fill(out), box.focus()) }, t("words.leave")),
      h("span", { class: "visually-hidden", role: "status" }, said.textContent),
    );
    if (focused) button.focus();
  }

  const shown = h("output", { class: "hint" });
  const temperature = h("input", {
    type: "range",
    min: 0,
    max: 1.5,
    step: 0.1,
    oninput: () => ((style.temperature = Number(temperature.value)), tell()),
  });
  const length = h("input", {
    type: "range",
    min: 1,
    max: 60,
    step: 1,
    oninput: () => ((style.words = Number(length.value)), tell()),
  });
  temperature.value = style.temperature;
  length.value = style.words;
  const tell = () => {
    shown.textContent = t("words.style", {
      n: style.words,
      temperature: style.temperature ? number(style.temperature) : t("words.style.none"),
    });
    temperature.setAttribute("aria-valuetext", style.temperature ? number(style.temperature) : t("words.style.none"));
  };
  tell();
  return h(
    "div",
    { class: "stack on" },
    h(
      "div",
      { class: "row" },
      doing(t("words.on"), async () => void write()),
      h(
        "details",
        { class: "more" },
        h("summary", {}, t("words.more")),
        h(
          "div",
          { class: "stack sliders" },
          field(t("words.temperature"), temperature, t("words.temperature.text")),
          field(t("words.length"), length),
          shown,
        ),
      ),
    ),
    out,
  );
}

/** The text with what was written in it; `done` is the stream's last word, missing when it was stopped. */
function whole(text, done, said) {
  const first = done?.predictions[0];
  if (first) return taken(text, units(text, first.replace_from), said, first.kind);
  return taken(text, text.length, said, "next");
}

/** A phrase to teach or forget; what was taught and how it is used stands with the model. */
export function teaching({ widget, signal }) {
  const said = h("div", { class: "said-of-it", "aria-live": "polite" });
  const phrase = h("input", {
    type: "text",
    autocomplete: "off",
    value: draft,
    oninput: () => (draft = phrase.value),
    onkeydown: (event) => event.key === "Enter" && !event.isComposing && teach.click(),
  });
  const name = () => widget.model.split("@")[0];
  const act = (label, run, more) =>
    doing(
      label,
      async () => {
        const text = phrase.value.trim();
        if (!text) return phrase.focus();
        const told = await run(text);
        widget.learned({ text, model: name() });
        if (!signal.aborted) fill(said, h("p", {}, told));
      },
      { into: said, ...more },
    );
  const teach = act(
    t("words.teach.teach"),
    async (text) => (await state.client.learn(name(), text), t("words.teach.done", { text, model: name() })),
  );
  const forget = act(
    t("words.teach.forget"),
    async (text) => {
      const { seen_by: versions } = await state.client.forget(name(), text);
      return versions.length ? t("words.teach.left", { versions: versions.join(", ") }) : t("words.teach.gone");
    },
    { class: "quiet" },
  );
  return h(
    "details",
    { class: "corner" },
    h("summary", {}, t("words.teach")),
    h(
      "div",
      { class: "stack" },
      h("p", { class: "muted" }, t("words.teach.text")),
      h("div", { class: "row phrase-row" }, field(t("words.teach.phrase"), phrase), teach, forget),
      said,
    ),
  );
}
