/**
 * Word suggestions for text boxes:
 *
 *   <script type="module" src="http://127.0.0.1:8000/widgets/next-word.js"></script>
 *   <next-word-input></next-word-input>       or, on a box that is there:       <next-word for="#message"></next-word>
 *
 * docs/widgets.md lists the attributes, events, keys and parts of both.
 */
import { NextWord, OPTIONS, reflect } from "./next-word-attached.js";
import { input } from "./next-word-style.js";
import { stringsFor } from "./next-word-words.js";

const OURS = [...Object.keys(OPTIONS).filter((name) => name !== "for"), "lang"];
const THE_BOXES = [
  "placeholder",
  "rows",
  "maxlength",
  "readonly",
  "disabled",
  "required",
  "autofocus",
  "dir",
  "spellcheck",
];

/** <next-word-input>: a text box with suggestions in one. In a form it is a field like any other. */
class NextWordInput extends HTMLElement {
  static formAssociated = true;
  static observedAttributes = [...OURS, ...THE_BOXES, "label"];

  #internals = this.attachInternals();
  #box;
  #suggestions = new NextWord();

  constructor() {
    super();
    const shadow = this.attachShadow({ mode: "open", delegatesFocus: true });
    shadow.adoptedStyleSheets = [input];
  }

  connectedCallback() {
    if (!this.#box) this.#make();
    this.#name();
  }

  #make() {
    const single = this.getAttribute("rows") === "1";
    this.#box = document.createElement(single ? "input" : "textarea");
    this.#box.setAttribute("part", "box");
    this.#box.id = "box";
    this.#box.rows = 3;
    for (const name of this.getAttributeNames()) this.attributeChangedCallback(name, null, this.getAttribute(name));
    this.#box.value = this.#box.defaultValue = this.getAttribute("value") ?? "";
    this.#box.addEventListener("input", () => this.#changed());
    this.#box.addEventListener("change", () => this.dispatchEvent(new Event("change", { bubbles: true }))); // does not leave a shadow tree
    this.#suggestions.setAttribute("for", "#box");
    this.#suggestions.setAttribute("exportparts", "ghost, teach, agree, cancel, phrase, consent");
    this.shadowRoot.append(this.#box, this.#suggestions);
    this.#changed();
  }

  attributeChangedCallback(name, before, now) {
    if (!this.#box) return;
    const element = OURS.includes(name) ? this.#suggestions : THE_BOXES.includes(name) ? this.#box : null;
    if (element && now === null) element.removeAttribute(name);
    else if (element) element.setAttribute(name, now);
    if (["label", "lang"].includes(name)) this.#name();
    if (this.#box.isConnected && ["required", "maxlength", "disabled", "readonly"].includes(name)) this.#changed();
  }

  /** A <label> of the page names the box, too: it stands in another tree, so its text is copied. */
  #name() {
    const label =
      this.getAttribute("label") ??
      ([...this.#internals.labels].map((each) => each.textContent.trim()).join(" ") || null);
    this.#box.setAttribute("aria-label", label ?? this.getAttribute("aria-label") ?? stringsFor(this).label);
  }

  #changed() {
    this.#internals.setFormValue(this.#box.value);
    this.#internals.setValidity(this.#box.validity, this.#box.validationMessage, this.#box);
  }

  formResetCallback() {
    this.value = this.getAttribute("value") ?? "";
  }

  formDisabledCallback(disabled) {
    if (this.#box) this.#box.disabled = disabled;
  }

  formStateRestoreCallback(state) {
    this.value = state;
  }

  get value() {
    return this.#box ? this.#box.value : (this.getAttribute("value") ?? "");
  }

  set value(text) {
    if (!this.#box) return this.setAttribute("value", text);
    this.#box.value = text;
    this.#changed();
  }

  get form() {
    return this.#internals.form;
  }

  get name() {
    return this.getAttribute("name") ?? "";
  }

  set name(name) {
    this.setAttribute("name", name);
  }

  /** The text box itself. */
  get target() {
    return this.#box ?? null;
  }

  get suggestion() {
    return this.#suggestions.suggestion;
  }

  suggest() {
    this.#suggestions.suggest();
  }

  accept(words) {
    return this.#suggestions.accept(words);
  }
}
reflect(NextWordInput);

// A page may load this file twice, or from two services: the first one stays.
if (!customElements.get("next-word")) {
  customElements.define("next-word", NextWord);
  customElements.define("next-word-input", NextWordInput);
}
