/**
 * Drawn pictures with a button for others:
 *
 *   <script type="module" src="http://127.0.0.1:8000/widgets/image-generator.js"></script>
 *   <image-generator></image-generator>
 *
 * docs/widgets.md lists the attributes, events, parts and variables.
 */
import { HOME, Inkling } from "../web/lib/client.js";

// attribute -> [property, default]; the default's type is the property's, null: a number that may be missing
const OPTIONS = {
  model: ["model", "pictures"],
  base: ["base", HOME],
  key: ["key", ""],
  seed: ["seed", null],
  count: ["count", 1],
  truncation: ["truncation", 1],
  label: ["label", ""],
  scale: ["scale", 4],
};
const REDRAW = ["model", "base", "key", "seed", "count", "truncation", "label", "scale"];
const QUIET = [0, 429, 503]; // it is busy or away: it is asked again later, and nothing is said
const RETRY = 5; // seconds until a first picture is asked for again, doubled up to a minute

const STRINGS = {
  en: {
    another: "Draw another",
    others: "Draw others",
    alt: "Picture {latent}, drawn by the model {model}",
    labelled: "“{label}”, picture {latent}, drawn by the model {model}",
    group: "Drawn pictures",
    failed: "No picture could be drawn.",
  },
  ko: {
    another: "다른 그림 그리기",
    others: "다른 그림 그리기",
    alt: "{model} 모델이 그린 그림 {latent}",
    labelled: "{model} 모델이 그린 “{label}”, 그림 {latent}",
    group: "그려진 그림",
    failed: "그림을 그리지 못했습니다.",
  },
};

const style = new CSSStyleSheet(); // constructed: it works under a content security policy without inline styles
style.replaceSync(`
  :host { display: inline-grid; gap: var(--inkling-gap, 0.75em); justify-items: start; max-width: 100%; font: inherit; vertical-align: top; }
  :host([hidden]) { display: none; }
  [part="pictures"] { display: flex; flex-wrap: wrap; gap: var(--inkling-gap, 0.75em); }
  [part="frame"] { display: grid; place-items: center; box-sizing: border-box; width: var(--inkling-size, var(--reserved)); aspect-ratio: 1; overflow: hidden; border-radius: var(--inkling-radius, 6px); background: var(--inkling-paper, color-mix(in srgb, currentColor 6%, transparent)); }
  [part="picture"] { display: block; width: 100%; height: 100%; object-fit: contain; image-rendering: pixelated; }
  [part="picture"]:not([src]) { visibility: hidden; }
  [part="button"] { font: inherit; color: inherit; min-height: 2.5em; padding: 0.25em 1em; cursor: pointer; background: transparent; border: 1px solid var(--inkling-line, color-mix(in srgb, currentColor 45%, transparent)); border-radius: var(--inkling-radius, 6px); }
  [part="button"]:hover { border-color: currentColor; }
  [part="button"]:focus-visible { outline: 2px solid var(--inkling-accent, Highlight); outline-offset: 2px; }
  [part="button"][aria-disabled="true"] { opacity: 0.55; cursor: default; }
  [part="message"] { margin: 0; }
  [part="message"]:empty { display: none; }
`);

class ImageGenerator extends HTMLElement {
  static observedAttributes = [...Object.keys(OPTIONS), "lang"];

  client = new Inkling();
  /** What is shown: `[{seed, latent, label, realness, url}]`, `url` absolute. */
  images = [];

  #pictures = make("div", "pictures");
  #button = make("button", "button");
  #message = make("p", "message");
  #frames = [];
  #asking = null; // the AbortController of the newest request
  #timer;
  #next = null; // the seed to draw when an attribute changes: what is shown stays the same picture, else
  #due = false;
  #failures = 0;

  constructor() {
    super();
    const shadow = this.attachShadow({ mode: "open" });
    shadow.adoptedStyleSheets = [style];
    this.#pictures.setAttribute("role", "group");
    this.#message.setAttribute("role", "status");
    this.#button.type = "button";
    this.#button.addEventListener("click", () => this.#button.getAttribute("aria-disabled") === "true" || this.draw());
    shadow.append(this.#pictures, this.#button, this.#message);
  }

  connectedCallback() {
    this.#next ??= this.seed;
    this.#arrange();
    this.#soon();
  }

  disconnectedCallback() {
    this.#asking?.abort();
    clearTimeout(this.#timer);
    for (const frame of this.#frames) URL.revokeObjectURL(frame.firstChild.src);
    this.#frames = [];
    this.#pictures.replaceChildren();
  }

  attributeChangedCallback(name, before, now) {
    if (!this.isConnected || before === now) return;
    this.#arrange();
    if (name === "seed") this.#next = this.seed;
    if (REDRAW.includes(name)) this.#soon();
  }

  /** Draw pictures of `seed`; of one that the service chooses when none is given. True when they came. */
  async draw(seed = null) {
    this.#asking?.abort();
    clearTimeout(this.#timer);
    const { signal } = (this.#asking = new AbortController());
    this.#button.setAttribute("aria-disabled", "true"); // not `disabled`: that would lose the focus
    this.#pictures.setAttribute("aria-busy", "true");
    try {
      const answer = await this.client.generate(this.#body(seed), { signal });
      if (signal.aborted) return false;
      await this.#show(answer);
      return !signal.aborted;
    } catch (error) {
      if (!signal.aborted) this.#failed(error, seed);
      return false;
    } finally {
      if (!signal.aborted) {
        this.#button.removeAttribute("aria-disabled");
        this.#pictures.removeAttribute("aria-busy");
      }
    }
  }

  /** Several attributes that change at once are one request. */
  #soon() {
    if (this.#due) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      if (!this.isConnected) return;
      this.#failures = 0;
      this.draw(this.#next);
    });
  }

  #body(seed) {
    const { model, count, scale, truncation, label } = this;
    return {
      model,
      count,
      scale,
      ...(seed === null ? {} : { seed }),
      ...(truncation === 1 ? {} : { truncation }),
      ...(label === "" ? {} : { label }),
    };
  }

  /** The places, as large before the pictures come as after. */
  #arrange() {
    Object.assign(this.client, { base: this.base.replace(/\/$/, ""), key: this.key });
    const words = this.#words;
    const count = Math.min(64, Math.max(1, Math.floor(this.count))); // else the service says what is wrong with it
    for (const frame of this.#frames.slice(count)) URL.revokeObjectURL(frame.firstChild.src);
    this.#frames = Array.from({ length: count }, (_, index) => this.#frames[index] ?? frame());
    this.#pictures.replaceChildren(...this.#frames);
    this.#pictures.style.setProperty("--reserved", `${32 * this.scale}px`);
    this.#pictures.setAttribute("aria-label", words.group);
    this.#button.textContent = count > 1 ? words.others : words.another;
    this.images.forEach(
      (image, index) => this.#frames[index] && (this.#frames[index].firstChild.alt = this.#alt(image)),
    );
  }

  async #show({ images, model }) {
    const { signal } = this.#asking;
    const fresh = images.map(({ b64_json }) => URL.createObjectURL(blobOf(b64_json)));
    await Promise.all(fresh.map(decoded)); // the old ones stay until all the new ones can be painted
    if (signal.aborted) return fresh.forEach((address) => URL.revokeObjectURL(address));
    this.#failures = 0;
    this.#next = images[0].seed;
    this.#message.textContent = "";
    this.images = images.map(({ seed, latent, label, realness, url }) => ({
      seed,
      latent,
      label,
      realness,
      url: this.client.url(url),
    }));
    this.#frames.slice(0, images.length).forEach(({ firstChild }, index) => {
      URL.revokeObjectURL(firstChild.src);
      firstChild.src = fresh[index];
      firstChild.alt = this.#alt(this.images[index]);
    });
    this.#tell("inkling-image", { images: this.images, model });
  }

  #failed(error, seed) {
    const quiet = QUIET.includes(error.status);
    this.#message.textContent = quiet ? "" : this.#words.failed;
    if (quiet && !this.images.length) {
      const wait = Math.max(error.retryAfter ?? 0, Math.min(60, RETRY * 2 ** this.#failures++));
      this.#timer = setTimeout(() => this.draw(seed), 1000 * wait);
    }
    this.#tell("inkling-error", { error });
  }

  #alt({ latent, label }) {
    const values = { latent, label, model: this.model.split("@")[0] };
    return this.#words[label === null ? "alt" : "labelled"].replace(/\{(\w+)\}/g, (_, name) => values[name]);
  }

  get #words() {
    const wanted = [this.closest("[lang]")?.lang, document.documentElement.lang, navigator.language];
    return STRINGS[
      wanted
        .filter(Boolean)
        .map((each) => each.slice(0, 2).toLowerCase())
        .find((each) => each in STRINGS) ?? "en"
    ];
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }
}

for (const [attribute, [name, missing]] of Object.entries(OPTIONS)) {
  Object.defineProperty(ImageGenerator.prototype, name, {
    get() {
      const given = this.getAttribute(attribute);
      if (typeof missing === "string") return given ?? missing;
      return given === null || given.trim() === "" || Number.isNaN(Number(given)) ? missing : Number(given);
    },
    set(value) {
      if (value === null || value === undefined) this.removeAttribute(attribute);
      else this.setAttribute(attribute, value);
    },
  });
}

function make(tag, part) {
  const element = document.createElement(tag);
  element.setAttribute("part", part);
  return element;
}

function frame() {
  const made = make("div", "frame");
  const picture = make("img", "picture");
  picture.alt = "";
  made.append(picture);
  return made;
}

function blobOf(base64) {
  return new Blob([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], { type: "image/png" });
}

async function decoded(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
}

// A page may load this file twice, or from two services: the first one stays.
if (!customElements.get("image-generator")) customElements.define("image-generator", ImageGenerator);
