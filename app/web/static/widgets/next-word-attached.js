/** <next-word for="#selector">: suggestions for a textarea or a text input of the same page; see next-word.js. */
import { HOME, Inkling } from "../web/lib/client.js";
import { Completer } from "../web/lib/complete.js";
import { Ghost } from "../web/lib/ghost.js";
import { WordList } from "./next-word-list.js";
import { around, inside } from "./next-word-style.js";
import { teachCorner } from "./next-word-teach.js";
import { stringsFor } from "./next-word-words.js";

// attribute -> [property, default]; the default's type is the property's
export const OPTIONS = {
  for: ["for", ""],
  model: ["model", "next-word"],
  base: ["base", HOME],
  key: ["key", ""],
  "top-k": ["topK", 5],
  words: ["words", 3],
  delay: ["delay", 80],
  "min-probability": ["minProbability", 0],
  context: ["context", ""],
  list: ["list", "strip"],
  teach: ["teach", false],
};
const BOXES = /^(text|search|textarea)$/; // inputs whose caret can be asked for and set
let count = 0;

/** Properties of `kind` that mirror its attributes. */
export function reflect(kind) {
  for (const [attribute, [name, missing]] of Object.entries(OPTIONS)) {
    Object.defineProperty(kind.prototype, name, {
      get() {
        const given = this.getAttribute(attribute);
        if (typeof missing === "boolean") return given !== null;
        if (typeof missing === "number") return given?.trim() && !Number.isNaN(Number(given)) ? Number(given) : missing;
        return given ?? missing;
      },
      set(value) {
        if (value === false || value === null || value === undefined) this.removeAttribute(attribute);
        else this.setAttribute(attribute, value === true ? "" : value);
      },
    });
  }
}

export class NextWord extends HTMLElement {
  static observedAttributes = [...Object.keys(OPTIONS), "lang"];

  client = new Inkling();
  /** The text box that it serves, or null. */
  target = null;
  /** What is suggested now: `{text, predictions, continuation, unknown_words, model}`, or null. */
  suggestion = null;

  #engine = new Completer(this.client, {
    show: (answer) => this.#show(answer),
    fail: (error) => (this.#draw([]), this.#tell("inkling-error", { error })),
  });
  #ghost;
  #list = new WordList(({ full }) => this.#take(full, "list"));
  #hint = document.createElement("span");
  #corner;
  #composing = false;
  #dismissed = false; // by Escape, until something is typed
  #seen = null; // the text before the caret that was asked about last
  #life; // aborted when the box is let go
  #search;
  #kept = new Map(); // the box's own attributes, to be put back

  constructor() {
    super();
    const shadow = this.attachShadow({ mode: "open" });
    shadow.adoptedStyleSheets = [inside];
    this.layer = document.createElement("div");
    this.layer.className = "layer";
    this.layer.setAttribute("aria-hidden", "true");
    this.#corner = document.createElement("div");
    this.#corner.className = "teach";
    shadow.append(this.layer, document.createElement("slot"), this.#corner);
  }

  connectedCallback() {
    const id = `next-word-${++count}`;
    const root = this.getRootNode();
    if (!root.adoptedStyleSheets.includes(around)) root.adoptedStyleSheets = [...root.adoptedStyleSheets, around];
    this.#list.element.id = `${id}-list`;
    this.#hint.id = `${id}-hint`;
    this.#hint.setAttribute("part", "hint");
    this.append(this.#list.element, this.#hint);
    this.#configure();
    this.#find();
  }

  disconnectedCallback() {
    this.#search?.disconnect();
    this.#release();
  }

  attributeChangedCallback(name, before, now) {
    if (!this.#list.element.isConnected || before === now) return; // an upgrade tells of attributes before connectedCallback
    this.#configure();
    if (name === "for") this.#find();
    else if (["model", "base", "key", "top-k", "words", "context", "min-probability"].includes(name)) this.#again();
  }

  /** What is in the box. */
  get text() {
    return this.target ? this.target.value : "";
  }

  /** Ask for suggestions now, whether the box has the focus or not. */
  suggest() {
    if (!this.target) return;
    this.#dismissed = false;
    this.#seen = this.#before();
    this.#engine.ask(this.#seen);
  }

  /** Take the grey words, or only the first `words` of them. True when there was something to take. */
  accept(words = Infinity) {
    const full = this.#ghostText();
    if (full === null) return false;
    const rest = full.slice(this.suggestion.text.length);
    const some = words === Infinity ? rest : (rest.match(/\s*\S+/g) ?? []).slice(0, words).join("");
    return this.#take(this.suggestion.text + some, "ghost");
  }

  /** Something was taught or taken back: what is remembered of answers no longer holds. */
  learned(detail) {
    this.#tell("inkling-teach", detail);
    this.#again();
  }

  // -- the box --------------------------------------------------------------------------------------------------------

  #find() {
    this.#search?.disconnect();
    const root = this.getRootNode();
    const found = this.for ? root.querySelector(this.for) : null;
    if (found !== this.target) this.#release();
    if (!found && this.for) {
      this.#search = new MutationObserver(() => root.querySelector(this.for) && this.#find()); // it may be made later
      this.#search.observe(root, { childList: true, subtree: true });
    } else if (found && !this.target) this.#attach(found);
  }

  #attach(box) {
    if (!BOXES.test(box.type ?? "")) {
      this.#tell("inkling-error", { error: new TypeError(`${this.for} is no textarea and no text input`) });
      return;
    }
    this.target = box;
    this.#ghost = new Ghost(this.layer, box);
    const own = {
      autocomplete: "off",
      "aria-autocomplete": "list",
      "aria-haspopup": "listbox",
      "aria-controls": this.#list.element.id,
    };
    if (box instanceof HTMLInputElement) Object.assign(own, { role: "combobox", "aria-expanded": "false" }); // not allowed on a textarea
    own["aria-describedby"] = [box.getAttribute("aria-describedby"), this.#hint.id].filter(Boolean).join(" ");
    for (const name of [...Object.keys(own), "aria-activedescendant"]) this.#kept.set(name, box.getAttribute(name));
    for (const [name, value] of Object.entries(own)) box.setAttribute(name, value);
    this.#listen(box);
    this.#configure();
    if (this.#focused()) this.suggest();
  }

  #release() {
    this.#life?.abort();
    this.#engine.cancel();
    this.#engine.release();
    this.#ghost?.hide();
    for (const [name, value] of this.#kept)
      value === null ? this.target.removeAttribute(name) : this.target.setAttribute(name, value);
    this.#kept.clear();
    this.target = this.suggestion = this.#seen = null;
    this.#composing = false;
    this.#draw([]);
  }

  #listen(box) {
    const { signal } = (this.#life = new AbortController());
    const on = (target, names, act, more) =>
      names.split(" ").forEach((name) => target.addEventListener(name, act, { signal, ...more }));
    const place = () => this.#ghost.place();
    on(box, "keydown", (event) => this.#key(event));
    on(box, "input", (event) => event.isComposing || this.#composing || this.#changed());
    on(box, "compositionstart", () => ((this.#composing = true), this.#engine.hold()));
    // No `input` follows the end of a composition, so it is asked for here.
    on(box, "compositionend", () => ((this.#composing = false), this.#engine.release(), this.#changed()));
    on(box, "focus", () => this.#moved());
    on(box, "blur", () => this.#left());
    on(document, "selectionchange", () => this.#moved());
    on(box, "select click keyup", () => this.#moved()); // browsers that tell no selectionchange of text boxes
    on(box, "scroll", place);
    on(document, "scroll", place, { capture: true, passive: true });
    on(window, "resize", place);
    const sizes = new ResizeObserver(place);
    sizes.observe(box);
    signal.addEventListener("abort", () => sizes.disconnect());
  }

  #changed() {
    this.#dismissed = false;
    this.#seen = undefined;
    this.#moved();
  }

  /** The box lost the focus: only a list that is part of the page's picture stays. */
  #left() {
    this.#engine.cancel();
    this.#seen = null;
    this.#ghost.hide();
    if (this.list === "bars") this.#choose(-1);
    else this.#draw([]);
  }

  #focused() {
    return this.target.getRootNode().activeElement === this.target;
  }

  #before() {
    const { value, selectionEnd } = this.target;
    return this.#focused() ? value.slice(0, selectionEnd) : value;
  }

  /** Suggestions stand at the end of the text or of a line, where there is room for them. */
  #fits() {
    const { value, selectionStart, selectionEnd, readOnly, disabled } = this.target;
    const rest = this.#focused() ? value.slice(selectionEnd) : "";
    return (
      !readOnly &&
      !disabled &&
      (!this.#focused() || selectionStart === selectionEnd) &&
      (rest === "" || rest.startsWith("\n"))
    );
  }

  #moved() {
    if (!this.#focused() || this.#composing) return;
    const fits = this.#fits();
    const text = fits ? this.#before() : null;
    if (text === this.#seen) return;
    this.#seen = text;
    if (fits) this.#engine.ask(text);
    else (this.#engine.cancel(), this.#show(null));
  }

  #configure() {
    const { client } = this;
    Object.assign(client, { base: this.base.replace(/\/$/, ""), key: this.key });
    Object.assign(this.#engine, { delay: this.delay, least: this.minProbability });
    this.#engine.options = { model: this.model, top_k: this.topK, words: this.words };
    if (this.context) this.#engine.options.context = this.context;
    const say = stringsFor(this);
    this.strings = say;
    this.#list.element.setAttribute("aria-label", say.list);
    this.#list.element.style.setProperty("--rows", this.topK);
    this.#hint.textContent = this.#rightToLeft() ? say.hintRtl : say.hint;
    this.#corner.hidden = !this.teach;
    if (this.teach && this.#corner.dataset.language !== say.language) teachCorner(this.#corner, this, say);
    this.#corner.dataset.language = this.teach ? say.language : "";
    this.#draw(this.#list.rows);
  }

  #again() {
    this.#engine.reset();
    if (this.target && this.#seen !== null) this.suggest();
  }

  // -- what is shown --------------------------------------------------------------------------------------------------

  #show(answer) {
    if (!this.target) return;
    const wanted = answer !== null && this.#fits() && !this.#dismissed;
    this.suggestion = wanted ? answer : null;
    if (wanted && !answer.provisional) this.#draw(answer.predictions);
    else if (this.#fits() && !this.#dismissed && !this.#composing) this.#list.wait(this.target);
    else this.#draw([]);
    this.#drawGhost();
    if (wanted && !answer.provisional) this.#tell("inkling-suggest", { ...answer });
  }

  #drawGhost() {
    const full = this.#ghostText(false);
    const { value, placeholder } = this.target;
    const behind = value === "" && placeholder; // grey words over a grey placeholder cannot be read
    if (full === null || behind) return this.#ghost.hide();
    this.#ghost.show(this.suggestion.text, full.slice(this.suggestion.text.length), value);
  }

  /** The text with the grey words in it; null when none are shown. */
  #ghostText(onlyShown = true) {
    if (!this.suggestion || (onlyShown && !this.#ghost.shown)) return null;
    const { text, ghost } = this.suggestion;
    const full = this.#list.chosen ? this.#list.chosen.full : ghost;
    return full !== null && full.length > text.length && full.startsWith(text) ? full : null;
  }

  #draw(rows) {
    this.#list.draw(rows, this.target, this.strings.language);
  }

  #choose(index) {
    this.#list.choose(index, this.target);
  }

  // -- keys -----------------------------------------------------------------------------------------------------------

  #key(event) {
    // 229: the key belongs to an input method; Safari sends its Enter after the composition has ended, marked so.
    if (event.isComposing || event.keyCode === 229 || this.#composing) return;
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.defaultPrevented) return;
    if (this.#handles(event.key, event.altKey)) event.preventDefault();
  }

  #handles(key, alt) {
    const ghost = this.#ghostText() !== null;
    const forward = this.#rightToLeft() ? "ArrowLeft" : "ArrowRight";
    const atEnd = this.target.selectionEnd === this.target.value.length;
    const inList = this.#list.chosen !== null;
    if (alt) {
      if (key === forward) return ghost && this.accept(1);
      return key === "ArrowDown" && this.#step(1);
    }
    if (key === forward || key === "End" || key === "Tab") return ghost && this.accept();
    if (key === "Enter") return inList && this.#take(this.#list.chosen.full, "list");
    if (key === "Escape") return this.#dismiss();
    // In a text of many lines the arrows belong to the caret: Down where it could go nowhere, Up only from the list.
    if (key === "ArrowDown") return (atEnd || inList) && this.#step(1);
    if (key === "ArrowUp") return (inList || this.target instanceof HTMLInputElement) && this.#step(-1);
    if (inList && ["ArrowLeft", "ArrowRight", "Home"].includes(key)) (this.#choose(-1), this.#drawGhost());
    return false;
  }

  #step(by) {
    if (this.list === "none" || !this.#list.step(by, this.target)) return false;
    this.#drawGhost();
    return true;
  }

  #dismiss() {
    if (!this.#list.rows.length && !this.#ghost.shown) return false;
    this.#dismissed = true;
    this.#engine.cancel();
    this.#show(null);
    return true;
  }

  #rightToLeft() {
    return this.target !== null && getComputedStyle(this.target).direction === "rtl";
  }

  /** Put what is new in `full` into the box. */
  #take(full, from) {
    const { target } = this;
    const { text } = this.suggestion;
    let same = 0;
    while (same < text.length && text[same] === full[same]) same++;
    if (/[\uD800-\uDBFF]/.test(text[same - 1] ?? "")) same--; // not between the halves of one character
    const words = full.slice(same);
    if (!this.#tell("inkling-accept", { text, full, words, from, model: this.suggestion.model }, true)) return true;
    target.focus({ preventScroll: true });
    target.setSelectionRange(same, text.length);
    // As if typed: undo goes on working, and frameworks hear of it. setRangeText would clear the undo history.
    if (!document.execCommand("insertText", false, words)) {
      target.setRangeText(words, same, text.length, "end");
      target.dispatchEvent(
        new InputEvent("input", { bubbles: true, composed: true, inputType: "insertText", data: words }),
      );
    }
    return true;
  }

  #tell(name, detail, cancelable = false) {
    return this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true, cancelable }));
  }
}
reflect(NextWord);
