/** The second part of "Try": a gallery of drawn pictures, and what can be done with one, with two, and with your own. */
import { debounce, fill, h, latest } from "../lib/dom.js";
import { number, t } from "../lib/i18n.js";
import { empty, field, problem, toast } from "../lib/parts.js";
import { state } from "../lib/state.js";
import { embed, embedding } from "./pictures-embed.js";
import { gallery, madeOf } from "./pictures-grid.js";
import { inspector } from "./pictures-look.js";
import { morph } from "./pictures-morph.js";
import { scoring } from "./pictures-score.js";

const COUNTS = { small: 60, medium: 24, large: 12 }; // whole rows on wide and narrow screens
const SEEDS = 2 ** 32;
const QUIET = [0, 429, 503]; // the old pictures stay, and the next try may work

// What is shown outlives the view. A source is {seed}, {near: picture} or {parents: [picture, picture]}.
const kept = {
  model: "pictures",
  source: { seed: 1 },
  back: [],
  truncation: 1,
  distance: 0.3,
  label: "",
  size: "medium",
  chosen: [],
  open: null,
};

export async function pictures(root, ctx) {
  const models = (await state.client.models({ limit: 200 })).models.filter(
    ({ modality, active }) => modality === "image" && active,
  );
  if (ctx.signal.aborted) return;
  h(
    root,
    {},
    h(
      "header",
      { class: "stack intro" },
      h("h2", {}, t("pictures.title")),
      h("p", { class: "lead" }, t("pictures.lead")),
    ),
  );
  if (!models.length) {
    root.append(
      empty(
        t("pictures.none"),
        t("pictures.none.text"),
        h("a", { class: "button primary", href: "#/teach" }, t("pictures.none.teach")),
      ),
    );
    return;
  }
  const [part, asked] = ctx.parameters; // #/try/pictures/<model>, from "Teach"
  if (part === "pictures" && asked && asked !== kept.model) forget(asked);
  if (!models.some(({ name }) => name === kept.model)) forget(models[0].name);
  await new Studio(root, models, ctx.signal).start();
}

/** Another model draws: what was chosen and opened of the one before means nothing to it. */
function forget(model) {
  Object.assign(kept, { model, label: "", chosen: [], open: null, back: [] });
  if (!("seed" in kept.source)) kept.source = { seed: 1 };
}

class Studio {
  constructor(root, models, signal) {
    this.signal = signal;
    this.models = models;
    this.side = 32;
    this.trouble = h("div", { class: "trouble" });
    this.told = h("p", { class: "told hint", role: "status" });
    this.from = h("div", { class: "from row" });
    this.grid = gallery({ open: (picture) => this.open(picture, true), choose: (picture) => this.choose(picture) });
    this.look = inspector(this);
    this.morph = morph(this);
    this.score = scoring(this);
    this.line = h("code", {});
    this.draws = latest((signal, body) => state.client.generate(body, { signal }));
    this.soon = debounce(120, () => this.draw());
    signal.addEventListener("abort", () => (this.draws.abort(), this.soon.cancel()));
    root.append(
      this.controls(models),
      this.trouble,
      h(
        "div",
        { class: "studio" },
        h(
          "div",
          { class: "wall stack" },
          this.from,
          this.grid.element,
          h("div", { class: "stack under" }, this.told, h("p", { class: "hint" }, t("pictures.bars")), keys()),
        ),
        this.morph.element,
        this.look.element,
      ),
      h("div", { class: "columns own" }, this.score.element, embed(this.line)),
    );
  }

  async start() {
    this.grid.reserve(COUNTS[kept.size], kept.size);
    const meeting = this.meet().catch((error) => fill(this.trouble, problem(error, { retry: () => this.start() })));
    await Promise.all([meeting, this.draw()]);
  }

  /** What the model's card says that the controls need: its classes, and how large its pictures are. */
  async meet() {
    const { name } = this.models.find(({ name }) => name === kept.model);
    const { active, versions } = await state.client.model(name);
    if (this.signal.aborted || name !== kept.model) return;
    const { labels, size } = versions.find(({ version }) => version === active).serving;
    this.side = size;
    this.look.sizes();
    fill(
      this.label,
      h("option", { value: "" }, t("pictures.label.any")),
      labels.map((name) => h("option", { value: name, selected: name === kept.label }, name)),
    );
    this.labelField.hidden = !labels.length;
    this.line.textContent = embedding(kept.model);
    this.score.again();
  }

  // -- the controls ---------------------------------------------------------------------------------------------------

  controls(models) {
    const choice = h(
      "select",
      { onchange: () => (forget(choice.value), this.start()) },
      models.map(({ name }) => h("option", { value: name, selected: name === kept.model }, name)),
    );
    this.seed = h("input", {
      type: "number",
      min: 0,
      max: SEEDS - 1,
      step: 1,
      inputMode: "numeric",
      value: kept.source.seed ?? "",
      oninput: () => this.seeded(),
    });
    this.label = h("select", { onchange: () => ((kept.label = this.label.value), this.draw()) });
    this.labelField = field(t("pictures.label"), this.label);
    this.labelField.hidden = true;
    const sizes = h(
      "select",
      { onchange: () => ((kept.size = sizes.value), this.draw()) },
      Object.keys(COUNTS).map((value) =>
        h("option", { value, selected: value === kept.size }, t(`pictures.size.${value}`)),
      ),
    );
    this.daring = slider("truncation", t("pictures.truncation"), [0.1, 1.5, 0.1], () => this.soon());
    const others = h(
      "button",
      { type: "button", class: "primary others", onclick: () => this.others() },
      t("pictures.others"),
    );
    return h(
      "form",
      { class: "controls", onsubmit: (event) => (event.preventDefault(), this.seeded()) },
      field(t("pictures.model"), choice),
      field(t("pictures.seed"), this.seed),
      others,
      this.labelField,
      this.daring.element,
      field(t("pictures.size"), sizes),
    );
  }

  seeded() {
    if (this.seed.value === "" || !this.seed.validity.valid) return;
    kept.source = { seed: Number(this.seed.value) };
    kept.back = [];
    this.soon();
  }

  others() {
    this.seed.value = crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000; // short enough to be told to somebody
    this.seeded();
  }

  // -- drawing --------------------------------------------------------------------------------------------------------

  /** How pictures are drawn, beside which. */
  get style() {
    return {
      ...(kept.truncation === 1 ? {} : { truncation: kept.truncation }),
      ...(kept.label ? { label: kept.label } : {}),
    };
  }

  body() {
    const count = COUNTS[kept.size];
    const { seed, near, parents } = kept.source;
    if (near) return { ...this.style, model: near.model, near: near.latent, distance: kept.distance, count };
    if (parents) return { ...this.style, model: parents[0].model, parents: parents.map(({ latent }) => latent), count };
    return { ...this.style, model: kept.model, seed: Math.min(seed, SEEDS - count), count };
  }

  async draw() {
    this.soon.cancel();
    const { style } = this;
    let answer;
    try {
      answer = await this.draws(this.body());
    } catch (error) {
      if (QUIET.includes(error.status) && this.grid.filled) toast(t("pictures.later"), "bad");
      else fill(this.trouble, problem(error, { retry: () => this.draw() }));
      return;
    }
    if (!answer || this.signal.aborted) return;
    fill(this.trouble);
    const model = `${answer.model.name}@${answer.model.version}`;
    const drawn = answer.images.map((image) => ({
      ...image,
      style,
      model,
      name: answer.model.name,
      version: answer.model.version,
      src: `data:image/png;base64,${image.b64_json}`,
    }));
    this.grid.show(drawn, kept.size);
    this.showSource(drawn);
    this.mark();
    if (kept.open) this.look.show(kept.open);
    else this.open(drawn[0]);
  }

  /** What the wall shows, and the way back from what was made of one or two. */
  showSource(drawn) {
    const { seed, near, parents } = kept.source;
    const { name, version } = drawn[0];
    this.told.textContent = t("pictures.drawn", { n: drawn.length, model: name, version });
    const origins = (near ? [near] : (parents ?? [])).map((each) =>
      h("img", { class: "pixels thumb", src: each.src, alt: "" }),
    );
    const of = near ? [near] : parents;
    const title = of ? madeOf(of) : t("pictures.seeds", { first: drawn[0].seed, last: drawn.at(-1).seed });
    const back =
      seed === undefined && kept.back.length
        ? h("button", { type: "button", class: "small", onclick: () => this.back() }, t("pictures.back"))
        : null;
    const held = this.from.contains(document.activeElement) ? document.activeElement.id : null;
    fill(
      this.from,
      origins,
      h("h3", {}, title),
      near ? slider("distance", t("pictures.distance"), [0.05, 1, 0.05], () => this.soon()).element : null,
      back,
    );
    if (held) this.from.querySelector(`#${held}`)?.focus();
  }

  /** What is made of a picture is drawn as it was. */
  go(source, { truncation = 1, label = "" }) {
    this.daring.put(truncation);
    kept.label = this.label.value = label;
    kept.back.push(kept.source);
    kept.source = source;
    this.seed.value = "";
    return this.draw().then(() => this.grid.focus());
  }

  back() {
    kept.source = kept.back.pop();
    this.seed.value = kept.source.seed ?? "";
    return this.draw().then(() => this.grid.focus());
  }

  // -- what can be done with them -------------------------------------------------------------------------------------

  open(picture, asked = false) {
    kept.open = picture;
    this.look.show(picture, asked);
    this.mark();
  }

  likeThis(picture) {
    return this.go({ near: picture }, picture.style);
  }

  children(parents) {
    return this.go({ parents }, parents[0].style);
  }

  /** Choose a picture for the morph, or leave it; a third one takes the first one's place. */
  choose(picture) {
    const rest = kept.chosen.filter((each) => !same(each, picture));
    kept.chosen =
      rest.length < kept.chosen.length
        ? rest
        : [...rest.filter((each) => each.model === picture.model), picture].slice(-2);
    this.mark();
  }

  isChosen(picture) {
    return kept.chosen.some((each) => same(each, picture));
  }

  mark() {
    this.grid.mark((picture) => ({ open: same(picture, kept.open), chosen: this.isChosen(picture) }));
    this.look.mark();
    this.morph.show(kept.chosen);
  }

  get reference() {
    return kept.model;
  }
}

const same = (a, b) =>
  Boolean(a && b) &&
  a.latent === b.latent &&
  a.model === b.model &&
  JSON.stringify(a.style) === JSON.stringify(b.style);

/** A slider over `kept[name]` with its value beside it. */
function slider(name, label, [min, max, step], changed) {
  const value = h("output", {}, number(kept[name]));
  const input = h("input", {
    type: "range",
    id: `pictures-${name}`,
    min,
    max,
    step,
    oninput: () => ((kept[name] = Number(input.value)), (value.textContent = number(kept[name])), changed()),
  });
  input.value = kept[name]; // after its bounds: a value outside them would be cut
  const put = (to) => (value.textContent = number((kept[name] = input.value = to)));
  return { element: h("div", { class: "field slider" }, h("label", { for: input.id }, label, " ", value), input), put };
}

/** What the keys do, where there are keys. */
function keys() {
  const pairs = [
    ["← ↑ ↓ →", "pictures.key.move"],
    ["Enter", "pictures.key.open"],
    [t("pictures.key.space"), "pictures.key.choose"],
  ];
  return h(
    "p",
    { class: "keys row hint", id: "pictures-keys" },
    pairs.map(([key, name]) => h("span", {}, h("kbd", {}, key), " ", t(name))),
  );
}
