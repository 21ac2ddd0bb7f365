/** Two pictures, and what lies between them: a film, single steps, and children of both. */
import { fill, h, latest } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { doing, problem, save } from "../lib/parts.js";
import { state } from "../lib/state.js";
import { nameOf } from "./pictures-grid.js";

const FILM = { frames: 48, loop: true, format: "webp" };
const WIDTH = 224; // pixels a side that a film has at least about
const SHARES = [0.143, 0.286, 0.429, 0.571, 0.714, 0.857]; // of the way
const still = matchMedia("(prefers-reduced-motion: reduce)");

export function morph(studio) {
  let pair = [];
  let film = null; // {blob, url} of `pair`
  let playing = false;
  const slots = [0, 1].map(() => h("div", { class: "slot" }));
  const stage = h("img", { class: "pixels", alt: "", hidden: true });
  const strip = h("ol", { class: "strip" });
  const said = h("p", { class: "hint", role: "status" });
  const trouble = h("div", {});
  const play = h("button", { type: "button", onclick: () => toggle() }, t("pictures.play"));
  const children = doing(t("pictures.make-children"), () => studio.children(pair), { into: trouble });
  const keep = doing(
    t("pictures.save-film"),
    async () => save((await filmed()).blob, `${pair[0].name}-${pair[0].latent}-${pair[1].latent}.webp`),
    { into: trouble },
  );
  const buttons = [play, children, keep];
  const ask = latest((signal, body) => state.client.interpolate(body, { signal }));
  const steps = latest((signal, body) => state.client.generate(body, { signal }));
  let filming = null; // so that two buttons do not ask twice
  studio.signal.addEventListener("abort", () => (ask.abort(), steps.abort(), drop()));

  const element = h(
    "section",
    { class: "card morph", "aria-labelledby": "pictures-morph" },
    h("div", { class: "morph-head" }, h("h3", { id: "pictures-morph" }, t("pictures.morph")), said),
    h("div", { class: "morph-stage" }, slots[0], h("div", { class: "stage" }, stage), slots[1]),
    strip,
    trouble,
    h("p", { class: "row" }, buttons),
  );
  fill(
    strip,
    SHARES.map(() => h("li", {}, h("span", { class: "step" }))),
  );
  show([]);
  return { element, show };

  function show(chosen) {
    const key = (pictures) => pictures.map(({ model, latent }) => `${model} ${latent}`).join();
    const changed = key(chosen) !== key(pair);
    pair = chosen;
    slots.forEach((slot, index) =>
      fill(slot, pair[index] ? picked(pair[index]) : h("span", { class: "hint" }, t(`pictures.slot.${index}`))),
    );
    for (const button of buttons) button.disabled = pair.length < 2;
    said.textContent = t(pair.length < 2 ? "pictures.morph.choose" : "pictures.morph.text");
    if (!changed) return;
    ask.abort();
    filming = null;
    drop();
    fill(trouble);
    stage.hidden = pair.length < 2;
    if (pair.length < 2) {
      steps.abort();
      fill(
        strip,
        SHARES.map(() => h("li", {}, h("span", { class: "step" }))),
      );
      return;
    }
    rest();
    between();
    if (!still.matches) toggle();
  }

  function picked(picture) {
    const name = nameOf(picture);
    return h(
      "button",
      {
        type: "button",
        class: "picked",
        "aria-label": t("pictures.leave", { name }),
        title: t("pictures.leave", { name }),
        onclick: () => studio.choose(picture),
      },
      h("img", { class: "pixels", src: picture.src, alt: "" }),
    );
  }

  /** The first picture stands still. */
  function rest() {
    playing = false;
    play.textContent = t("pictures.play");
    stage.src = pair[0].src;
    stage.alt = t("pictures.stage", { a: nameOf(pair[0]), b: nameOf(pair[1]) });
  }

  async function toggle() {
    if (playing) return rest();
    playing = true;
    play.textContent = t("pictures.stop");
    try {
      const made = await filmed();
      if (made && playing) stage.src = made.url;
    } catch (error) {
      rest();
      fill(trouble, problem(error));
    }
  }

  async function filmed() {
    filming ??= ask({
      ...look(),
      latents: pair.map(({ latent }) => latent),
      ...FILM,
      scale: Math.min(8, Math.max(1, Math.round(WIDTH / studio.side))),
    });
    const mine = filming;
    try {
      const blob = await mine;
      if (!blob || mine !== filming) return null; // other pictures were chosen meanwhile
      return (film ??= { blob, url: URL.createObjectURL(blob) });
    } catch (error) {
      if (mine === filming) filming = null;
      throw error;
    }
  }

  /** Single steps of the way: still pictures, and pictures like any others. */
  async function between() {
    const [a, b] = pair.map(({ latent }) => latent);
    const end = /^\d+$/.test(b) ? b : `(${b})`;
    try {
      const answer = await steps({ ...look(), latents: SHARES.map((share) => `${a}_${end}@${share}`) });
      if (!answer) return;
      const { name, version } = answer.model;
      const { model, style } = pair[0];
      const made = answer.images.map((image) => ({
        ...image,
        model,
        style,
        name,
        version,
        src: `data:image/png;base64,${image.b64_json}`,
      }));
      fill(
        strip,
        made.map((picture) =>
          h(
            "li",
            {},
            h(
              "button",
              {
                type: "button",
                class: "step",
                "aria-label": nameOf(picture),
                onclick: () => studio.open(picture, true),
              },
              h("img", { class: "pixels", src: picture.src, alt: "" }),
            ),
          ),
        ),
      );
    } catch (error) {
      fill(trouble, problem(error));
    }
  }

  function look() {
    return { ...pair[0].style, model: pair[0].model };
  }

  function drop() {
    if (film) URL.revokeObjectURL(film.url);
    film = null;
    playing = false;
  }
}
