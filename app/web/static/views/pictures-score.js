/** A picture of your own, judged: dropped, pasted or chosen. It is not kept. */
import { fill, h, latest } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { meter, problem } from "../lib/parts.js";
import { state } from "../lib/state.js";
import { verdict } from "./pictures-look.js";

const KINDS = ["image/png", "image/jpeg", "image/webp", "image/gif"];
let file = null; // outlives the view, like all that was given

export function scoring(studio) {
  const ask = latest((signal, given, model) => state.client.score(given, model, { signal }));
  const preview = h("img", { alt: t("pictures.own.alt"), hidden: true, onerror: () => (preview.hidden = true) });
  const result = h(
    "div",
    { class: "stack result", role: "status" },
    h("p", { class: "hint" }, t("pictures.own.empty")),
  );
  const input = h("input", {
    type: "file",
    accept: KINDS.join(),
    hidden: true,
    onchange: () => (take(input.files), (input.value = "")),
  });
  const zone = h(
    "div",
    { class: "zone" },
    h("div", { class: "own-picture" }, preview),
    h(
      "div",
      { class: "stack" },
      h("p", {}, t("pictures.own.drop")),
      h(
        "p",
        { class: "row" },
        h("button", { type: "button", onclick: () => input.click() }, t("pictures.own.choose")),
        input,
      ),
    ),
  );
  let address = null;
  // A file that misses the zone would make the browser leave the page.
  const listen = (kind, act) =>
    document.addEventListener(kind, (event) => event.dataTransfer?.types.includes("Files") && act(event), {
      signal: studio.signal,
    });
  listen("dragover", (event) => (event.preventDefault(), zone.classList.add("over")));
  listen("dragleave", (event) => event.relatedTarget || zone.classList.remove("over"));
  listen("drop", (event) => (event.preventDefault(), zone.classList.remove("over"), take(event.dataTransfer.files)));
  document.addEventListener(
    "paste",
    (event) => event.clipboardData?.files.length && (event.preventDefault(), take(event.clipboardData.files)),
    { signal: studio.signal },
  );
  studio.signal.addEventListener("abort", () => (ask.abort(), address && URL.revokeObjectURL(address)));
  if (file) see();

  return {
    element: h(
      "section",
      { class: "stack own-score", "aria-labelledby": "pictures-own" },
      h("h3", { id: "pictures-own" }, t("pictures.own")),
      h("p", { class: "muted" }, t("pictures.own.text")),
      zone,
      result,
    ),
    /** Ask again: another model judges now. */
    again: () => file && judge(),
  };

  function take(files) {
    zone.scrollIntoView({ block: "nearest" });
    const picture = [...files].find(({ type }) => type.startsWith("image/"));
    if (!picture) return fill(result, h("p", { class: "problem" }, t("pictures.own.kind")));
    file = picture;
    see();
    judge();
  }

  function see() {
    if (address) URL.revokeObjectURL(address);
    address = URL.createObjectURL(file);
    preview.src = address;
    preview.hidden = false;
  }

  async function judge() {
    fill(result, h("p", { class: "hint" }, t("pictures.own.looking")));
    try {
      const answer = await ask(file, studio.reference);
      if (!answer) return;
      const { realness, label, model } = answer;
      const by = t("pictures.own.by", { model: model.name, version: model.version });
      fill(
        result,
        meter(t("pictures.realness"), realness),
        h("p", { class: "verdict" }, verdict(realness)),
        h("p", { class: "hint" }, label === null ? by : `${by} ${t("pictures.own.label", { label })}`),
      );
    } catch (error) {
      fill(result, problem(error, { retry: judge }));
    }
  }
}
