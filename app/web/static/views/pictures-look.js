/** One picture, looked at closely: beside the wall on wide screens, in a dialog on narrow ones. */
import { fill, h, latest } from "../lib/dom.js";
import { number, percent, t } from "../lib/i18n.js";
import { copy } from "../lib/copy.js";
import { doing, field, meter, problem, save } from "../lib/parts.js";
import { state } from "../lib/state.js";
import { nameOf } from "./pictures-grid.js";

const NEAREST = 5;
const SCALES = [1, 2, 4, 8];
const narrow = matchMedia("(max-width: 60rem)");
const kept = { format: "png", scale: 4, nearest: false };

/** What a share of realness means, in words. */
export function verdict(realness) {
  const level = realness < 0.1 ? "drawn" : realness < 0.4 ? "rather-drawn" : realness <= 0.6 ? "open" : "real";
  return t(`pictures.verdict.${level}`);
}

export function inspector(studio) {
  let picture = null;
  const image = h("img", { class: "pixels", alt: "", hidden: true });
  const title = h("h3", { id: "pictures-look" });
  const by = h("p", { class: "hint" });
  const real = h("div", {}, meter(t("pictures.realness"), 0));
  const judged = h("p", { class: "verdict" });
  const realness = h("div", { class: "stack realness" }, real, judged, h("p", { class: "hint" }, t("pictures.judge")));
  const heard = h("p", { class: "visually-hidden", role: "status" });
  const address = h("code", { class: "address" });
  const said = h("span", { class: "hint", role: "status" });
  const chosen = h("button", { type: "button", onclick: () => studio.choose(picture) }, t("pictures.choose"));
  const copying = doing(t("pictures.link"), async () => {
    const done = await copy(absolute(picture), copying);
    if (!done) {
      address.textContent = absolute(picture);
      getSelection().selectAllChildren(address);
    }
    said.textContent = t(done ? "pictures.copied" : "pictures.copy.failed");
  });
  const actions = h(
    "p",
    { class: "row" },
    doing(t("pictures.more-like"), () => (dialog.close(), studio.likeThis(picture)), { class: "primary" }),
    chosen,
  );
  const saving = download(studio, () => picture);
  const compare = nearest(studio, () => picture);
  const panel = h(
    "div",
    { class: "stack look-panel", inert: true }, // until there is a picture
    h("div", { class: "look-picture" }, image),
    h("div", {}, title, by, heard),
    realness,
    actions,
    h("div", { class: "stack link" }, address, h("p", { class: "row" }, copying, said)),
    saving.element,
    compare.element,
  );
  const close = h("button", { type: "button", class: "small", onclick: () => dialog.close() }, t("action.close"));
  const dialog = h(
    "dialog",
    { class: "dialog look-dialog", "aria-labelledby": "pictures-look" },
    h("p", { class: "row end" }, close),
  );
  const aside = h("aside", { class: "card look", "aria-labelledby": "pictures-look" }, panel);
  narrow.addEventListener("change", () => !narrow.matches && dialog.close(), { signal: studio.signal });
  dialog.addEventListener("close", () => aside.append(panel));

  return {
    element: h("div", { class: "look-place" }, aside, dialog),

    /** `asked`: by the user, and not because something has to be open. */
    show(next, asked = false) {
      const changed = next !== picture;
      picture = next;
      image.src = next.src;
      image.alt = nameOf(next);
      image.hidden = false;
      panel.inert = false;
      title.textContent = nameOf(next);
      by.textContent = t("pictures.by", { model: next.name, version: next.version });
      address.textContent = next.url;
      said.textContent = "";
      fill(real, meter(t("pictures.realness"), next.realness));
      judged.textContent = verdict(next.realness);
      if (asked)
        heard.textContent = `${nameOf(next)}. ${t("pictures.realness")}: ${percent(next.realness)}. ${verdict(next.realness)}`;
      if (changed) compare.look();
      if (!asked || !narrow.matches || dialog.open) return;
      dialog.append(panel);
      dialog.showModal();
    },

    sizes: saving.sizes,

    mark() {
      if (picture) chosen.textContent = t(studio.isChosen(picture) ? "pictures.unchoose" : "pictures.choose");
    },
  };
}

const absolute = (picture) => new URL(state.client.url(picture.url), location.href).href;

function download(studio, current) {
  const format = h(
    "select",
    { onchange: () => (kept.format = format.value) },
    ["png", "webp"].map((value) =>
      h("option", { value, selected: value === kept.format }, value === "png" ? "PNG" : "WebP"),
    ),
  );
  const scale = h("select", { onchange: () => (kept.scale = Number(scale.value)) });
  /** What sizes there are, once the model's own is known. */
  const sizes = () =>
    fill(
      scale,
      SCALES.map((value) =>
        h("option", { value, selected: value === kept.scale }, `${value * studio.side} × ${value * studio.side}`),
      ),
    );
  sizes();
  const go = async () => {
    const picture = current();
    const { name, version, latent, url } = picture;
    const [path, query] = url.split("?");
    const asked = new URLSearchParams(query);
    asked.set("scale", kept.scale);
    const response = await state.client.send("GET", `${path.replace(/png$/, kept.format)}?${asked}`);
    save(await response.blob(), `${name}-${version}-${latent}.${kept.format}`);
  };
  return {
    element: h(
      "div",
      { class: "download" },
      field(t("pictures.format"), format),
      field(t("pictures.pixels"), scale),
      doing(t("pictures.download"), go),
    ),
    sizes,
  };
}

/** The training pictures most like it. Looked for only while this is unfolded: a search takes a moment. */
function nearest(studio, current) {
  const row = h("div", { class: "nearest-row" });
  const said = h("p", { class: "hint", role: "status" });
  const ask = latest((signal, body) => state.client.nearest(body, { signal, accept: "application/json" }));
  studio.signal.addEventListener("abort", () => ask.abort());
  const details = h(
    "details",
    { class: "nearest", open: kept.nearest },
    h("summary", {}, t("pictures.copied-from")),
    h("div", { class: "stack" }, row, said),
  );
  details.addEventListener("toggle", () => ((kept.nearest = details.open), look()));
  return { element: details, look };

  async function look() {
    ask.abort();
    const picture = current();
    if (!details.open || !picture) return;
    if (!row.childElementCount) said.textContent = t("pictures.searching");
    try {
      const answer = await ask({ ...picture.style, model: picture.model, latent: picture.latent, count: NEAREST });
      if (!answer) return;
      fill(
        row,
        answer.nearest.map(({ b64_json, index, label }) =>
          h("img", {
            class: "pixels",
            src: `data:image/png;base64,${b64_json}`,
            alt: t("pictures.training", { index }) + (label === null ? "" : `, ${label}`),
          }),
        ),
      );
      const [{ distance }] = answer.nearest;
      const copied = distance < answer.held_out_distance / 2;
      said.textContent = t(copied ? "pictures.is-copy" : "pictures.no-copy", {
        distance: number(distance),
        usual: number(answer.held_out_distance),
        line: number(answer.held_out_distance / 2),
      });
    } catch (error) {
      fill(row, problem(error));
      said.textContent = "";
    }
  }
}
