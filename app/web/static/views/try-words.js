/** The first part of "Try": a text box on which the widget works as it does on anybody's page, and what stands behind it. */
import { fill, h } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { doing, empty } from "../lib/parts.js";
import { copy } from "../lib/copy.js";
import { state } from "../lib/state.js";
import "../../widgets/next-word.js";
import { keyed } from "./pictures-embed.js";
import { teaching, why, writeOn } from "./try-words-more.js";

const START = "The heavens and the";
const kept = { text: read() ?? START, model: "next-word" }; // nothing typed is lost when the view is left, or the page

let fresh = kept.text === START;

/** Who clicks into our example to write something else need not remove it first; a second click sets the caret. */
function selectExample(box) {
  if (fresh && box.value === START) box.select();
  fresh = false;
}

export async function words(root, ctx) {
  const [part, asked] = ctx.parameters; // #/try/words/<model>, from "Teach"
  if (part === "words" && asked) kept.model = asked;
  const { element, offer } = desk(ctx);
  const intro = h(
    "header",
    { class: "stack intro" },
    h("h1", {}, t("words.title")),
    h("p", { class: "lead" }, t("words.lead")),
  );
  h(root, {}, intro, element); // at once, so that nothing moves when the models are known
  const { models } = await state.client.models();
  const names = models.filter(({ modality, active }) => modality === "text" && active).map(({ name }) => name);
  if (ctx.signal.aborted) return;
  if (names.length) offer(names);
  else
    element.replaceWith(
      empty(
        t("words.none"),
        t("words.none.text"),
        h("a", { class: "button primary", href: "#/teach" }, t("words.none.teach")),
      ),
    );
}

/** The text box with all that belongs to it; `offer(names)` says which models there are. */
function desk(ctx) {
  const box = h("textarea", {
    id: "text",
    rows: 5,
    placeholder: t("words.placeholder"),
    value: kept.text,
    spellcheck: false,
    oninput: () => keep(box.value),
    onclick: () => selectExample(box),
    autocapitalize: "sentences",
  });
  const widget = h("next-word", { for: "#text", list: "bars", key: state.client.key, model: kept.model });
  const version = h("span", { class: "muted version" });
  const note = h("p", { class: "note hint", role: "status" });
  const line = h("code", {});
  const about = { box, widget, signal: ctx.signal, put: (full) => put(box, full) };

  const option = (name) => h("option", { value: name, selected: name === kept.model }, name);
  const choice = h("select", { id: "words-model", onchange: () => choose(choice.value) }, option(kept.model));
  const choose = (name) => {
    kept.model = name;
    if (widget.model !== name) widget.model = name;
    showLine();
    version.textContent = "";
    widget.suggest();
  };
  const offer = (names) => {
    if (!names.includes(kept.model)) kept.model = names[0];
    fill(choice, names.map(option));
    choose(kept.model); // the first words stand there before anybody types
  };
  widget.addEventListener("inkling-suggest", ({ detail }) => {
    version.textContent = t("words.version", { n: detail.model.version });
    const unknown = [...new Set(detail.unknown_words)];
    note.textContent = unknown.length
      ? t("words.unknown", {
          n: unknown.length,
          words: unknown
            .slice(-5)
            .map((word) => `“${word}”`)
            .join(", "),
        })
      : "";
  });
  widget.addEventListener("inkling-error", ({ detail: { error } }) => {
    note.textContent =
      { 0: t("words.down"), 429: t("words.busy"), 503: t("words.busy") }[error.status] ?? error.message;
  });

  const origin = h("p", { class: "hint" });
  const showLine = () => {
    line.textContent = embedding(kept.model);
    origin.textContent = t(keyed() ? "embed.key" : "words.embed.origin");
  };
  state.addEventListener("health", showLine, { signal: ctx.signal }); // whether it asks for keys is known a moment later
  const back = () => state.status === "ready" && widget.suggestion === null && widget.suggest();
  state.addEventListener("health", back, { signal: ctx.signal });
  showLine();
  const element = h(
    "div",
    { class: "desk" },
    h(
      "div",
      { class: "writing stack" },
      h(
        "div",
        { class: "row spread" },
        h("label", { for: "text" }, t("words.label")),
        h("div", { class: "row answering" }, h("label", { for: "words-model" }, t("words.model")), choice, version),
      ),
      box,
      keys(),
      note,
    ),
    h(
      "section",
      { class: "card coming", "aria-labelledby": "coming-title" },
      h("h2", { id: "coming-title" }, t("words.next")),
      widget,
      why(about),
    ),
    writeOn(about),
    h("div", { class: "below" }, embed(line, origin), teaching(about)),
  );
  return { element, offer };
}

/** What the keys do, where there are keys. */
function keys() {
  const pairs = [
    ["Tab", "words.key.all"],
    ["Alt →", "words.key.one"],
    ["↓", "words.key.list"],
    ["Esc", "words.key.hide"],
  ];
  return h(
    "p",
    { class: "keys row hint" },
    pairs.map(([key, name]) => h("span", {}, h("kbd", {}, key), " ", t(name))),
  );
}

// -- into a page of one's own ------------------------------------------------------------------------------------------

function embedding(model) {
  const named = (model === "next-word" ? "" : ` model="${model}"`) + keyed(); // names hold no quotation marks
  return `<script type="module" src="${state.client.url("/widgets/next-word.js")}"></script><next-word-input${named}></next-word-input>`;
}

function embed(line, origin) {
  const copied = h("span", { role: "status", class: "hint" });
  const button = doing(t("words.copy"), async () => {
    if (!(await copy(line.textContent, button))) throw new Error(t("words.copy.failed"));
    copied.textContent = t("words.copied");
  });
  return h(
    "section",
    { class: "stack embed", "aria-labelledby": "words-embed-title" },
    h("h2", { id: "words-embed-title" }, t("words.embed")),
    h("p", { class: "muted" }, t("words.embed.text")),
    h("pre", { tabindex: 0, "aria-label": t("words.embed.line") }, line),
    h("p", { class: "row" }, button, copied),
    origin,
  );
}

// -- the text ----------------------------------------------------------------------------------------------------------

/** Make the box's text `full`, as if typed: undo takes it back. */
function put(box, full) {
  let same = 0;
  while (same < Math.min(box.value.length, full.length) && box.value[same] === full[same]) same++;
  box.focus();
  box.setSelectionRange(same, box.value.length);
  document.execCommand("insertText", false, full.slice(same));
}

function keep(text) {
  kept.text = text;
  try {
    sessionStorage.setItem("inkling-text", text);
  } catch {
    /* storage is switched off or full: the text lives as long as the page */
  }
}

function read() {
  try {
    return sessionStorage.getItem("inkling-text");
  } catch {
    return null;
  }
}
